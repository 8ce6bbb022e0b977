"""Relative patch location (Doersch, Gupta & Efros 2015, arXiv:1505.05192).

python -m sslzoo.recipes.relative_patch                                          # photographs
python -m sslzoo.recipes.relative_patch --flagfile=recipes/relative_patch_cifar10.flags
"""

import keras

from sslzoo import cli, training
from sslzoo.pretexts.relative_patch import RelativePatch
from sslzoo.run import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/relative_patch",
        resize=80,
        epochs=15,
        batch_size=32,
        learning_rate=0.05,
        weight_decay=1e-4,
        warmup_epochs=0.5,
        probe_images=1000,
    ),
    crop=64,
    patch=24,
    gap=8,
    jitter=8,
    min_area=1.0,
    degrade=0.0,
    color="keep",
    grey=0.3,
    normalize="standardize",
    fc6=128,
    fc7=256,
    batch_norm=True,
):
    """Trains a network to place one patch beside another, probes its encoder and exports it.

    Args:
        crop: side of the square image in pixels.
        patch: side of a patch in pixels.
        gap: pixels between neighbouring patches.
        jitter: range of each patch's displacement in pixels, 0 to gap.
        min_area: the crop is shrunk to a random share of its pixels, from this to 1.
        degrade: probability that a patch is sampled down and up again.
        color: drop (one channel stays), project (no green-magenta) or keep.
        grey: probability of a grey pair.
        normalize: rms or standardize, for each patch.
        fc6: width of the fully connected layer of each patch.
        fc7: width of the two fully connected layers over both patches.
        batch_norm: batch normalisation after fc6 and fc7.
    """
    with run.scope():
        pretext = RelativePatch(
            run.new_encoder(),
            crop=crop,
            patch=patch,
            gap=gap,
            jitter=jitter,
            min_area=min_area,
            degrade=degrade,
            color=color,
            grey=grey,
            normalize=normalize,
            fc6=fc6,
            fc7=fc7,
            batch_norm=batch_norm,
        )
        pretext.compile(
            run.sgd(momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=run.jit_compile,
        )
    training.pretrain(pretext, run)
    return run.finish(pretext)


if __name__ == "__main__":
    cli.run(main)
