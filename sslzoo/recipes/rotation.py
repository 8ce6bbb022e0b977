"""Image rotations, RotNet (Gidaris, Singh & Komodakis 2018, arXiv:1803.07728).

python -m sslzoo.recipes.rotation                                          # built-in photographs
python -m sslzoo.recipes.rotation --flagfile=recipes/rotation_cifar10.flags  # CIFAR-10 as .npz
"""

import keras

from sslzoo import cli, training
from sslzoo.pretexts.rotation import Rotation
from sslzoo.run import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/rotation",
        resize=48,
        epochs=6,
        batch_size=32,
        learning_rate=0.05,
        weight_decay=5e-4,
        warmup_epochs=0.5,
        probe_images=1000,
    ),
    crop=32,
    num_rotations=4,
    all_at_once=True,
    flip=True,
    pad=0,
    fc=0,
):
    """Trains a network to tell rotations apart, probes its encoder and exports it.

    Args:
        crop: side of the square image in pixels.
        num_rotations: 2, 4, or 8 (interpolated, on the middle of the crop).
        all_at_once: every rotation of an image in one batch (batch_size counts images), else one
            at random.
        flip: mirror half of the images.
        pad: zeros around the image before the random crop, in pixels.
        fc: width of two fully connected layers; 0 for global average pooling.
    """
    with run.scope():
        pretext = Rotation(
            run.new_encoder(),
            crop=crop,
            num_rotations=num_rotations,
            all_at_once=all_at_once,
            flip=flip,
            pad=pad,
            fc=fc,
        )
        pretext.compile(
            run.sgd(momentum=0.9, nesterov=True),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=run.jit_compile,
        )
    training.pretrain(pretext, run)
    return run.finish(pretext)


if __name__ == "__main__":
    cli.run(main)
