"""What moves pixels: crops, windows, resampling."""

import tensorflow as tf

from sslzoo.errors import UserError
from sslzoo.images import split_seed


def random_crop(image, size, seed):
    """A random `size` x `size` window of (H, W, C); the image itself where it has that size."""
    if image.shape[:2] == (size, size):
        return image
    return tf.image.stateless_random_crop(image, (size, size, image.shape[-1]), seed)


def check_view(crop, view, name="view"):
    """Raises a `UserError`, with the name of the view's flag, where the view exceeds the crop."""
    if not 1 <= view <= crop:
        raise UserError(f"--{name}: expected 1 to --crop={crop} pixels. Received: {view}")


def random_resized_crop(image, size, min_area, seed):
    """A window of `min_area` to 1 of (H, W, 3), aspect 3/4 to 4/3, as (size, size, 3), bilinear."""
    *_, box = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        [[[0.0, 0.0, 1.0, 1.0]]],
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(min_area, 1.0),
    )
    return tf.image.crop_and_resize(image[None], box[0], [0], (size, size))[0]


def random_degrade(image, probability, seed):
    """Sampled down and up again with the given probability, bilinear, without a prefilter.

    A square of 96 x 96 pixels is left with 100 to 95^2, each number as likely as the others
    (arXiv:1505.05192); other sizes in proportion.
    """
    chance_seed, size_seed = split_seed(seed, 2)
    side = image.shape[0]
    low, high = max(1, round(side * 10 / 96)) ** 2, (side - 1) ** 2
    pixels = tf.random.stateless_uniform((), size_seed) * (high - low) + low
    small = tf.cast(tf.sqrt(pixels), tf.int32)
    return tf.cond(
        tf.random.stateless_uniform((), chance_seed) < probability,
        lambda: tf.image.resize(tf.image.resize(image, [small, small]), [side, side]),
        lambda: image,
    )


def shift_channels(image, size, offsets):
    """Cuts a square window whose place differs from channel to channel.

    Args:
        image: (H, W, 3).
        size: side of the window in pixels.
        offsets: (3, 2) int32, the window's top left corner in each channel.

    Returns:
        (size, size, 3).
    """
    planes = [tf.slice(image, [offsets[c, 0], offsets[c, 1], c], [size, size, 1]) for c in range(3)]
    return tf.concat(planes, axis=-1)
