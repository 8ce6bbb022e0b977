"""Super-resolution, SRResNet and SRGAN (Ledig et al. 2017, arXiv:1609.04802).

The network enlarges a small image. To add the detail that is not there it must know what it sees.
Trained on the squared error it is SRResNet, smooth; against a discriminator SRGAN, sharp.
"""

from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from sslzoo import pictures
from sslzoo.errors import UserError
from sslzoo.flags.ranges import Count, Pixels, Weight, Width
from sslzoo.images import upscaling
from sslzoo.parts import decoders
from sslzoo.parts.adversarial import TwoPlayer
from sslzoo.parts.gan_losses import GAN
from sslzoo.parts.layers import FusedBatchNormalization, PixelShuffle
from sslzoo.precision import in_float32

VGG_LAYERS = {"vgg22": "block2_conv2", "vgg54": "block5_conv4"}  # after their ReLU
VGG_SCALE = 12.75  # VGG's features are divided by it


@keras.saving.register_keras_serializable("sslzoo")
class Superres(TwoPlayer):
    """What does this image look like, larger?

    `Superres(srresnet())` is the paper's generator of 1,548,547 weights, and with
    `adversarial=0.001` its discriminator of 23,563,649. Any encoder will do: its last feature map
    is doubled until it has the size of the answer.

    The content loss is the squared error. The paper's SRGAN compares features of VGG19 instead;
    VGG learned them from ImageNet's labels, so that is no longer self-supervised, and off by
    default.

    The players move in turn, as the paper's. What its discriminator knows is an encoder too,
    `judge()`: (B, H, W, 3) in [0, 1] -> (B, H / 16, W / 16, 8 * discriminator_width).

    Departures from the paper: pixel shuffles start without checkerboard (arXiv:1707.02937), all
    residual branches of `srresnet` from nothing; VGG's distance is a mean over the channels too;
    VGG22 comes without total variation.

    Args:
        encoder: (B, H, W, 3) in [0, 1] -> (B, h, w, C).
        crop: side of the square image, the answer, in pixels.
        scale: 2 or 4, by how much it is larger than what the network sees.
        content: `"mse"`, or `"vgg22"` or `"vgg54"` for features of VGG19.
        vgg_weights: of VGG19 without its top: a file, or `"imagenet"` for Keras' download.
        adversarial: weight of the adversarial loss (SRGAN: 0.001); 0 for no discriminator.
        gan: `"bce"`, `"lsgan"`, `"wgan"` or `"wgan-gp"`.
        critic_steps: discriminator's steps for one of the generator's.
        discriminator_width: channels of its first convolution.
        batch_norm: in the discriminator; never in that of wgan-gp.
        decoder_width: channels of the up-convolutions, at most those of the encoder's output.

    Raises:
        UserError: an argument is out of range; the message names the flag.
    """

    in_turn = True

    def __init__(
        self,
        encoder,
        crop: Pixels = 96,
        scale: Count = 4,
        content: Literal["mse", "vgg22", "vgg54"] = "mse",
        vgg_weights="",
        adversarial: Weight = 0.0,
        gan: GAN = "bce",
        critic_steps: Count = 1,
        discriminator_width: Width = 64,
        batch_norm=True,
        decoder_width: Width = 64,
        **kwargs,
    ):
        _check(crop, scale, content, vgg_weights)
        # === Functional model ===
        small = keras.Input((None, None, 3), name="small_images")
        found = encoder.compute_output_shape((1, crop // scale, crop // scale, 3))[1]
        large = _enlarge(encoder(small), found, crop, decoder_width)
        norm = batch_norm and gan != "wgan-gp"
        critic = discriminator(crop, discriminator_width, norm) if adversarial else None
        super().__init__(encoder, small, large, critic, **kwargs)
        # Hidden in a function, because VGG is neither trained nor saved with the model.
        self.features = None if content == "mse" else vgg_features(content, vgg_weights)

    @property
    def sees(self):
        """Small images."""
        return f"images in colour, shrunk from {self.crop} to {self.crop // self.scale} pixels"

    def transform(self, example):
        """One image -> (small (crop / scale, ...) in [0, 1], large (crop, crop, 3) in [-1, 1])."""
        image = tf.image.stateless_random_flip_left_right(example["image"], example["seed"])
        return upscaling.shrink(image, self.scale), image * 2 - 1

    def content_loss(self, x, y, y_pred, sample_weight=None):
        """Mean squared error of pixels in [-1, 1], or of VGG's features: ()."""
        if self.features:
            y, y_pred = self.features(y), self.features(y_pred)
        return tf.reduce_mean(tf.square(y - y_pred))

    def judge(self):
        """The discriminator's image half as an encoder that shares the weights."""
        return decoders.image_half(self.discriminator)

    def shown(self, x, y, y_pred):
        """The true large image and the network's."""
        return y, y_pred

    def picture(self, x, y, y_pred=None):
        """The small image enlarged by bicubic interpolation, by the network, and the truth."""
        answer = {} if y_pred is None else {"answer": (y_pred + 1) / 2}
        return pictures.row(
            {"bicubic": upscaling.enlarge(x, self.scale), **answer, "truth": (y + 1) / 2}
        )

    def take_generator(self, other):
        """Assigns the weights of another's generator: SRGAN goes on from SRResNet."""
        pairs = zip(self.ungrouped_variables, other.ungrouped_variables, strict=True)
        for ours, theirs in pairs:
            ours.assign(theirs)

    def scored(self, source, count):
        """PSNR and SSIM of the first images of a source, whole, beside bicubic's, as text."""
        count = min(count, source.size)
        photos = (e["image"].numpy() for e in source.examples(shuffle=False, stop=count))
        text = "{} held-back images: PSNR {psnr:.2f} dB, SSIM {ssim:.4f}; "
        text += "bicubic {bicubic_psnr:.2f} dB, {bicubic_ssim:.4f}"
        return text.format(count, **upscaling.score(self.upscaler(), photos, self.scale))

    def upscaler(self):
        """A model that shares the weights: (B, H, W, 3) -> (B, scale H, scale W, 3), in [0, 1].

        H and W are multiples of the encoder's stride: 1 for `srresnet`.
        """
        small = keras.Input((None, None, 3), name="images")
        large = keras.Model(self.inputs, self.outputs[0], name="network")(small)
        large = keras.layers.Rescaling(0.5, 0.5, name="pixels")(large)
        return keras.Model(small, large, name="upscaler")


# === Networks ===


def srresnet(blocks=16, width=64):
    """The paper's generator before it enlarges: (B, H, W, 3) in [0, 1] -> (B, H, W, width).

    Keras' own layers. `stage1` is the first convolution, `stage2` to `stage4` follow each quarter
    of the blocks, `stage5` is the sum of the long skip. All skips start with nothing added to them
    (gains of 0, arXiv:1706.02677), so that a short run soon finds what interpolation does.
    """
    if blocks < 4 or blocks % 4:
        raise UserError(f"--blocks: expected a multiple of 4. Received: {blocks}")
    image = keras.Input((None, None, 3), name="images")
    first = x = _prelu(_conv(image, width, 9, "first"), "stage1")
    for i in range(1, blocks + 1):
        y = _norm(_conv(x, width, 3, f"block{i}_1", bias=False))
        y = _conv(_prelu(y, f"block{i}_prelu"), width, 3, f"block{i}_2", bias=False)
        y = _norm(y, gain="zeros")
        stage, rest = divmod(i * 4, blocks)
        last = rest == 0 and stage < 4
        x = keras.layers.Add(name=f"stage{stage + 1}" if last else f"block{i}")([x, y])
    x = _norm(_conv(x, width, 3, "trunk", bias=False), gain="zeros")
    x = keras.layers.Add(name="stage5")([first, x])
    return keras.Model(image, x, name="srresnet")


def discriminator(side, width=64, norm=True):
    """The paper's: (B, side, side, 3) in [-1, 1] -> (B, 1), a logit."""
    x = image = keras.Input((side, side, 3), name="judged")
    for i in range(8):
        bias = i == 0 or not norm
        x = _conv(x, width * 2 ** (i // 2), 3, f"d{i + 1}", 1 + i % 2, bias)
        x = _norm(x) if norm and i > 0 else x
        x = keras.layers.LeakyReLU(0.2, name=f"stage{i + 1}")(x)
    x = keras.layers.Dense(16 * width, name="d_dense")(keras.layers.Flatten()(x))
    x = keras.layers.Dense(1, dtype="float32", name="d_logit")(keras.layers.LeakyReLU(0.2)(x))
    return keras.Model(image, x, name="discriminator")


def vgg_features(content, weights):
    """A function, images in [-1, 1] -> the features of VGG19 that `content` names."""
    vgg = keras.applications.VGG19(include_top=False, weights=weights)
    vgg = keras.Model(vgg.input, vgg.get_layer(VGG_LAYERS[content]).output)
    prepare = keras.applications.vgg19.preprocess_input
    return lambda x: in_float32(vgg(prepare((x + 1) * 127.5), training=False)) / VGG_SCALE


def _enlarge(x, side, wanted, width):
    """Features (B, h, w, C), `side` pixels -> an image (B, ?, ?, 3), `wanted` pixels."""
    doublings = int(np.log2(wanted / side))
    if side * 2**doublings != wanted:
        raise UserError(
            f"--crop: expected the {side} pixels of the encoder's last stage times a power of 2. "
            f"Received: {wanted}"
        )
    width = min(x.shape[-1], width)
    for i in range(1, doublings + 1):
        conv = keras.layers.Conv2D(4 * width, 3, padding="same", name=f"up{i}_conv")
        x = PixelShuffle(name=f"up{i}_shuffle")(conv(x))
        # The four pixels start alike (ICNR), or their differences stay as a checkerboard.
        conv.kernel.assign(keras.ops.tile(conv.kernel[..., :width], (1, 1, 1, 4)))
        x = _prelu(x, f"up{i}")
    return keras.layers.Conv2D(3, 9, padding="same", dtype="float32", name="large")(x)


def _conv(x, width, kernel, name, stride=1, bias=True):
    layer = keras.layers.Conv2D(
        width, kernel, strides=stride, padding="same", use_bias=bias, name=f"{name}_conv"
    )
    return layer(x)


def _norm(x, gain="ones"):
    options = {"momentum": 0.9, "epsilon": 1e-5, "gamma_initializer": gain}
    return FusedBatchNormalization(**options)(x)


def _prelu(x, name):
    start = keras.initializers.Constant(0.25)
    return keras.layers.PReLU(start, shared_axes=[1, 2], name=name)(x)


def _check(crop, scale, content, vgg_weights):
    if scale not in (2, 4):
        raise UserError(f"--scale: expected 2 or 4. Received: {scale}")
    if crop < 16 or crop % scale:
        raise UserError(f"--crop: expected a multiple of {scale}, 16 or more. Received: {crop}")
    if content != "mse" and not vgg_weights:
        raise UserError(
            "--vgg_weights: expected a file of VGG19 without its top, or imagenet for Keras' "
            "download; VGG has seen ImageNet's labels, so none is taken silently. Received: ''"
        )
