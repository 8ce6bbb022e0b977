"""Which pixels are hidden: random masks (arXiv:1604.07379)."""

import tensorflow as tf

from sslzoo.images import split_seed


def random_blocks(side, seed):
    """Up to eight squares, of an eighth to a quarter of the side: (side, side) bool.

    They are added one by one while their union covers at most a quarter (arXiv:1604.07379).
    """
    size_seed, place_seed = split_seed(seed, 2)
    smallest, largest = max(side // 8, 1), max(side // 4, 2)
    sizes = tf.random.stateless_uniform((8, 1), size_seed, smallest, largest + 1, tf.int32)
    place = tf.random.stateless_uniform((8, 2), place_seed)
    start = tf.cast(place * tf.cast(side - sizes + 1, tf.float32), tf.int32)  # (8, 2)
    line = tf.range(side)
    inside = (line >= start[..., None]) & (line < (start + sizes)[..., None])  # (8, 2, side)
    blocks = tf.cast(inside[:, 0, :, None] & inside[:, 1, None, :], tf.int32)
    unions = tf.cumsum(blocks) > 0  # (8, side, side): of the first one, two, ...
    areas = tf.reduce_sum(tf.cast(unions, tf.int32), [1, 2])
    return unions[tf.reduce_sum(tf.cast(areas <= side * side // 4, tf.int32)) - 1]


def random_region(side, seed):
    """Blobs of any shape that cover 20 % to 30 % of the image: (side, side) bool.

    Noise of eight cells along the side (about the grain of arXiv:1604.07379's code at 128
    pixels), smoothly enlarged, where it is lowest.
    """
    noise_seed, place_seed, share_seed = split_seed(seed, 3)
    noise = tf.random.stateless_uniform((9, 9, 1), noise_seed)  # one more, for the window to move
    smooth = tf.image.resize(noise, (round(side * 9 / 8),) * 2, "bicubic")
    window = tf.image.stateless_random_crop(smooth, (side, side, 1), place_seed)[..., 0]
    least, most = side * side // 5 + 1, -(-3 * side * side // 10)  # `most` is never drawn
    pixels = tf.random.stateless_uniform((), share_seed, least, most, tf.int32)
    return window < tf.raw_ops.NthElement(input=tf.reshape(window, [-1]), n=pixels)
