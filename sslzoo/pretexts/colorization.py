"""Colorization (Zhang, Isola & Efros 2016, arXiv:1603.08511).

The network sees the lightness of an image and says the colour of every fourth pixel in both
directions: one of 313 bins of the ab plane, with rare colours counting more, or a and b
themselves, which makes dull pictures. What a thing is tells what colour it may have.
"""

from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from sslzoo import pictures
from sslzoo.errors import UserError
from sslzoo.flags.ranges import Area, Count, OptionalWidth, Pixels, Positive
from sslzoo.images import lab
from sslzoo.parts.layers import FusedBatchNormalization
from sslzoo.pretext import Pretext

AB_SCALE = 110.0  # puzzles and the baseline hold a and b in this unit: about -1 to 1


@keras.saving.register_keras_serializable("sslzoo")
class Colorization(Pretext):
    """Which colour has every fourth pixel of a grey image?

    Fed with grey RGB, as all grey tasks here; the paper's single channel is made of it inside
    `dilated_vgg`. Give `Colorization(dilated_vgg())` for the paper's network of 32,230,393
    weights, or any encoder and a `width` for a small decoder on top.

    Departures from the paper: of four pixels the third gives the colour, not the first, since it is
    half a pixel from the centre at which it is painted; the reported loss has the class weights in
    it, where the authors' Caffe layer weighs the gradient alone; the baseline skips grey images
    too, to be comparable, and regresses ab / 110.

    What is probed and exported is `grey_encoder`, which makes greys of the colours it is given.

    Args:
        encoder: (B, H, W, 3) in [0, 1] -> (B, h, w, C).
        crop: side of the square image in pixels, a multiple of 4.
        loss: `"classification"`, cross-entropy over the bins, or `"l2"`, the paper's baseline.
        prior: 313 probabilities of the bins among the training images, see `lab.measure_prior`;
            None weighs all bins alike.
        uniform: share of the uniform distribution in the prior before it is inverted, more than 0
            (the paper: 0.5); 1 weighs all bins alike.
        neighbors: bins that share a pixel's target (the paper: 5, the authors' code: 10).
        temperature: of the annealed mean that turns logits into a colour.
        width: channels of two 3 x 3 convolutions, before and after the last stage is resized to a
            quarter of the image; 0 for none.

    Raises:
        UserError: an argument is out of range; the message names the flag.
    """

    sees = "whole images made grey, as it makes of colours itself"

    def __init__(
        self,
        encoder,
        crop: Pixels = 176,
        loss: Literal["classification", "l2"] = "classification",
        prior=None,
        uniform: Area = 0.5,
        neighbors: Count = 5,
        temperature: Positive = 0.38,
        width: OptionalWidth = 0,
        **kwargs,
    ):
        _check(crop, neighbors)
        # === Functional model ===
        x = grey = keras.Input((None, None, 3), name="grey")
        x = _decoder(encoder(x), grey, width)  # (B, h, w, width or C), a quarter of the image
        outputs = keras.layers.Conv2D(
            len(lab.BINS) if loss == "classification" else 2,
            1,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),  # starts at ln 313
            dtype="float32",
            name="colors",
        )(x)
        super().__init__(encoder, grey, outputs, **kwargs)
        self.kind = loss  # `compile` has an attribute `loss` of its own
        self.class_weights = lab.class_weights(
            np.full(len(lab.BINS), 1 / len(lab.BINS)) if prior is None else prior, uniform
        )
        if loss == "classification" and prior is None:  # else it depends on whose prior it is
            self.chance_loss = float(np.log(len(lab.BINS)))

    def transform(self, example):
        """One image -> (grey (crop, crop, 3), its ab / 110 (crop / 4, crop / 4, 2))."""
        image = tf.image.stateless_random_flip_left_right(example["image"], example["seed"])
        return lab.grey(image), lab.subsampled_ab(image) / AB_SCALE

    def content_loss(self, x, y, y_pred, sample_weight=None):
        """The error of the colours, a mean over the pixels (); grey images count 0."""
        if self.kind == "l2":
            losses = tf.reduce_sum(tf.square(y - y_pred), -1)
        else:
            bins, shares = lab.nearest_bins(y * AB_SCALE, self.neighbors)
            chosen = tf.gather(y_pred, bins, batch_dims=3)  # (B, h, w, neighbors)
            losses = tf.reduce_logsumexp(y_pred, -1) - tf.reduce_sum(shares * chosen, -1)
            losses *= tf.gather(self.class_weights, bins[..., 0])
        losses *= tf.cast(lab.is_colorful(y * AB_SCALE), losses.dtype)[:, None, None]  # (B, h, w)
        return tf.reduce_mean(losses)

    def picture(self, x, y, y_pred=None):
        """The grey image, the network's colours, and the true ones, as coarse as its own."""
        panels = {"puzzle": x}
        if y_pred is not None:
            panels["answer"] = recolor(x, self.paint.decode(y_pred))
        return pictures.row({**panels, "truth": recolor(x, y * AB_SCALE)})

    @property
    def paint(self):
        """The layer that turns images and the network's answers into coloured images."""
        return Paint(self.temperature if self.kind == "classification" else 0.0)

    def embed(self, pixels):
        """Of the greys of whole images (B, H, W, 3) in [0, 1], as `grey_encoder`: (B, C)."""
        return super().embed(lab.grey(pixels))

    def grey_encoder(self):
        """A copy of the encoder behind `lab.grey`: what is to be probed and exported.

        Training has shown it equal channels only. To colours its first layer would add the filters
        of its random start, of which the gradient sees nothing but the sum over channels.
        """
        pixels = keras.Input((None, None, 3), name="images")
        grey = lab.grey(pixels)

        def call(layer, *args, **kwargs):
            return layer(*(grey if arg is pixels else arg for arg in args), **kwargs)

        copy = keras.models.clone_model(self.encoder, pixels, call_function=call)
        copy.set_weights(self.encoder.get_weights())
        return copy

    def colouriser(self):
        """A model that shares the weights: images of any size, grey or not, -> coloured ones.

        (B, H, W, 3) in [0, 1] -> (B, H, W, 3) in [0, 1]. Colours that come in are not looked at.
        """
        pixels = keras.Input((None, None, 3), name="images")
        answers = keras.Model(self.inputs, self.outputs[0], name="network")(lab.grey(pixels))
        return keras.Model(pixels, self.paint([pixels, answers]), name="colouriser")


