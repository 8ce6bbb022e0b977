"""Image rotations, RotNet (Gidaris, Singh & Komodakis 2018, arXiv:1803.07728).

python -m sslzoo.recipes.rotation                                          # built-in scenes
python -m sslzoo.recipes.rotation --flagfile=recipes/rotation_cifar10.flags  # CIFAR-10 as .npz
"""

from functools import partial

from sslzoo import cli, training
from sslzoo.pretexts.rotation import Rotation
from sslzoo.training import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/rotation",
        dataset="scenes:6000",
        resize=48,
        epochs=3,
        learning_rate=0.05,
        weight_decay=0.0005,
        warmup_epochs=0.25,
    ),
    puzzle=partial(Rotation, crop=32, fc=0),
):
    """Trains a network to tell rotations apart, probes its encoder and exports it."""
    with run.scope():
        pretext = puzzle(run.new_encoder())
        pretext.compile(run.sgd(nesterov=True), jit_compile=run.jit_compile)
    training.pretrain(pretext, run)
    return run.finish(pretext)


if __name__ == "__main__":
    cli.run(main)
