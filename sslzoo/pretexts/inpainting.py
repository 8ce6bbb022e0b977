"""Inpainting by a context encoder (Pathak et al. 2016, arXiv:1604.07379).

A part of the image is replaced by a constant, and the network paints it from what is around it.
To say what belongs there it must know what kind of scene it sees. A squared error alone gives a
blurred mean of all that might be there; a discriminator makes it choose.
"""

from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from sslzoo import images, pictures
from sslzoo.errors import UserError
from sslzoo.flags.ranges import Count, Fraction, OptionalWidth, Pad, Pixels, Width
from sslzoo.images import masks
from sslzoo.parts import decoders, holes
from sslzoo.parts.adversarial import TwoPlayer
from sslzoo.parts.gan_losses import GAN
from sslzoo.parts.holes import FILL, FillHoles, ShowHoles
from sslzoo.parts.layers import ChannelWiseDense

MASKS = {"blocks": masks.random_blocks, "region": masks.random_region}  # of the whole image


@keras.saving.register_keras_serializable("sslzoo")
class Inpainting(TwoPlayer):
    """What was in the hole?

    The paper has two networks. `Inpainting(context_encoder())` with the defaults paints a central
    square: 71,130,531 weights and a discriminator of 2,766,529. `Inpainting(alexnet, crop=227,
    mask="region", bottleneck=0, width=256, adversarial=0)` learns features. Any encoder will do
    for the second form, with a channel-wise fully connected layer on its last feature map.

    Beside the loss it reports the three numbers of the paper's Table 1, of pixels in [0, 1] in the
    hole: `l1_percent` and `l2_percent`, the mean absolute and the mean squared error of an image
    in %, and `psnr` of an image in dB; all are means over the images.

    Departures from the paper: regions are thresholded noise, as in the authors' code, but every
    image has its own, and the threshold is the one that gives a share drawn from 20 % to 30 %,
    where the code draws until the share lies there; the fill is one for all; biases of
    convolutions are kept. The up-convolutions after AlexNet are our own choice, since the paper
    gives no table: five of 128, 64, 32, 16 and 3 channels, 6 -> 192 pixels, then a resize.

    Args:
        encoder: (B, crop, crop, 3) in [0, 1] -> (B, h, w, C).
        crop: side of the square image in pixels.
        mask: `"center"`, a square of half the side, the only case in which just the hole is
            predicted; `"blocks"`, up to eight squares that cover at most a quarter of the image;
            `"region"`, blobs that cover 20 % to 30 %.
        overlap: border of a central square, in pixels, that is predicted though it is shown, and
            counts ten times (the paper: 7, the authors' code: 4); other masks have none.
        bottleneck: channels of a fully connected layer between encoder and decoder; 0 for the
            channel-wise one.
        width: twice the channels of the decoder's first up-convolution; every further one but the
            last has half as many as the one before, 16 at least.
        loss: `"l2"` or `"l1"`.
        adversarial: weight of the adversarial loss (the paper: 0.001); the reconstruction has the
            rest of 1. 0 for no discriminator, as the paper has it with AlexNet.
        gan: `"bce"`, `"lsgan"`, `"wgan"` or `"wgan-gp"`.
        critic_steps: discriminator's steps for one of the generator's.
        discriminator_width: channels of its first convolution.
        batch_norm: in decoder and discriminator; never in that of wgan-gp, whose penalty is for
            each example.

    Raises:
        UserError: an argument is out of range; the message names the flag.
    """

    def __init__(
        self,
        encoder,
        crop: Pixels = 128,
        mask: Literal["center", "blocks", "region"] = "center",
        overlap: Pad = 4,
        bottleneck: OptionalWidth = 4000,
        width: Width = 512,
        loss: Literal["l2", "l1"] = "l2",
        adversarial: Fraction = 0.001,
        gan: GAN = "bce",
        critic_steps: Count = 1,
        discriminator_width: Width = 64,
        batch_norm=True,
        **kwargs,
    ):
        _check(crop, mask, overlap)
        # === Functional model ===
        side = crop // 2 if mask == "center" else crop
        image = keras.Input((crop, crop, 3), name="images")
        x = _bridge(encoder(image), bottleneck, width, batch_norm)
        painted = _decoder(x, side, width, batch_norm)
        norm = batch_norm and gan != "wgan-gp"
        critic = decoders.discriminator(side, discriminator_width, norm) if adversarial else None
        super().__init__(encoder, image, painted, critic, **kwargs)
        self.side = side
        self.kind = loss  # `compile` has an attribute `loss` of its own
        self.log_scalars(*holes.MEASURES)

    @property
    def sees(self):
        """Images with holes."""
        hole = "a hole in the middle" if self.mask == "center" else "holes"
        return f"images in colour with {hole}"

    def transform(self, example):
        """One image -> (with a hole (crop, crop, 3) in [0, 1], target, weights).

        The target (side, side, 3) in [-1, 1] is the central square, or the image; the weights
        (side, side) of the squared errors are 1 in the hole, 10 in the overlap, else 0.
        """
        flip_seed, mask_seed = images.split_seed(example["seed"], 2)
        image = tf.image.stateless_random_flip_left_right(example["image"], flip_seed)
        hole, weights = self.hole(mask_seed)
        shown = images.where(hole, tf.broadcast_to(FILL, image.shape), image)
        return shown, self.window(image) * 2 - 1, weights

    def hole(self, seed):
        """Where pixels are dropped (crop, crop) bool, and what the target's count (side, side)."""
        if self.mask == "center":
            band = self.overlap
            inner, margin = self.side - 2 * band, (self.crop - self.side) // 2 + band
            after = self.crop - inner - margin
            hole = tf.pad(tf.ones((inner, inner), tf.bool), [[margin, after], [margin, after]])
            return hole, tf.pad(tf.ones((inner, inner)), [[band, band]] * 2, constant_values=10.0)
        hole = MASKS[self.mask](self.crop, seed)
        return hole, tf.cast(hole, tf.float32)

    def window(self, image):
        """The part of (..., crop, crop, 3) that is predicted."""
        start = (self.crop - self.side) // 2
        stop = start + self.side
        return image[..., start:stop, start:stop, :]

    def content_loss(self, x, y, y_pred, sample_weight=None):
        """The error of the pixels that count, a mean over pixels and images ()."""
        error = tf.square(y - y_pred) if self.kind == "l2" else tf.abs(y - y_pred)
        error = tf.reduce_mean(error, -1) * sample_weight  # (B, side, side)
        counted = tf.math.count_nonzero(sample_weight, [1, 2], dtype=tf.float32)
        error = tf.reduce_mean(tf.reduce_sum(error, [1, 2]) / counted)
        return (1 - self.adversarial) * error

    def measures(self, y, y_pred, sample_weight):
        """The errors in the holes (`holes.MEASURES`), means over a batch: dict of ()."""
        return holes.measures(y, y_pred, sample_weight == 1)  # the overlap counts 10

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """With the running means of the `measures`."""
        self.update_scalars(self.measures(y, y_pred, sample_weight))
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def scored(self, source, count):
        """The `measures` of the first images of a source, as text."""
        count = min(count, source.size)
        puzzles = self.puzzles(source.examples(shuffle=False, crop=self.crop, stop=count), 1)
        rows = [self.measures(y, self(x, training=False), w) for x, y, w in puzzles]
        means = {name: np.mean([row[name] for row in rows]) for name in holes.MEASURES}
        text = (
            "{} held-back images: L1 {l1_percent:.2f} %, L2 {l2_percent:.2f} %, PSNR {psnr:.2f} dB"
        )
        return text.format(count, **means)

    def painter(self):
        """A model that shares the weights: images with holes -> filled images, all in [0, 1].

        (B, H, W, 3) -> (B, H, W, 3). A hole is every pixel of the colour `FILL`, which in 8 bits
        is (124, 116, 104). The network sees the image at `crop` x `crop` pixels; where the size is
        another, what it paints is resized. With a central mask it fills the central square alone.
        """
        pixels = keras.Input((None, None, 3), name="images")
        shown = ShowHoles(self.crop, name="show")(pixels)
        painted = keras.Model(self.inputs, self.outputs[0], name="network")(shown)
        filled = FillHoles(self.crop, name="fill")([pixels, painted])
        return keras.Model(pixels, filled, name="painter")

    def contexts(self):
        """A model that shares the weights: what is around a hole, and the code of that.

        Images (B, crop, crop, 3) in [0, 1] -> [them with a hole, the same in all; (B, D)]. The code
        is the bottleneck, or where there is none the encoder's last maps.
        """
        image = keras.Input((self.crop, self.crop, 3), name="images")
        hole, _ = self.hole(tf.constant([0, 0]))
        shown = keras.ops.where(hole.numpy()[..., None], np.float32(FILL), image)
        coder = self.encoder
        if self.bottleneck:
            coder = keras.Model(self.inputs, self.get_layer("bottleneck").output)
        codes = keras.layers.Flatten(dtype="float32")(coder(shown))
        return keras.Model(image, [shown, codes], name="contexts")

    def shown(self, x, y, y_pred):
        """The discriminator sees what is predicted, without its surroundings: no seam tells."""
        return y, y_pred

    def picture(self, x, y, y_pred=None):
        """The image with its hole, the same with what the network painted there, and the truth."""
        parts = {} if y_pred is None else {"answer": y_pred}
        parts["truth"] = y
        painted = {name: self.paste(x, (part + 1) / 2) for name, part in parts.items()}
        return pictures.row({"puzzle": x, **painted})

    def paste(self, x, part):
        """The image `x` (crop, crop, 3) with its hole filled from `part` (side, side, 3)."""
        margin = (self.crop - self.side) // 2
        padding = [[margin, self.crop - self.side - margin]] * 2 + [[0, 0]]
        hole = np.all(np.asarray(x) == np.float32(FILL), axis=-1, keepdims=True)
        return np.where(hole, np.pad(part, padding), x)


