"""Instance discrimination with a memory bank, NPID (Wu et al. 2018, arXiv:1805.01978).

python -m sslzoo.recipes.npid                                          # built-in photographs
python -m sslzoo.recipes.npid --flagfile=recipes/npid_cifar10.flags  # CIFAR-10 as .npz
"""

from functools import partial

from sslzoo import cli, training
from sslzoo.parts.memory import FillBank
from sslzoo.pictures import album
from sslzoo.pretexts.npid import Npid
from sslzoo.training import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/npid",
        resize=64,
        epochs=20,
        learning_rate=0.03,
        weight_decay=0.0001,
        warmup_epochs=0.5,
        monitor_images=50000,
    ),
    puzzle=partial(Npid, crop=64, view=48, hue=0.1, temperature=0.1, negatives=0),
    fill_bank: bool = False,
):
    """Trains a network to know every image again, probes its encoder and exports it.

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
