"""Super-resolution, SRResNet and SRGAN (Ledig et al. 2017, arXiv:1609.04802).

python -m sslzoo.recipes.superres                                        # built-in photographs
python -m sslzoo.recipes.superres --flagfile=recipes/superres_bsds.flags --dataset=FOLDER
"""

from functools import partial
from typing import Literal

from absl import logging

from sslzoo import cli, training
from sslzoo.errors import UserError
from sslzoo.flags.ranges import Count, OptionalCount, Positive, Width
from sslzoo.pretexts.superres import Superres, srresnet
from sslzoo.training import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/superres",
        resize=96,
        encoder="srresnet",
        epochs=8,
        batch_size=16,
        learning_rate=0.001,
        warmup_epochs=0.2,
    ),
    puzzle=partial(Superres, crop=48, adversarial=0.001),
    blocks: Count = 4,
    width: Width = 32,
    gan_epochs: OptionalCount = 0,
    gan_learning_rate: Positive = 0.0001,
    scored_images: Count = 100,
    features: Literal["generator", "discriminator"] = "generator",
):
    """Trains SRResNet, then SRGAN if wanted, probes the encoder, exports both, reports PSNR.

    Args:
        blocks: residual blocks of srresnet, a multiple of 4 (the paper: 16).
        width: channels of srresnet (the paper: 64).
        gan_epochs: epochs of SRGAN that follow those of SRResNet, in a folder srgan of their own;
            0 for none.
        gan_learning_rate: of both players then; a tenth of it in the second half.
        scored_images: held-back images, whole, on which PSNR and SSIM are measured.
        features: whose are probed and exported: the generator's encoder's, or those of SRGAN's
            discriminator.
    """
    if features == "discriminator" and not gan_epochs:
        raise UserError(
            "--features: expected generator where --gan_epochs=0. Received: discriminator"
        )
    if gan_epochs:
        run.check_critic_steps(puzzle.keywords.get("critic_steps", Superres.critic_steps))
        if not puzzle.keywords.get("adversarial"):
            raise UserError("--adversarial: expected more than 0 with --gan_epochs. Received: 0")
    held_back = run.test_source  # whether there is one is to be known before the long work
    with run.scope():
        encoder = run.new_encoder(srresnet=lambda: srresnet(blocks, width))
        pretext = puzzle(encoder, adversarial=0.0)
        pretext.compile(run.adam(), jit_compile=run.jit_compile)
    training.pretrain(pretext, run)
    logging.info(pretext.scored(held_back, scored_images))
    if gan_epochs:
        pretext = _srgan(run, puzzle, pretext, gan_epochs, gan_learning_rate)
        logging.info(pretext.scored(held_back, scored_images))
    judge = pretext.judge() if features == "discriminator" else None
    return run.finish(pretext, image_model=pretext.upscaler(), judge=judge)


def _srgan(run, puzzle, first, epochs, learning_rate):
    """SRGAN, trained in a second phase that starts from `first`, the trained SRResNet."""
    budget = {"epochs": epochs, "learning_rate": learning_rate}
    steps = {"schedule": "step", "decay_epochs": (epochs / 2,), "decay_factor": 0.1}
    second = run.phase("srgan", **steps, **budget)
    with second.scope():
        srgan = puzzle(first.encoder)
        srgan.take_generator(first)
        second.compile_players(srgan)
    training.pretrain(srgan, second)
    return srgan


if __name__ == "__main__":
    cli.run(main)