# === Layers ===


@keras.saving.register_keras_serializable("sslzoo")
class ResizeToQuarter(keras.layers.Layer):
    """[(B, h, w, C), images (B, H, W, 3)] -> (B, H / 4, W / 4, C), rounded up, bilinear."""

    def call(self, inputs):
        """Sizes may be unknown until it runs."""
        features, pixels = inputs
        _, height, width, _ = keras.ops.shape(pixels)
        return tf.image.resize(features, (-(-height // 4), -(-width // 4)))


@keras.saving.register_keras_serializable("sslzoo")
class Paint(keras.layers.Layer):
    """[images (B, H, W, 3), answers (B, h, w, 313 or 2)] -> coloured images (B, H, W, 3).

    Args:
        temperature: of the annealed mean over the bins; 0 means that the answers are ab / 110.
    """

    def __init__(self, temperature, **kwargs):
        super().__init__(**kwargs)
        self.temperature = temperature

    def call(self, inputs):
        """Keeps the lightness of the images, adds the colours."""
        pixels, answers = inputs
        return recolor(pixels, self.decode(answers))

    def decode(self, answers):
        """(..., 313 or 2) -> ab (..., 2)."""
        if self.temperature:
            return lab.annealed_mean(answers, self.temperature)
        return answers * AB_SCALE

    def get_config(self):
        """With the temperature."""
        return {**super().get_config(), "temperature": self.temperature}


def _decoder(x, grey, width):
    """Features (B, h, w, C) -> (B, H / 4, W / 4, width, or C if `width` is 0)."""
    if width:
        x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name="before")(x)
    x = ResizeToQuarter(name="quarter")([x, grey])
    if width:
        x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name="after")(x)
    return x


def dilated_vgg():
    """The paper's network without its last layer: (B, H, W, 3) in [0, 1] -> (B, H/4, W/4, 256).

    Stock Keras operations only. Lightness less 50 is computed inside; nothing there is trained.
    `stage1` to `stage8` are the last ReLUs of the blocks, before their batch norm, which has no
    gain and no offset, as in the authors' code. Weights start from He's initialisation. Sides that
    are no multiples of 8 give up to 2 more than a quarter, which `ResizeToQuarter` removes.
    """
    inputs = keras.Input((None, None, 3), name="images")
    x = lab.lightness(inputs) - 50.0
    blocks = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3), (512, 3), (512, 3)]
    for i, (width, convs) in enumerate(blocks, start=1):
        for j in range(1, convs + 1):
            strided = i <= 3 and j == convs
            stage = f"stage{i}" if j == convs else f"relu{i}_{j}"
            dilation = 2 if i in (5, 6) else 1
            x = _conv(x, width, f"conv{i}_{j}", stage, 2 if strided else 1, dilation)
        x = FusedBatchNormalization(
            momentum=0.9, epsilon=1e-5, center=False, scale=False, name=f"norm{i}"
        )(x)
    x = keras.layers.Conv2DTranspose(
        256, 4, strides=2, padding="same", kernel_initializer="he_normal", name="conv8_1"
    )(x)
    x = keras.layers.ReLU(name="relu8_1")(x)
    x = _conv(x, 256, "conv8_2", "relu8_2")
    return keras.Model(inputs, _conv(x, 256, "conv8_3", "stage8"), name="dilated_vgg")


def _conv(x, width, name, relu, stride=1, dilation=1):
    x = keras.layers.Conv2D(
        width,
        3,
        strides=stride,
        dilation_rate=dilation,
        padding="same",
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return keras.layers.ReLU(name=relu)(x)


def recolor(pixels, ab):
    """Images (..., H, W, 3) with their own lightness and other colours (..., h, w, 2)."""
    _, height, width, _ = keras.ops.shape(pixels) if len(pixels.shape) == 4 else (0, *pixels.shape)
    ab = tf.image.resize(ab, (height, width))
    return lab.lab_to_rgb(tf.concat([lab.lightness(pixels), ab], -1))


def _check(crop, neighbors):
    if crop < 4 or crop % 4:
        raise UserError(f"--crop: expected a multiple of 4 pixels. Received: {crop}")
    if neighbors > len(lab.BINS):
        raise UserError(f"--neighbors: expected 1 to {len(lab.BINS)} bins. Received: {neighbors}")
