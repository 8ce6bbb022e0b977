"""What moves pixels: crops, windows, resampling."""

import tensorflow as tf

from sslzoo.errors import UserError
from sslzoo.images import split_seed

SMALL = 2**13  # elements; oneDNN transposes more of them faster, but takes 0.1 ms to begin with


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


def cut_planes(image, size, corners):
    """Square windows whose place may differ from channel to channel.

    Channel by channel, because TensorFlow copies and sums planes several times faster than pixels.

    Args:
        image: (H, W, C).
        size: side of the windows in pixels.
        corners: (n, C, 2) int32, each window's top left corner in each channel.

    Returns:
        (n, C, size, size); `from_planes` makes images of them.
    """
    planes = tf.unstack(image, axis=-1)
    places = tf.unstack(tf.reshape(corners, [-1, 2]))
    cut = [tf.slice(planes[i % len(planes)], p, [size, size]) for i, p in enumerate(places)]
    return tf.reshape(tf.stack(cut), [-1, len(planes), size, size])


def from_planes(planes):
    """(n, C, H, W) float32 -> (n, H, W, C)."""
    if planes.shape.num_elements() > SMALL:
        return tf.transpose(planes, [0, 2, 3, 1])
    return tf.stack(tf.unstack(planes, axis=1), axis=-1)
