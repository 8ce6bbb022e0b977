"""Bidirectional GAN (Donahue, Krähenbühl & Darrell 2017, arXiv:1605.09782).

python -m sslzoo.recipes.bigan                                          # built-in photographs
python -m sslzoo.recipes.bigan --flagfile=recipes/bigan_cifar10.flags   # CIFAR-10 as .npz
"""

from absl import logging

from sslzoo import cli, training
from sslzoo.pretexts.bigan import BiGAN, dense_encoder
from sslzoo.run import Run

MEASURED = 500  # images on which the reconstruction is measured


@cli.recipe
def main(
    run=Run(
        workdir="runs/bigan",
        resize=40,
        epochs=20,
        batch_size=32,
        learning_rate=0.0002,
        weight_decay=2.5e-5,
        probe_images=1000,
    ),
    crop=32,
    codes=64,
    network="conv",
    width=32,
    gan="bce",
    critic_steps=1,
    batch_norm=True,
    beta_1=0.5,
):
    """Trains encoder, generator and discriminator, probes the encoder and exports it.

    Args:
        crop: side of the square image in pixels.
        codes: numbers in a code.
        network: conv, or dense (with --encoder=dense the paper's nets for MNIST).
        width: channels of the discriminator's first convolution, or of all dense layers.
        gan: bce, lsgan, wgan or wgan-gp.
        critic_steps: discriminator's steps for one of the others', each on its part of a batch.
        batch_norm: of codes, and in generator and discriminator.
        beta_1: of both Adams; the paper's 0.5.
    """
    with run.scope():
        encoder = run.new_encoder(dense=lambda: dense_encoder(crop, width))
        pretext = BiGAN(
            encoder,
            crop=crop,
            codes=codes,
            network=network,
            width=width,
            gan=gan,
            critic_steps=critic_steps,
            batch_norm=batch_norm,
        )
        pretext.compile(run.adam(beta_1), run.adam(beta_1), jit_compile=run.jit_compile)
    training.pretrain(pretext, run)
    examples = run.train_source.examples(seed=run.seed + 1, crop=crop, stop=MEASURED)
    distances = pretext.reconstruction(pretext.puzzles(examples, min(run.batch_size, 50)))
    logging.info("G(E(x)) lies %.2f from x, and %.2f from other images", *distances)
    return run.finish(pretext)


if __name__ == "__main__":
    cli.run(main)
