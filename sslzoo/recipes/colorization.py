"""Colorization (Zhang, Isola & Efros 2016, arXiv:1603.08511).

python -m sslzoo.recipes.colorization                                      # built-in photographs
python -m sslzoo.recipes.colorization --flagfile=recipes/colorization_cifar10.flags
"""

from functools import partial

from sslzoo import cli, training
from sslzoo.flags.ranges import Fraction
from sslzoo.images import lab
from sslzoo.pretexts.colorization import Colorization, dilated_vgg
from sslzoo.training import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/colorization",
        resize=72,
        epochs=20,
        learning_rate=0.001,
        warmup_epochs=0.5,
    ),
    puzzle=partial(Colorization, crop=64, width=64),
    prior="",
    beta_2: Fraction = 0.99,
):
    """Trains a network to colour grey images, probes its encoder and exports both.

    Args:
        prior: .npy file of how often each colour occurs, from tools/colour_prior.py; empty weighs
            all colours alike.
        beta_2: of Adam; the paper's 0.99.
    """
    prior = lab.load_prior(prior) if prior else None
    with run.scope():
        pretext = puzzle(run.new_encoder(dilated_vgg=dilated_vgg), prior=prior)
        pretext.compile(run.adam(beta_2=beta_2), jit_compile=run.jit_compile)
    training.pretrain(pretext, run)
    return run.finish(pretext, pretext.grey_encoder(), pretext.colouriser())


if __name__ == "__main__":
    cli.run(main)