# === Networks ===


def _bridge(x, bottleneck, width, norm):
    """Features (B, h, w, C) -> what the decoder starts from, (B, h, w, width or C)."""
    if not bottleneck:
        x = ChannelWiseDense(name="channel_wise")(x)
        x = keras.layers.Conv2D(x.shape[-1], 1, name="mix")(x)
        return keras.layers.ReLU()(x)
    size = x.shape[1:3]
    init = decoders.normal()
    x = keras.layers.Conv2D(bottleneck, size, kernel_initializer=init, name="bottleneck_conv")(x)
    x = decoders.batch_norm(x, "bottleneck") if norm else x
    x = keras.layers.LeakyReLU(0.2, name="bottleneck")(x)
    x = keras.layers.Conv2DTranspose(width, size, kernel_initializer=init, name="spread_conv")(x)
    x = decoders.batch_norm(x, "spread") if norm else x
    return keras.layers.ReLU(name="spread")(x)


def _decoder(x, side, width, norm):
    """(B, h, w, C) -> (B, side, side, 3) in [-1, 1], by as many doublings as fit."""
    doublings = int(np.log2(side / x.shape[1]))
    for i in range(1, doublings):
        x = decoders.up(x, max(width >> i, 16), f"up{i}", norm)
    x = decoders.up(x, 3, f"up{doublings}", norm=False, activation="linear")
    if x.shape[1:3] != (side, side):
        x = keras.layers.Resizing(side, side, name="fit")(x)
    return keras.layers.Activation("tanh", dtype="float32", name="painted")(x)


def context_encoder():
    """The paper's painting network up to its bottleneck: 128 pixels -> 4x4x512. Keras' own layers.

    (B, H, W, 3) in [0, 1] -> (B, H / 32, W / 32, 512). `stage1` to `stage5` are LeakyReLUs.
    """
    image = keras.Input((None, None, 3), name="images")
    x = keras.layers.Rescaling(2.0, -1.0, name="normalize")(image)
    for i, width in enumerate((64, 64, 128, 256, 512), start=1):
        x = decoders.down(x, width, f"stage{i}", norm=i > 1)
    return keras.Model(image, x, name="context_encoder")


def _check(crop, mask, overlap):
    if crop < 16:
        raise UserError(f"--crop: expected at least 16 pixels. Received: {crop}")
    if mask == "center" and overlap >= crop // 4:
        raise UserError(f"--overlap: expected less than a quarter of the crop. Received: {overlap}")
