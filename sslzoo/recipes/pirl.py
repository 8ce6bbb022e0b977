"""Pretext-invariant representations, PIRL (Misra & van der Maaten 2020, arXiv:1912.01991).

python -m sslzoo.recipes.pirl                                          # built-in photographs
python -m sslzoo.recipes.pirl --flagfile=recipes/pirl_cifar10.flags  # CIFAR-10 as .npz
"""

from functools import partial

from sslzoo import cli, training
from sslzoo.parts.memory import FillBank
from sslzoo.pictures import album
from sslzoo.pretexts.pirl import Pirl
from sslzoo.training import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/pirl",
        resize=64,
        epochs=10,
        learning_rate=0.03,
        weight_decay=0.0001,
        warmup_epochs=0.5,
        monitor_images=50000,
    ),
    puzzle=partial(
        Pirl,
        crop=64,
        view=48,
        puzzle=63,
        tile=16,
        min_area=0.2,
        hue=0.1,
        temperature=0.1,
        negatives=0,
    ),
    fill_bank: bool = False,
):
    """Trains a network to know images again by their patches, probes its encoder and exports it.

    Args:
        fill_bank: fill the memory bank with the untrained network's embeddings before training, not
            with random rows.
    """
    with run.scope():
        pretext = puzzle(run.new_encoder(), num_images=run.train_source.size, seed=run.seed)
        pretext.compile(run.sgd(), jit_compile=run.jit_compile)
    examples = partial(run.train_source.examples, shuffle=False)
    training.pretrain(pretext, run, [FillBank(pretext, examples)] if fill_bank else [])
    album.neighbors(f"{run.workdir}/neighbors.png", pretext, run.train_source.read)
    return run.finish(pretext)


if __name__ == "__main__":
    cli.run(main)
