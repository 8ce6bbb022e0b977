"""What changes colours: jitter, grey, normalising, and ways to take colour cues away."""

import numpy as np
import tensorflow as tf

from sslzoo.images import split_seed

# Puzzles may be standardised to mean 0 and deviation 1. Encoders take [0, 1], where photographs
# have about this mean and deviation; the tails leave [0, 1], which no encoder minds.
PIXEL_MEAN, PIXEL_STD = 0.45, 0.225
GREY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma, what "greyscale" means in PIL and OpenCV


def jitter(image, strength, hue, seed):
    """Brightness, contrast and saturation times 1 +- `strength`, hue turned by up to `hue` circles.

    As torchvision's ColorJitter (blends with black, with the mean grey, with the greys), but
    always in this order, and clipped to [0, 1] once, at the end. (H, W, 3), or (n, H, W, 3) with
    factors for each.
    """
    each = tuple(image.shape[:-3])
    factors = tf.random.stateless_uniform((4, *each, 1, 1, 1), seed, -1.0, 1.0)
    brightness, contrast, saturation = tf.unstack(1 + strength * factors[:3])
    image *= brightness
    mean = tf.reduce_mean(grey(image), [-3, -2, -1], keepdims=True)
    image = mean + (image - mean) * contrast
    image = grey(image) + (image - grey(image)) * saturation
    image = tf.clip_by_value(image, 0.0, 1.0)
    if not hue:
        return image
    turns = tf.reshape(hue * factors[3], each)
    if not each:
        return tf.image.adjust_hue(image, turns)
    return tf.stack([tf.image.adjust_hue(image[i], turns[i]) for i in range(each[0])])


def recolor(images, brightness, contrast, saturation, turns):
    """One linear map of the colours of each image, clipped to [0, 1].

    Args:
        images: (n, H, W, 3).
        brightness, contrast, saturation: (n,) factors; of the contrast about the mean grey.
        turns: (n,), of the hue about the grey axis, in circles.
    """
    angle = 2 * np.pi * turns[:, None, None]
    around = np.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / 3**0.5
    mean = np.full((3, 3), 1 / 3, np.float32)
    turn = mean + tf.cos(angle) * (np.eye(3, dtype=np.float32) - mean) + tf.sin(angle) * around
    saturation = saturation[:, None, None]
    greys = tf.constant([GREY_WEIGHTS] * 3)
    matrix = turn @ (saturation * tf.eye(3) + (1 - saturation) * greys)  # (n, 3, 3)
    matrix *= (brightness * contrast)[:, None, None]
    average = tf.reduce_sum(tf.reduce_mean(images, [1, 2]) * GREY_WEIGHTS, 1)
    offset = brightness * (1 - contrast) * average
    pixels = tf.reshape(images, [tf.shape(images)[0], -1, 3])
    changed = tf.matmul(pixels, matrix, transpose_b=True) + offset[:, None, None]
    return tf.clip_by_value(tf.reshape(changed, tf.shape(images)), 0.0, 1.0)


def grey(image):
    """(..., 3) -> (..., 3): three copies of the luma. Grey tasks feed grey RGB."""
    return tf.broadcast_to(_luma(*tf.split(image, 3, axis=-1)), tf.shape(image))


def grey_planes(planes):
    """`grey` of planes (n, 3, H, W)."""
    return tf.broadcast_to(_luma(*tf.split(planes, 3, axis=1)), tf.shape(planes))


def _luma(*channels):
    """Of three tensors: two and a half times as fast as a sum along an axis that is 3 long."""
    red, green, blue = (weight * x for weight, x in zip(GREY_WEIGHTS, channels, strict=True))
    two = red + green  # a graph makes x + y + z an `AddN`, whose order is a matter of time
    return tf.ensure_shape(two, two.shape) + blue


def random_grey(image, probability, seed):
    """`grey(image)` with the given probability, else the image."""
    return sometimes(grey, image, probability, seed)


def sometimes(change, image, probability, seed):
    """`change(image)`, of the same shape, with the given probability, else the image."""
    return tf.cond(
        tf.random.stateless_uniform((), seed) < probability, lambda: change(image), lambda: image
    )


def standardize(image, axes=(0, 1)):
    """Each channel of (H, W, C) to mean 0 and deviation 1; a constant channel to zeros.

    `axes` are those of a channel's pixels.
    """
    image -= tf.reduce_mean(image, axes, keepdims=True)
    std = tf.sqrt(tf.reduce_mean(tf.square(image), axes, keepdims=True))
    flat = std < 1e-3  # a quarter of a grey level: what is left is rounding
    return image * tf.where(flat, 0.0, 1 / std)


def scale_to_rms(image, rms):
    """Channels of mean 0, together of root mean square `rms`; a constant image to zeros."""
    image = image - tf.reduce_mean(image, [0, 1])
    now = tf.sqrt(tf.reduce_mean(tf.square(image)))
    flat = now < 1e-4  # rounding: a tenth of the noise of `drop_colors`
    return tf.where(flat, 0.0, image * (rms / tf.where(flat, 1.0, now)))


def drop_colors(image, seed):
    """One random channel of (H, W, 3), less its mean; noise of half a grey level in the others."""
    channel_seed, noise_seed = split_seed(seed, 2)
    kept = tf.one_hot(tf.random.stateless_uniform((), channel_seed, 0, 3, tf.int32), 3)
    noise = tf.random.stateless_uniform(image.shape, noise_seed, -0.5, 0.5) / 255
    return tf.where(kept > 0, image - tf.reduce_mean(image, [0, 1]), noise)


def without_green_magenta(image):
    """(H, W, 3) projected along (-1, 2, -1), the axis on which lenses fringe; greys stay."""
    return tf.tensordot(image, _projection(), 1)


def planes_without_green_magenta(planes):
    """`without_green_magenta` of planes (n, 3, H, W)."""
    return tf.einsum("nchw,cd->ndhw", planes, _projection())


def _projection():
    """(3, 3), symmetric: rows of 5/6, 1/3, -1/6, and of 1/3, 1/3, 1/3."""
    axis = np.array([[-1.0, 2.0, -1.0]], np.float32)
    return np.eye(3, dtype=np.float32) - axis.T @ axis / np.sum(axis**2)
