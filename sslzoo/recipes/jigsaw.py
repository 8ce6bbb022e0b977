"""Jigsaw puzzles (Noroozi & Favaro 2016, arXiv:1603.09246).

python -m sslzoo.recipes.jigsaw                                          # built-in photographs
python -m sslzoo.recipes.jigsaw --flagfile=recipes/jigsaw_cifar10.flags  # CIFAR-10 as .npz
"""

import keras

from sslzoo import cli, training
from sslzoo.pretexts.jigsaw import Jigsaw
from sslzoo.run import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/jigsaw",
        resize=64,
        epochs=10,
        batch_size=32,
        learning_rate=0.03,
        weight_decay=1e-4,
        warmup_epochs=1.0,
        probe_images=1000,
    ),
    crop=60,
    grid=3,
    tile=16,
    channel_jitter=1,
    grey=0.3,
    num_permutations=24,
    permutation_rule="max_min",
    fc6=128,
    fc7=512,
    dropout=0.0,
    batch_norm=True,
):
    """Trains the context-free network, probes its encoder and exports it.

    Args:
        crop: side of the square image in pixels.
        grid: tiles per side, 2 to 4.
        tile: side of a tile in pixels.
        channel_jitter: shift of each colour channel of a tile, at most, in pixels.
        grey: probability of a grey puzzle.
        num_permutations: size of the permutation set.
        permutation_rule: max_min or max_mean Hamming distance.
        fc6: width of the fully connected layer of each tile.
        fc7: width of the fully connected layer over all tiles.
        dropout: rate after fc6 and fc7.
        batch_norm: batch normalisation after fc6 and fc7.
    """
    with run.scope():
        pretext = Jigsaw(
            run.new_encoder(),
            crop=crop,
            grid=grid,
            tile=tile,
            channel_jitter=channel_jitter,
            grey=grey,
            num_permutations=num_permutations,
            permutation_rule=permutation_rule,
            permutation_seed=run.seed,
            fc6=fc6,
            fc7=fc7,
            dropout=dropout,
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
