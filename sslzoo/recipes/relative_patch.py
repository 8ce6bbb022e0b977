"""Relative patch location (Doersch, Gupta & Efros 2015, arXiv:1505.05192).

python -m sslzoo.recipes.relative_patch                                          # photographs
python -m sslzoo.recipes.relative_patch --flagfile=recipes/relative_patch_cifar10.flags
"""

from functools import partial

from sslzoo import cli, training
from sslzoo.pretexts.relative_patch import SMALL_IMAGES, RelativePatch
from sslzoo.training import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/relative_patch",
        resize=80,
        epochs=15,
        learning_rate=0.05,
        weight_decay=0.0001,
        warmup_epochs=0.5,
    ),
    puzzle=partial(
        RelativePatch,
        **{**SMALL_IMAGES, "crop": 64, "patch": 24, "gap": 8, "jitter": 8},
        fc6=128,
        fc7=256,
    ),
):
    """Trains a network to place one patch beside another, probes its encoder and exports it."""
    with run.scope():
        pretext = puzzle(run.new_encoder())
        pretext.compile(run.sgd(), jit_compile=run.jit_compile)
    training.pretrain(pretext, run)
    return run.finish(pretext)


if __name__ == "__main__":
    cli.run(main)
