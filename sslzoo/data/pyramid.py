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

SMALLEST = 4  # pixels of the shorter side of the last level


class Pyramid:
    """The levels of k images in one tensor: 8 bytes a pixel of theirs, however many are sampled.

    Args:
        images: list of (H, W, 3) uint8.
    """

    def __init__(self, images):
        levels = [_levels(image) for image in images]
        depth = max(map(len, levels))
        # Of an image with fewer levels the last one stands for the rest.
        table = [
            [level[min(i, len(level) - 1)].shape[:2] for i in range(depth)] for level in levels
        ]
        self._sizes = tf.constant(table, tf.int32)  # (k, depth, 2)
        lengths = [[level.shape[0] * level.shape[1] for level in level] for level in levels]
        starts = np.cumsum([0, *sum(lengths, [])])[:-1].tolist()
        starts = [[starts.pop(0) for _ in row] for row in lengths]
        starts = [[row[min(i, len(row) - 1)] for i in range(depth)] for row in starts]
        self._starts = tf.constant(starts, tf.int32)  # (k, depth)
        pixels = np.concatenate([level.reshape(-1, 3) for row in levels for level in row])
        # A pixel is one number, red lowest: gathered several times faster than three bytes.
        packed = np.pad(pixels, [(0, 0), (0, 1)]).view(np.int32)[:, 0]
        self._pixels = tf.constant(packed)  # captured by reference, never copied into a graph

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
        return _mix(above, below, down) * (1 / 255)

    def _at(self, index):
        """(n, h, w) -> (n, h, w, 3) float32 in [0, 255]."""
        packed = tf.gather(self._pixels, index)
        return tf.cast(tf.bitcast(packed, tf.uint8)[..., :3], tf.float32)


def _levels(image):
    """(H, W, 3) uint8 -> list of it and its smaller copies."""
    levels, shape = [image], np.array(image.shape[:2])
    while min(size := np.round(shape * 2 ** (-len(levels) / 2)).astype(int)) >= SMALLEST:
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
