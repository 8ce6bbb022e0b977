"""Reconstructing an image from its middle with a GAN (Lee, Kang & Choi).

python -m sslzoo.recipes.reconstruction --arm=scale_bias                       # photographs
python -m sslzoo.recipes.reconstruction --flagfile=recipes/reconstruction_cifar10.flags --arm=l1
"""

from functools import partial

from sslzoo import cli, training
from sslzoo.flags.ranges import Fraction, Positive
from sslzoo.pretexts.reconstruction import Reconstruction, reconstructor
from sslzoo.training import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/reconstruction",
        resize=72,
        epochs=8,
        learning_rate=0.0005,
        weight_decay=1e-05,
    ),
    puzzle=partial(Reconstruction, crop=64, discriminator_width=32),
    discriminator_learning_rate: Positive = 0.0001,
    beta_1: Fraction = 0.5,
):
    """Trains a network to draw an image from its middle, probes its encoder and exports it.

    Args:
        discriminator_learning_rate: the highest.
        beta_1: of both Adams; DCGAN's 0.5, since the document does not say.
    """
    with run.scope():
        pretext = puzzle(run.new_encoder(reconstructor=reconstructor))
        run.compile_players(pretext, beta_1, discriminator_learning_rate)
    training.pretrain(pretext, run)
    return run.finish(pretext)


if __name__ == "__main__":
    cli.run(main)
