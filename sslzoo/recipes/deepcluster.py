"""DeepCluster (Caron, Bojanowski, Joulin & Douze 2018, arXiv:1807.05520).

python -m sslzoo.recipes.deepcluster                                          # photographs
python -m sslzoo.recipes.deepcluster --flagfile=recipes/deepcluster_cifar10.flags
"""

from functools import partial

from sslzoo import cli, training
from sslzoo.flags.ranges import Count, Fraction
from sslzoo.pictures import album
from sslzoo.pretexts.deepcluster import DeepCluster, Recluster
from sslzoo.training import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/deepcluster",
        resize=64,
        epochs=10,
        learning_rate=0.05,
        weight_decay=1e-05,
        schedule="constant",
    ),
    puzzle=partial(DeepCluster, k=24, crop=64, view=48, min_area=0.3, fc=0, dropout=0.0, pca=64),
    reassign: Count = 1,
    top_momentum: Fraction = 0.9,
):
    """Clusters features and learns the clusters in turn, probes the encoder and exports it.

    Args:
        reassign: epochs between two clusterings.
        top_momentum: of the last layer, which starts anew with each clustering.
    """
    with run.scope():
        pretext = puzzle(run.new_encoder(), num_images=run.train_source.size)
        optimizers = {"top": run.sgd(top_momentum)}
        pretext.compile(run.sgd(), optimizers=optimizers, jit_compile=run.jit_compile)
    examples = partial(run.train_source.examples, shuffle=False)
    recluster = Recluster(pretext, examples, run.seed, reassign)
    training.pretrain(pretext, run, [recluster], recluster.table)
    album.clusters(f"{run.workdir}/clusters.png", pretext, run.train_source.read)
    return run.finish(pretext)


if __name__ == "__main__":
    cli.run(main)
