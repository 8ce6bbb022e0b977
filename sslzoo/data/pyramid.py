"""Images from which any affine window is sampled at once, small or large, without aliasing.

Each is held at sizes that fall by the square root of two, a mip pyramid, every one made from the
image itself by an antialiased resize. A window is sampled bilinearly where a pixel of the level is
about as large as one of the window, within 19 %; windows smaller than the image are enlarged
bilinearly.
"""

import math

import numpy as np
import tensorflow as tf

from sslzoo.data import decode

SMALLEST = 4  # pixels of the shorter side of the last level, of the largest image


class Pyramid:
    """The levels of k images in one tensor: 8 bytes a pixel of theirs, however many are sampled.

    Args:
        images: list of (H, W, 3) uint8.
    """

    def __init__(self, images):
        side = max(min(image.shape[:2]) for image in images)
        depth = 1 + max(0, round(2 * math.log2(side / SMALLEST)))
        levels = [level for image in images for level in _levels(image, depth)]
        shapes = np.array([level.shape[:2] for level in levels], np.int32)
        starts = np.cumsum([0, *shapes.prod(1)])[:-1]
        self._sizes = tf.constant(shapes.reshape(-1, depth, 2))
        self._starts = tf.constant(starts.reshape(-1, depth), tf.int32)
        pixels = np.concatenate([level.reshape(-1, 3) for level in levels])
        # A pixel is one number, red lowest: gathered faster than three bytes.
        packed = np.pad(pixels, [(0, 0), (0, 1)]).view(np.int32)[:, 0]
        self._pixels = tf.constant(packed)

    def sample(self, image, rows, columns, ratio):
        """Bilinear values at points.

        Args:
            image: (n,) int32, which one.
            rows, columns: (n, h, w) float32, in pixels of the image, whose corners are (0, 0) and
                (H, W). Outside lies what its border shows.
            ratio: (n,) float32, pixels of the image from one point to the next.

        Returns:
            (n, h, w, 3) float32 in [0, 1].
        """
        steps = tf.round(2 * tf.math.log(ratio) / math.log(2.0))
        level = tf.clip_by_value(tf.cast(steps, tf.int32), 0, self._sizes.shape[1] - 1)
        size = tf.gather_nd(self._sizes, tf.stack([image, level], 1))  # (n, 2)
        scale = size / tf.gather(self._sizes[:, 0], image)
        scale = tf.cast(scale, tf.float32)[:, :, None, None]
        start = tf.gather_nd(self._starts, tf.stack([image, level], 1))[:, None, None]
        size = size[:, :, None, None]
        top, bottom, down = _between(rows * scale[:, 0], size[:, 0])
        left, right, across = _between(columns * scale[:, 1], size[:, 1])
        upper, lower = start + top * size[:, 1], start + bottom * size[:, 1]
        above = _mix(self._at(upper + left), self._at(upper + right), across)
        below = _mix(self._at(lower + left), self._at(lower + right), across)
        return _mix(above, below, down)[..., :3] * (1 / 255)

    def _at(self, index):
        """(n, h, w) -> (n, h, w, 4) float32 in [0, 255]; the last is 0, and cheaper than cut."""
        return tf.cast(tf.bitcast(tf.gather(self._pixels, index), tf.uint8), tf.float32)


def _levels(image, depth):
    """(H, W, 3) uint8 -> list of it and its smaller copies."""
    levels, shape = [image], np.array(image.shape[:2])
    for i in range(1, depth):
        size = np.maximum(np.round(shape * 2 ** (-i / 2)), 1)
        scale = tf.constant(size / shape, tf.float32)
        small = decode.resample(image[None], scale, tf.zeros([2]), tf.constant(size, tf.int32))[0]
        levels.append(np.uint8(np.round(small.numpy() * 255)))
    return levels


def _between(place, size):
    """Along one axis: the pixels on both sides of a place, and the share of the second."""
    place -= 0.5
    first = tf.floor(place)
    share = (place - first)[..., None]
    first = tf.cast(first, tf.int32)
    low, high = tf.clip_by_value(first, 0, size - 1), tf.clip_by_value(first + 1, 0, size - 1)
    return low, high, share


def _mix(a, b, share):
    return a + (b - a) * share
