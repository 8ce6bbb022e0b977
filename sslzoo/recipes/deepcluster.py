"""DeepCluster (Caron, Bojanowski, Joulin & Douze 2018, arXiv:1807.05520).

python -m sslzoo.recipes.deepcluster                                          # photographs
python -m sslzoo.recipes.deepcluster --flagfile=recipes/deepcluster_cifar10.flags
"""

import functools

import keras

from sslzoo import album, cli, training
from sslzoo.pretexts import deepcluster
from sslzoo.run import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/deepcluster",
        resize=64,
        epochs=10,
        batch_size=32,
        learning_rate=0.05,
        weight_decay=1e-5,
        schedule="constant",
        probe_images=1000,
    ),
    k=24,
    crop=64,
    view=48,
    min_area=0.3,
    flip=True,
    fc=0,
    dropout=0.0,
    pca=64,
    reassign=1,
    top_momentum=0.9,
):
    """Clusters features and learns the clusters in turn, probes the encoder and exports it.

    Args:
        k: number of clusters.
        crop: side of the square image in pixels, from which views are cut.
        view: side of a view in pixels.
        min_area: a view is a random share of the crop, from this to 1.
        flip: mirror half of the views.
        fc: width of two fully connected layers; 0 for global average pooling.
        dropout: rate before each fully connected layer.
        pca: dimensions of the features that are clustered, at most.
        reassign: epochs between two clusterings.
        top_momentum: of the last layer, which starts anew with each clustering.
    """
    with run.scope():
        pretext = deepcluster.DeepCluster(
            run.new_encoder(),
            num_images=run.train_source.size,
            k=k,
            crop=crop,
            view=view,
            min_area=min_area,
            flip=flip,
            fc=fc,
            dropout=dropout,
            pca=pca,
        )
        pretext.compile(
            run.sgd(momentum=0.9),
            run.sgd(top_momentum),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=run.jit_compile,
        )
    examples = functools.partial(run.train_source.examples, shuffle=False)
    recluster = deepcluster.Recluster(pretext, examples, run.seed, reassign)
    training.pretrain(pretext, run, [recluster], recluster.table)
    album.clusters(f"{run.workdir}/clusters.png", pretext, run.train_source.read)
    return run.finish(pretext)


if __name__ == "__main__":
    cli.run(main)
