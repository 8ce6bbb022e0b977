"""Super-resolution, SRResNet and SRGAN (Ledig et al. 2017, arXiv:1609.04802).

python -m sslzoo.recipes.superres                                        # built-in photographs
python -m sslzoo.recipes.superres --flagfile=recipes/superres_bsds.flags --dataset=FOLDER
"""

import dataclasses

from absl import logging

from sslzoo import cli, data, training
from sslzoo.pretexts.superres import Superres, score, srresnet
from sslzoo.run import Run


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
        probe_images=1000,
    ),
    blocks=4,
    width=32,
    crop=48,
    scale=4,
    content="mse",
    vgg_weights="",
    gan_epochs=0,
    gan_learning_rate=0.0001,
    adversarial=0.001,
    gan="bce",
    critic_steps=1,
    discriminator_width=64,
    scored_images=100,
):
    """Trains SRResNet, then SRGAN if wanted, probes the encoder, exports both, reports PSNR.

    Args:
        blocks: residual blocks of srresnet, a multiple of 4 (the paper: 16).
        width: channels of srresnet (the paper: 64).
        crop: side of the large image in pixels (the paper: 96).
        scale: 2 or 4.
        content: mse, or vgg22 or vgg54 for features of VGG19, which are supervised.
        vgg_weights: a file of VGG19 without its top, or imagenet for Keras' download.
        gan_epochs: epochs of SRGAN that follow those of SRResNet, in a folder srgan of their own;
            0 for none.
        gan_learning_rate: of both players then; a tenth of it in the second half.
        adversarial: weight of SRGAN's adversarial loss.
        gan: bce, lsgan, wgan or wgan-gp.
        critic_steps: discriminator's steps for one of the generator's, each on its part of a batch.
        discriminator_width: channels of its first convolution.
        scored_images: held-back images, whole, on which PSNR and SSIM are measured.
    """
    settings = {"crop": crop, "scale": scale, "content": content, "vgg_weights": vgg_weights}
    with run.scope():
        encoder = run.new_encoder(srresnet=lambda: srresnet(blocks, width))
        pretext = Superres(encoder, **settings)
        pretext.compile(run.adam(), jit_compile=run.jit_compile)
    training.pretrain(pretext, run)
    report(pretext, run, scored_images)
    if gan_epochs:
        settings |= {"adversarial": adversarial, "gan": gan, "critic_steps": critic_steps}
        settings |= {"discriminator_width": discriminator_width}
        pretext = srgan(pretext, run, gan_epochs, gan_learning_rate, settings)
        report(pretext, run, scored_images)
    return run.finish(pretext, generator=pretext.upscaler())


def srgan(srresnet, run, epochs, learning_rate, settings):
    """Goes on from a trained SRResNet, whose encoder is shared, in a folder of its own."""
    second = dataclasses.replace(
        run,
        workdir=f"{run.workdir}/srgan",
        epochs=epochs,
        learning_rate=learning_rate,
        schedule="step",
        decay_epochs=(epochs / 2,),
    )
    second.start(run.recipe, {**run.flags, "workdir": second.workdir})
    with second.scope():
        pretext = Superres(srresnet.encoder, **settings)
        pairs = zip(pretext.generator_variables, srresnet.generator_variables, strict=True)
        for ours, theirs in pairs:
            ours.assign(theirs)
        pretext.compile(second.adam(), second.adam(), jit_compile=run.jit_compile)
    training.pretrain(pretext, second)
    return pretext


def report(pretext, run, count):
    """Logs PSNR and SSIM on held-back images, beside those of bicubic interpolation."""
    source = data.load(run.dataset, "test", data_dir=run.data_dir, resize=run.resize)
    examples = source.examples(shuffle=False, stop=min(count, source.size))
    found = score(pretext.upscaler(), (e["image"].numpy() for e in examples), pretext.scale)
    logging.info(
        "%d held-back images: PSNR %.2f dB, SSIM %.4f; bicubic %.2f dB, %.4f",
        min(count, source.size),
        *(found[name] for name in ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim")),
    )


if __name__ == "__main__":
    cli.run(main)
