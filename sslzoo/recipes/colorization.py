"""Colorization (Zhang, Isola & Efros 2016, arXiv:1603.08511).

python -m sslzoo.recipes.colorization                                      # built-in photographs
python -m sslzoo.recipes.colorization --flagfile=recipes/colorization_cifar10.flags
"""

from sslzoo import cli, lab, training
from sslzoo.pretexts.colorization import Colorization, dilated_vgg
from sslzoo.run import Run


@cli.recipe
def main(
    run=Run(
        workdir="runs/colorization",
        resize=72,
        epochs=20,
        batch_size=32,
        learning_rate=0.001,
        warmup_epochs=0.5,
        probe_images=1000,
    ),
    crop=64,
    loss="classification",
    prior="",
    uniform=0.5,
    neighbors=5,
    temperature=0.38,
    width=64,
    beta_2=0.99,
):
    """Trains a network to colour grey images, probes its encoder and exports both.

    Args:
        crop: side of the square image in pixels, a multiple of 4.
        loss: classification (of 313 colours) or l2 (the baseline, on a and b).
        prior: .npy file of how often each colour occurs, from tools/colour_prior.py; empty weighs
            all colours alike.
        uniform: share of the uniform distribution in the prior; 1 weighs all colours alike.
        neighbors: colours that share a pixel's target: 5 in the paper, 10 in the authors' code.
        temperature: of the annealed mean that paints.
        width: channels of the decoder's two convolutions; 0 for none.
        beta_2: of Adam; the paper's 0.99.
    """
    prior = lab.load_prior(prior) if prior else None
    with run.scope():
        encoder = dilated_vgg() if run.encoder == "dilated_vgg" else run.new_encoder()
        pretext = Colorization(
            encoder,
            crop=crop,
            loss=loss,
            prior=prior,
            uniform=uniform,
            neighbors=neighbors,
            temperature=temperature,
            width=width,
        )
        pretext.compile(run.adam(beta_2=beta_2), jit_compile=run.jit_compile)
    training.pretrain(pretext, run)
    return run.finish(pretext, generator=pretext.colouriser())


if __name__ == "__main__":
    cli.run(main)
