"""Holes in images, as a painter meets them: pixels of one colour; what is wrong in them."""

import keras
import numpy as np
import tensorflow as tf

FILL = (0.485, 0.456, 0.406)  # about the mean of photographs, which encoders turn into 0
MEASURES = ("l1_percent", "l2_percent", "psnr")  # of Table 1 of arXiv:1604.07379


def holes(pixels):
    """Which pixels (B, H, W, 3) in [0, 1] are `FILL`, to 8 bits: (B, H, W, 1) bool."""
    same = tf.round(pixels * 255) == tf.round(tf.constant(FILL) * 255)
    return tf.reduce_all(same, -1, keepdims=True)


def measures(y, y_pred, hole):
    """The errors of images (B, H, W, 3) in [-1, 1] where `hole` (B, H, W) is true.

    Returns:
        dict of () by the names of `MEASURES`, means over the images, of pixels in [0, 1].
    """
    hole = tf.cast(hole, tf.float32)
    pixels = tf.reduce_sum(hole, [1, 2])

    def mean(error):  # (B, H, W, 3) -> (B,)
        return tf.reduce_sum(tf.reduce_mean(error, -1) * hole, [1, 2]) / pixels

    error = (y - y_pred) / 2
    squared = mean(tf.square(error))
    decibels = -10 * tf.math.log(tf.maximum(squared, 1e-10)) / np.log(10)
    parts = (100 * mean(tf.abs(error)), 100 * squared, decibels)
    return dict(zip(MEASURES, map(tf.reduce_mean, parts), strict=True))


@keras.saving.register_keras_serializable("sslzoo")
class ShowHoles(keras.layers.Layer):
    """What the network sees of images with holes: (B, H, W, 3) -> (B, crop, crop, 3), in [0, 1]."""

    def __init__(self, crop, **kwargs):
        super().__init__(**kwargs)
        self.crop = crop

    def call(self, inputs):
        """Every pixel that a hole reaches into belongs to it."""
        size = (self.crop, self.crop)
        hole = tf.image.resize(tf.cast(holes(inputs), tf.float32), size, antialias=True) > 0
        return tf.where(hole, tf.constant(FILL), tf.image.resize(inputs, size, antialias=True))

    def get_config(self):
        """With the size."""
        return {**super().get_config(), "crop": self.crop}


@keras.saving.register_keras_serializable("sslzoo")
class FillHoles(ShowHoles):
    """[images (B, H, W, 3), answers (B, side, side, 3) in [-1, 1]] -> filled images (B, H, W, 3).

    The answers are the middle of `crop` x `crop` pixels; holes around it stay.
    """

    def call(self, inputs):
        """Answers are resized to the images' pixels, at their border by what is known alone."""
        pixels, answers = inputs
        margin = self.crop - answers.shape[1]
        padding = [[0, 0], *[[margin // 2, margin - margin // 2]] * 2, [0, 0]]
        parts = (answers + 1) / 2, tf.ones_like(answers[..., :1])
        size = tf.shape(pixels)[1:3]
        painted, known = (tf.image.resize(tf.pad(part, padding), size) for part in parts)
        return tf.where(holes(pixels) & (known > 0), painted / tf.maximum(known, 1e-3), pixels)
