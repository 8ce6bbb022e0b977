"""Contours, depth and normals of rendered scenes (Ren & Lee 2018, arXiv:1711.09082).

python -m sslzoo.recipes.synthetic                                           # scenes, photographs
python -m sslzoo.recipes.synthetic --flagfile=recipes/synthetic_cifar10.flags
"""

from functools import partial
from typing import Literal

from sslzoo import cli, data, training
from sslzoo.flags.ranges import Fraction, Positive, Weight
from sslzoo.pretexts.synthetic import Synthetic
from sslzoo.training import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/synthetic",
        dataset="scenes",
        resize=64,
        epochs=4,
        batch_size=32,
        learning_rate=0.001,
    ),
    puzzle=partial(Synthetic, crop=64, adversarial=0.05),
    real_dataset: str = "photos",
    adapt: Literal["on", "off"] = "on",
    beta_1: Fraction = 0.5,
    discriminator_learning_rate: Positive = 0.001,
    discriminator_weight_decay: Weight = 0.0005,
):
    """Trains a network to tell contours, depth and normals, probes its encoder and exports it.

    Args:
        real_dataset: unlabelled real images, as --dataset takes them.
        adapt: whether a discriminator has the features of rendered images look like those of real
            ones; off is --adversarial=0.
        beta_1: of the network's Adam.
        discriminator_learning_rate: the highest one of the discriminator's SGD.
        discriminator_weight_decay: of the discriminator.
    """
    if adapt == "off":
        puzzle = partial(puzzle, adversarial=0.0)
    source = data.load(run.dataset, data_dir=run.data_dir, resize=run.resize, maps=True)
    if puzzle.keywords["adversarial"]:
        real = data.load(real_dataset, data_dir=run.data_dir, resize=run.resize)
        source = data.Paired(source, real, "real")
    with run.scope():
        pretext = puzzle(run.new_encoder())
        sgd = run.sgd(
            learning_rate=discriminator_learning_rate, weight_decay=discriminator_weight_decay
        )
        optimizers = dict.fromkeys(pretext.parameter_groups, sgd)
        pretext.compile(run.adam(beta_1), optimizers=optimizers, jit_compile=run.jit_compile)
    training.pretrain(pretext, run, source=source)
    return run.finish(pretext)


if __name__ == "__main__":
    cli.run(main)
