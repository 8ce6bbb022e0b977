"""Pretext-invariant representations, PIRL (Misra & van der Maaten 2020, arXiv:1912.01991).

python -m sslzoo.recipes.pirl                                          # built-in photographs
python -m sslzoo.recipes.pirl --flagfile=recipes/pirl_cifar10.flags  # CIFAR-10 as .npz
"""

from sslzoo import album, cli, training
from sslzoo.pretexts.pirl import Pirl
from sslzoo.run import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/pirl",
        resize=64,
        epochs=10,
        batch_size=32,
        learning_rate=0.03,
        weight_decay=1e-4,
        warmup_epochs=0.5,
        probe_images=1000,
    ),
    transform="jigsaw",
    crop=64,
    view=48,
    puzzle=63,
    grid=3,
    tile=16,
    num_permutations=0,
    min_area=0.2,
    puzzle_area=0.6,
    jitter=0.4,
    hue=0.1,
    grey=0.2,
    weight=0.5,
    dims=128,
    temperature=0.1,
    momentum=0.5,
    negatives=0,
    estimator="nce",
):
    """Trains a network to know images again by their patches, probes its encoder and exports it.

    Args:
        transform: jigsaw, rotation or jigsaw+rotation.
        crop: side of the square image in pixels, from which views and puzzles are cut.
        view: side of a view in pixels.
        puzzle: side of the square that is cut into cells, in pixels.
        grid: patches per side.
        tile: side of a patch in pixels.
        num_permutations: orders of the patches; 0 for all.
        min_area: a view is a random share of the crop, from this to 1.
        puzzle_area: a puzzle is a random share of the crop, from this to 1.
        jitter: strength of the change of brightness, contrast and saturation.
        hue: turn of the hue, at most, as a share of the circle.
        grey: probability of a grey view or patch.
        weight: lambda, of the puzzle's part of the loss; at 0 it is NPID.
        dims: length of the embeddings.
        temperature: of the cosines.
        momentum: share of the old row of the bank in the new one.
        negatives: rows of the bank drawn in each step; 0 takes all.
        estimator: of the loss with drawn negatives: nce or infonce.
    """
    with run.scope():
        pretext = Pirl(
            run.new_encoder(),
            num_images=run.train_source.size,
            task=transform,
            crop=crop,
            view=view,
            puzzle=puzzle,
            grid=grid,
            tile=tile,
            num_permutations=num_permutations,
            min_area=min_area,
            puzzle_area=puzzle_area,
            jitter=jitter,
            hue=hue,
            grey=grey,
            weight=weight,
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
