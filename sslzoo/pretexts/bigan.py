"""Bidirectional GAN (Donahue, Krähenbühl & Darrell 2017, arXiv:1605.09782).

A generator turns random codes into images, an encoder images into codes, and the discriminator is
shown pairs: an image with its code, or a code with its image. To fool it the two must become each
other's inverse, though neither ever sees what the other makes of its work.
"""

from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from sslzoo import images, pictures
from sslzoo.errors import UserError
from sslzoo.flags.ranges import Count, Pixels, Width
from sslzoo.parts import code_networks, decoders
from sslzoo.parts.adversarial import TwoPlayer
from sslzoo.parts.gan_losses import GAN


@keras.saving.register_keras_serializable("sslzoo")
class BiGAN(TwoPlayer):
    """Which is it: an image and the code of it, or a code and the image of it?

    The defaults are the paper's for 64 pixels, but for its encoder, an AlexNet with batch norm;
    its nets for MNIST are `BiGAN(dense_encoder(28), crop=28, codes=50, network="dense")`.

    What its discriminator knows of images is an encoder too, `judge()` of `"conv"`: it is shown the
    code 0, the middle of the codes.

    Departures from the paper: images have three channels throughout; encoder and discriminator
    see the same size; the noise is drawn with the image, by its seed; batch norm has gain and
    offset in the dense nets too. What becomes the code is batch-normed, without gain and offset:
    on an encoder that ends in a ReLU all codes went to -1 or 1 in the first epoch and stayed.
    Up-convolutions are 4 x 4, not 5 x 5, which left a checkerboard.

    Args:
        encoder: (B, crop, crop, 3) in [0, 1] -> (B, h, w, C); a linear layer on it gives the code.
        crop: side of the square image in pixels: 16, 32, 64, ..., or any for dense nets.
        codes: numbers in a code, each in (-1, 1).
        network: of generator and discriminator: `"conv"`, or `"dense"`, which knows no space.
        width: channels of the discriminator's first convolution, or of all dense layers.
        gan: `"bce"`, `"lsgan"`, `"wgan"` or `"wgan-gp"`.
        critic_steps: discriminator's steps for one of the others'.
        batch_norm: of codes, and in generator and discriminator; never in the last for wgan-gp.

    Raises:
        UserError: an argument is out of range; the message names the flag.
    """

    def __init__(
        self,
        encoder,
        crop: Pixels = 64,
        codes: Width = 200,
        network: Literal["conv", "dense"] = "conv",
        width: Width = 64,
        gan: GAN = "bce",
        critic_steps: Count = 1,
        batch_norm=True,
        **kwargs,
    ):
        _check(crop, network)
        # === Functional model ===
        image = keras.Input((crop, crop, 3), name="images")
        noise = keras.Input((codes,), name="noise")
        code = _code(encoder(image), codes, batch_norm)
        generate, judge = code_networks.NETWORKS[network]
        generator = generate(crop, codes, width, batch_norm)
        critic = judge(crop, codes, width, batch_norm and gan != "wgan-gp")
        super().__init__(
            encoder,
            {"images": image, "noise": noise},
            {"codes": code, "painted": generator(noise)},
            critic,
            **kwargs,
        )
        self.generator = generator

    @property
    def parameter_groups(self):
        """The encoder, with the layers that make its code, has an optimizer of its own too."""
        others = {
            id(v) for player in (self.generator, self.discriminator) for v in player.variables
        }
        ours = [v for v in self.trainable_variables if id(v) not in others]
        return {**super().parameter_groups, "encoder": ours}

    def transform(self, example):
        """One image -> ({images (crop, crop, 3) in [0, 1], noise (codes,)}, images in [-1, 1])."""
        flip_seed, noise_seed = images.split_seed(example["seed"], 2)
        image = tf.image.stateless_random_flip_left_right(example["image"], flip_seed)
        noise = tf.random.stateless_uniform((self.codes,), noise_seed, -1.0, 1.0)
        return {"images": image, "noise": noise}, image * 2 - 1

    def content_loss(self, x, y, y_pred, sample_weight=None):
        """None: there is no reconstruction term."""
        return tf.zeros(())

    def judge(self):
        """The discriminator's image half as an encoder that shares the weights."""
        return decoders.image_half(self.discriminator)

    def shown(self, x, y, y_pred):
        """Pairs of images (B, crop, crop, 3) in [-1, 1] and codes (B, codes)."""
        return [y, y_pred["codes"]], [y_pred["painted"], x["noise"]]

    def adversarial_losses(self, real, fake):
        """Encoder and generator have the discriminator's loss with the labels exchanged.

        Each of its two terms counts half, so under bce both start from ln 2.
        """
        scale = 0.5 if self.gan == "bce" else 1.0
        ours, theirs = (
            super().adversarial_losses(real, fake),
            super().adversarial_losses(fake, real),
        )
        return scale * ours[0], scale * theirs[0]

    def picture(self, x, y, y_pred=None):
        """The image, what the generator makes of its code, and an image of the noise."""
        panels = {"x": y}
        if y_pred is not None:
            again = self.generator(y_pred["codes"][None], training=False)[0]
            panels |= {"G(E(x))": again, "G(noise)": y_pred["painted"]}
        return pictures.row({name: (np.asarray(part) + 1) / 2 for name, part in panels.items()})

    def reconstruction(self, puzzles):
        """Is G(E(x)) near x? The mean distance (), and that to another image's G(E(x)).

        Distances are Euclidean, of pixels in [-1, 1], over all batches of `puzzles`. The quotient
        is below 1 where the code says anything about its image.
        """
        own, others = [], []
        for x, y in puzzles:
            again = self.generator(self(x, training=False)["codes"], training=False)
            for found, target in ((own, y), (others, tf.roll(y, 1, axis=0))):
                found.append(tf.norm(tf.reshape(again - target, (len(y), -1)), axis=1))
        return tuple(float(tf.reduce_mean(tf.concat(found, 0))) for found in (own, others))


# === Networks ===


def _code(maps, codes, norm):
    """Feature maps (B, h, w, C) -> codes (B, codes) in (-1, 1)."""
    x = decoders.dense(codes, "code")(keras.layers.Flatten()(maps))
    if norm:
        options = {"momentum": 0.9, "center": False, "scale": False, "name": "code_bn"}
        x = keras.layers.BatchNormalization(**options)(x)
    return keras.layers.Activation("tanh", dtype="float32", name="code_range")(x)


def dense_encoder(side, width=1024):
    """The paper's for MNIST: (B, side, side, 3) in [0, 1] -> (B, 1, 1, width). Keras' own layers.

    Its first dense layer is a convolution of `side` x `side`, so that larger images do no harm.
    """
    image = keras.Input((None, None, 3), name="images")
    x = keras.layers.Rescaling(2.0, -1.0, name="normalize")(image)
    start = decoders.normal()
    x = keras.layers.Conv2D(width, side, kernel_initializer=start, name="stage1_conv")(x)
    x = keras.layers.LeakyReLU(0.2, name="stage1")(x)
    x = keras.layers.Conv2D(width, 1, kernel_initializer=start, name="stage2_conv")(x)
    x = keras.layers.LeakyReLU(0.2, name="stage2")(decoders.batch_norm(x, "stage2"))
    return keras.Model(image, x, name="dense_encoder")


def _check(crop, network):
    if crop < 4 or (network == "conv" and (crop < 8 or crop & (crop - 1))):
        raise UserError(
            f"--crop: expected a power of 2, 8 or more, for --network=conv. Received: {crop}"
        )
