"""Instance discrimination with a memory bank, NPID (Wu et al. 2018, arXiv:1805.01978).

python -m sslzoo.recipes.npid                                          # built-in photographs
python -m sslzoo.recipes.npid --flagfile=recipes/npid_cifar10.flags  # CIFAR-10 as .npz
"""

from sslzoo import album, cli, training
from sslzoo.pretexts.npid import Npid
from sslzoo.run import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/npid",
        resize=64,
        epochs=20,
        batch_size=32,
        learning_rate=0.03,
        weight_decay=1e-4,
        warmup_epochs=0.5,
        probe_images=1000,
    ),
    crop=64,
    view=48,
    min_area=0.2,
    jitter=0.4,
    hue=0.1,
    grey=0.2,
    flip=True,
    dims=128,
    temperature=0.1,
    momentum=0.5,
    negatives=0,
    estimator="nce",
):
    """Trains a network to know every image again, probes its encoder and exports it.

    Args:
        crop: side of the square image in pixels, from which views are cut.
        view: side of a view in pixels.
        min_area: a view is a random share of the crop, from this to 1.
        jitter: strength of the change of brightness, contrast and saturation.
        hue: turn of the hue, at most, as a share of the circle.
        grey: probability of a grey view.
        flip: mirror half of the views.
        dims: length of the embedding.
        temperature: of the cosines.
        momentum: share of the old row of the bank in the new one.
        negatives: rows of the bank drawn in each step; 0 takes all.
        estimator: of the loss with drawn negatives: nce or infonce.
    """
    with run.scope():
        pretext = Npid(
            run.new_encoder(),
            num_images=run.train_source.size,
            crop=crop,
            view=view,
            min_area=min_area,
            jitter=jitter,
            hue=hue,
            grey=grey,
            flip=flip,
            dims=dims,
            temperature=temperature,
            momentum=momentum,
            negatives=negatives,
            estimator=estimator,
        )
        pretext.compile(run.sgd(momentum=0.9), jit_compile=run.jit_compile)
    training.pretrain(pretext, run, run.monitors(pretext))
    album.neighbors(f"{run.workdir}/neighbors.png", pretext, run.train_source.read)
    return run.finish(pretext)


if __name__ == "__main__":
    cli.run(main)
