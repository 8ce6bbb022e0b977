"""Bidirectional GAN (Donahue, Krähenbühl & Darrell 2017, arXiv:1605.09782).

python -m sslzoo.recipes.bigan                                          # built-in photographs
python -m sslzoo.recipes.bigan --flagfile=recipes/bigan_cifar10.flags   # CIFAR-10 as .npz
"""

from functools import partial
from typing import Literal

from absl import logging

from sslzoo import cli, training
from sslzoo.errors import UserError
from sslzoo.flags.ranges import Fraction, Positive
from sslzoo.pretexts.bigan import BiGAN, dense_encoder
from sslzoo.training import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/bigan",
        resize=40,
        epochs=20,
        learning_rate=0.0002,
        weight_decay=2.5e-05,
    ),
    puzzle=partial(BiGAN, crop=32, codes=64, width=32),
    encoder_learning_rate: Positive = 0.0002,
    beta_1: Fraction = 0.5,
    features: Literal["encoder", "discriminator"] = "encoder",
):
    """Trains encoder, generator and discriminator, probes the encoder and exports it.

    With --encoder=dense --network=dense it has the paper's networks for MNIST.

    Args:
        encoder_learning_rate: the highest one of the encoder, which in short runs hardly moves at
            the paper's; --learning_rate is that of the others.
        beta_1: of all Adams; the paper's 0.5.
        features: whose are probed and exported: the encoder's, or those of the discriminator's
            convolutions, without a code.
    """
    if features == "discriminator" and puzzle.keywords.get("network") == "dense":
        raise UserError(
            "--features: expected encoder with --network=dense, whose discriminator knows no "
            "feature maps. Received: discriminator"
        )
    sizes = puzzle.keywords["crop"], puzzle.keywords["width"]
    with run.scope():
        pretext = puzzle(run.new_encoder(dense=lambda: dense_encoder(*sizes)))
        run.compile_players(pretext, beta_1, encoder=encoder_learning_rate)
    training.pretrain(pretext, run)
    examples = run.train_source.examples(seed=run.seed + 1, crop=pretext.crop, stop=500)
    distances = pretext.reconstruction(pretext.puzzles(examples, min(run.batch_size, 50)))
    logging.info("G(E(x)) lies %.2f from x, and %.2f from other images", *distances)
    return run.finish(pretext, judge=pretext.judge() if features == "discriminator" else None)


if __name__ == "__main__":
    cli.run(main)
