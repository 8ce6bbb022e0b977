"""Reconstructing an image from its middle with a GAN (Lee, Kang & Choi, "Self supervised Visual
Representation Learning by Reconstructing Images").

The generator sees the central third of an image, enlarged, and draws all of it; the discriminator
compares that with real images. The authors report that on CIFAR-10, SVHN and STL-10 a classifier
whose encoder was trained so is no better than one trained from scratch.
"""

from typing import Literal

import keras
import tensorflow as tf

from sslzoo import pictures
from sslzoo.errors import UserError
from sslzoo.flags.ranges import Count, Pixels, Share, Width
from sslzoo.parts import decoders
from sslzoo.parts.adversarial import TwoPlayer
from sslzoo.parts.gan_losses import GAN


@keras.saving.register_keras_serializable("sslzoo")
class Reconstruction(TwoPlayer):
    """What is around this?

    `Reconstruction(reconstructor())` with the defaults is the document's network; the channels
    (64, 128, 256, 512) were in a figure that did not survive and are our own choice.

    The arms are those of its Table 2. `"scale_bias"` puts the true middle into what is drawn,
    alpha * drawn + beta, with alpha 0 in the middle and 1 around, and beta the image in the middle
    and 0 around. (Its equation 1 has the input where its text and figure have what is drawn.)

    It starts from the middle of an image: with --resize=crop the largest square, as there.

    Departures from the document: images are mirrored at random; beta is the middle itself, which
    the input holds enlarged; the identity loss is a mean over the pixels.

    Args:
        encoder: (B, crop, crop, 3) in [0, 1] -> (B, h, h, C), crop = h times a power of 2.
        crop: side of the square image in pixels.
        center: side of the part that is shown, as a share of the whole.
        arm: `"baseline"`, adversarial loss alone; `"l1"`, plus the mean absolute error of the whole
            image; `"scale_bias"`, adversarial loss on the composed image.
        gan: `"bce"` (the document), `"lsgan"`, or `"wgan"` or `"wgan-gp"` (its future work).
        critic_steps: discriminator's steps for one of the generator's.
        discriminator_width: channels of its first convolution.
        batch_norm: in decoder and discriminator; never in that of wgan-gp.

    Raises:
        UserError: an argument is out of range; the message names the flag.
    """

    centered = True

    def __init__(
        self,
        encoder,
        crop: Pixels = 80,
        center: Share = 1 / 3,
        arm: Literal["baseline", "l1", "scale_bias"] = "scale_bias",
        gan: GAN = "bce",
        critic_steps: Count = 1,
        discriminator_width: Width = 64,
        batch_norm=True,
        **kwargs,
    ):
        _check(crop, center)
        # === Functional model ===
        image = keras.Input((crop, crop, 3), name="images")
        drawn = _decoder(encoder(image), crop, batch_norm)
        norm = batch_norm and gan != "wgan-gp"
        critic = decoders.discriminator(crop, discriminator_width, norm)
        super().__init__(encoder, image, drawn, critic, **kwargs)
        self.inner = round(crop * center)  # pixels
        self.margin = (crop - self.inner) // 2

    @property
    def sees(self):
        """The middle."""
        return f"the middle {self.inner} of {self.crop} pixels of images in colour, enlarged"

    def transform(self, example):
        """One image -> (its middle, enlarged (crop, crop, 3) in [0, 1]; itself in [-1, 1])."""
        image = tf.image.stateless_random_flip_left_right(example["image"], example["seed"])
        return tf.image.resize(self.middle(image), (self.crop, self.crop)), image * 2 - 1

    def middle(self, image):
        """(..., crop, crop, 3) -> (..., inner, inner, 3)."""
        stop = self.margin + self.inner
        return image[..., self.margin : stop, self.margin : stop, :]

    @property
    def scale(self):
        """Alpha (crop, crop, 1): 0 in the middle, 1 around."""
        after = self.crop - self.margin - self.inner
        middle = tf.ones((self.inner, self.inner, 1))
        return 1 - tf.pad(middle, [[self.margin, after], [self.margin, after], [0, 0]])

    def compose(self, drawn, target):
        """What the discriminator sees of (..., crop, crop, 3): with scale and bias in that arm."""
        if self.arm != "scale_bias":
            return drawn
        bias = (1 - self.scale) * target
        return self.scale * drawn + bias

    def content_loss(self, x, y, y_pred, sample_weight=None):
        """The identity loss (): the mean absolute error in the arm `l1`, else 0."""
        return tf.reduce_mean(tf.abs(y - y_pred)) if self.arm == "l1" else tf.zeros(())

    def shown(self, x, y, y_pred):
        """The true image, and the drawn or composed one."""
        return y, self.compose(y_pred, y)

    def picture(self, x, y, y_pred=None):
        """What the network sees, what the discriminator sees, and the truth."""
        answer = {} if y_pred is None else {"answer": (self.compose(y_pred, y) + 1) / 2}
        return pictures.row({"puzzle": x, **answer, "truth": (y + 1) / 2})


# === Networks ===


def reconstructor(widths=(64, 128, 256, 512), dropout=0.5):
    """The document's encoder: 80 pixels -> 5x5x512. Keras' own layers.

    (B, H, W, 3) in [0, 1] -> (B, H / 16, W / 16, 512), without pooling: each stage is a strided
    convolution and one of the same size, then batch norm and LeakyReLU; in the last stage dropout
    before that.
    """
    image = keras.Input((None, None, 3), name="images")
    x = keras.layers.Rescaling(2.0, -1.0, name="normalize")(image)
    for i, width in enumerate(widths, start=1):
        for name, kernel, stride in ((f"stage{i}_down", 4, 2), (f"stage{i}_same", 3, 1)):
            x = keras.layers.Conv2D(
                width,
                kernel,
                strides=stride,
                padding="same",
                kernel_initializer=decoders.normal(),
                name=name,
            )(x)
        x = decoders.batch_norm(x, f"stage{i}")
        x = keras.layers.Dropout(dropout)(x) if i == len(widths) else x
        x = keras.layers.LeakyReLU(0.2, name=f"stage{i}")(x)
    return keras.Model(image, x, name="reconstructor")


def _decoder(x, side, norm):
    """(B, h, w, C) -> (B, side, side, 3) in [-1, 1], each doubling with half the channels."""
    start, width = x.shape[1:3], x.shape[-1]
    doublings = (side // start[0]).bit_length() - 1
    if start != (side >> doublings,) * 2 or start[0] << doublings != side or not doublings:
        raise UserError(
            f"--crop: expected the encoder's {start[0]} x {start[1]} pixels times a power of 2. "
            f"Received: {side}"
        )
    for i in range(1, doublings + 1):
        last = i == doublings
        x = keras.layers.Conv2DTranspose(
            width >> i,
            4,
            strides=2,
            padding="same",
            kernel_initializer=decoders.normal(),
            name=f"up{i}",
        )(x)
        x = keras.layers.Conv2D(
            3 if last else width >> i,
            3,
            padding="same",
            kernel_initializer=decoders.normal(),
            name=f"up{i}_same",
        )(x)
        x = decoders.batch_norm(x, f"up{i}") if norm and not last else x
        options = {"activation": "tanh", "dtype": "float32"} if last else {"activation": "relu"}
        x = keras.layers.Activation(**options, name=f"up{i}_out")(x)
    return x


def _check(crop, center):
    if crop < 8:
        raise UserError(f"--crop: expected at least 8 pixels. Received: {crop}")
    if not 0 < center < 1:
        raise UserError(f"--center: expected a share of the side, 0 to 1. Received: {center}")
