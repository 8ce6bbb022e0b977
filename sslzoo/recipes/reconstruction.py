"""Reconstructing an image from its middle with a GAN (Lee, Kang & Choi).

python -m sslzoo.recipes.reconstruction --arm=scale_bias                       # photographs
python -m sslzoo.recipes.reconstruction --flagfile=recipes/reconstruction_cifar10.flags --arm=l1
"""

from sslzoo import cli, training
from sslzoo.pretexts.reconstruction import Reconstruction, reconstructor
from sslzoo.run import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/reconstruction",
        resize=72,
        epochs=8,
        batch_size=32,
        learning_rate=0.0005,
        weight_decay=1e-5,
        probe_images=1000,
    ),
    crop=64,
    center=1 / 3,
    arm="scale_bias",
    gan="bce",
    critic_steps=1,
    discriminator_width=32,
    discriminator_learning_rate=0.0001,
    batch_norm=True,
    beta_1=0.5,
):
    """Trains a network to draw an image from its middle, probes its encoder and exports it.

    Args:
        crop: side of the square image in pixels (the document: 80).
        center: side of the part that is shown, as a share of the whole.
        arm: baseline, l1 (plus the error of the image) or scale_bias (the true middle put in).
        gan: bce, lsgan, wgan or wgan-gp.
        critic_steps: discriminator's steps for one of the generator's, each on its part of a batch.
        discriminator_width: channels of its first convolution.
        discriminator_learning_rate: the highest.
        batch_norm: in decoder and discriminator.
        beta_1: of both Adams; DCGAN's 0.5, since the document does not say.
    """
    with run.scope():
        encoder = run.new_encoder(reconstructor=reconstructor)
        pretext = Reconstruction(
            encoder,
            crop=crop,
            center=center,
            arm=arm,
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
