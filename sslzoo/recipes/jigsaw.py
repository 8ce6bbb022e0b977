"""Jigsaw puzzles (Noroozi & Favaro 2016, arXiv:1603.09246).

python -m sslzoo.recipes.jigsaw                                          # built-in scenes
python -m sslzoo.recipes.jigsaw --flagfile=recipes/jigsaw_cifar10.flags  # CIFAR-10 as .npz
"""

from functools import partial

from sslzoo import cli, training
from sslzoo.pretexts.jigsaw import Jigsaw
from sslzoo.training import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/jigsaw",
        dataset="scenes:6000",
        resize=64,
        epochs=5,
        learning_rate=0.03,
        weight_decay=0.0001,
        warmup_epochs=0.5,
    ),
    puzzle=partial(
        Jigsaw,
        crop=60,
        tile=16,
        channel_jitter=1,
        num_permutations=24,
        fc6=128,
        fc7=512,
        dropout=0.0,
        batch_norm=True,
    ),
):
    """Trains the context-free network, probes its encoder and exports it."""
    with run.scope():
        pretext = puzzle(run.new_encoder())
        pretext.compile(run.sgd(), jit_compile=run.jit_compile)
    training.pretrain(pretext, run)
    return run.finish(pretext)


if __name__ == "__main__":
    cli.run(main)
