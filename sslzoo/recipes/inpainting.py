"""Inpainting by a context encoder (Pathak et al. 2016, arXiv:1604.07379).

python -m sslzoo.recipes.inpainting                                            # photographs
python -m sslzoo.recipes.inpainting --flagfile=recipes/inpainting_cifar10.flags
"""

from functools import partial

from absl import logging

from sslzoo import cli, probes, training
from sslzoo.flags.ranges import Count, Fraction, Positive
from sslzoo.pictures import retrieved, save_png
from sslzoo.pretexts.inpainting import Inpainting, context_encoder
from sslzoo.training import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/inpainting",
        resize=72,
        epochs=12,
        learning_rate=0.001,
        warmup_epochs=0.5,
    ),
    puzzle=partial(Inpainting, crop=64, bottleneck=0, width=128, discriminator_width=32),
    discriminator_learning_rate: Positive = 0.0002,
    beta_1: Fraction = 0.5,
    scored_images: Count = 100,
):
    """Trains a network to fill holes, probes its encoder, exports both, reports L1, L2 and PSNR.

    Leaves contexts.png too: held-back images with a hole, and training images whose surroundings of
    the same hole are alike.

    Args:
        discriminator_learning_rate: the highest; a tenth of the generator's in the authors' code.
        beta_1: of both Adams; the authors' 0.5.
        scored_images: held-back images on whose holes L1, L2 and PSNR are measured.
    """
    held_back = run.test_source  # what is wrong with it is to be known before the long work
    with run.scope():
        pretext = puzzle(run.new_encoder(context_encoder=context_encoder))
        run.compile_players(pretext, beta_1, discriminator_learning_rate)
    held_back.examples(crop=pretext.crop, stop=1)
    training.pretrain(pretext, run)
    logging.info(pretext.scored(held_back, scored_images))
    scores = run.finish(pretext, image_model=pretext.painter())
    found = probes.by_context(pretext, run.train_source, held_back, run.seed)
    save_png(f"{run.workdir}/contexts.png", retrieved.picture(*found))
    return scores


if __name__ == "__main__":
    cli.run(main)
