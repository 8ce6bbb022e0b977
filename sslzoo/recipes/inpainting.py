"""Inpainting by a context encoder (Pathak et al. 2016, arXiv:1604.07379).

python -m sslzoo.recipes.inpainting                                            # photographs
python -m sslzoo.recipes.inpainting --flagfile=recipes/inpainting_cifar10.flags
"""

from sslzoo import cli, training
from sslzoo.pretexts.inpainting import Inpainting, context_encoder
from sslzoo.run import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/inpainting",
        resize=72,
        epochs=12,
        batch_size=32,
        learning_rate=0.001,
        warmup_epochs=0.5,
        probe_images=1000,
    ),
    crop=64,
    mask="center",
    overlap=4,
    bottleneck=0,
    width=128,
    loss="l2",
    adversarial=0.001,
    gan="bce",
    critic_steps=1,
    discriminator_width=32,
    discriminator_learning_rate=0.0002,
    batch_norm=True,
    beta_1=0.5,
):
    """Trains a network to fill holes, probes its encoder and exports it.

    Args:
        crop: side of the square image in pixels.
        mask: center, blocks (up to eight squares) or region (blobs).
        overlap: border of the central square that is shown and predicted, in pixels; else 0.
        bottleneck: channels of a fully connected bottleneck; 0 for the channel-wise layer.
        width: channels of the decoder before its first up-convolution.
        loss: l2 or l1.
        adversarial: weight of the adversarial loss; 0 for reconstruction only.
        gan: bce, lsgan, wgan or wgan-gp.
        critic_steps: discriminator's steps for one of the generator's, each on its part of a batch.
        discriminator_width: channels of its first convolution.
        discriminator_learning_rate: the highest; a tenth of the generator's in the authors' code.
        batch_norm: in decoder and discriminator.
        beta_1: of both Adams; the authors' 0.5.
    """
    with run.scope():
        encoder = run.new_encoder(context_encoder=context_encoder)
        pretext = Inpainting(
            encoder,
            crop=crop,
            mask=mask,
            overlap=overlap,
            bottleneck=bottleneck,
            width=width,
            loss=loss,
            adversarial=adversarial,
            gan=gan,
            critic_steps=critic_steps,
            discriminator_width=discriminator_width,
            batch_norm=batch_norm,
        )
        pretext.compile(
            run.adam(beta_1),
            run.adam(beta_1, learning_rate=discriminator_learning_rate),
            jit_compile=run.jit_compile,
        )
    training.pretrain(pretext, run)
    return run.finish(pretext)


if __name__ == "__main__":
    cli.run(main)
