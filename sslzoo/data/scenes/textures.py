"""Patterns in space: what colour a surface has where it cuts them."""

import numpy as np
import tensorflow as tf
from scipy import ndimage

from sslzoo.data.scenes.vectors import add, dot

PATTERNS = ("plain", "checker", "stripes", "dots", "tiles", "noise", "marble")
PERIOD, FINER = 16, 2  # cells after which the noise repeats, lattice points in a cell


def pattern(kind, point):
    """Which of two colours: (m,) in [0, 1].

    Args:
        kind: (m,) float32, an index of PATTERNS.
        point: triple of (m,), in cells of the pattern.
    """
    cells = [tf.floor(x) for x in point]
    inner = [x - c for x, c in zip(point, cells, strict=True)]
    cloud = noise(point)

    total = add(*cells)
    off = [tf.abs(x - 0.5) for x in inner]
    vein = point[0] + 3 * cloud
    vein = tf.abs(2 * (vein - tf.floor(vein)) - 1)
    values = (
        total - 2 * tf.floor(total / 2),
        tf.where(inner[0] < 0.5, 1.0, 0.0),
        tf.where(dot(off, off) < 0.11, 1.0, 0.0),
        tf.where(tf.maximum(tf.maximum(off[0], off[1]), off[2]) > 0.44, 1.0, 0.0),
        tf.clip_by_value(3 * cloud - 1, 0.0, 1.0),
        vein * vein,
    )
    chosen = tf.zeros_like(kind)
    for i, value in enumerate(values, start=1):
        chosen = tf.where(kind == i, value, chosen)
    return chosen


def noise(point):
    """Smooth random values in [0, 1] at a triple of (m,), which repeat after PERIOD cells."""
    point = [FINER * x for x in point]
    cells = [tf.floor(x) for x in point]
    x, y, z = (p - c for p, c in zip(point, cells, strict=True))
    side = PERIOD * FINER
    i, j, k = (tf.bitwise.bitwise_and(tf.cast(c, tf.int32), side - 1) for c in cells)
    corners = tf.gather(tf.constant(_corners()), (i * side + j) * side + k)
    corners = tf.unstack(tf.transpose(tf.reshape(corners, [-1, 8])))
    values = [tf.reshape(c, tf.shape(x)) for c in corners]
    for t in (x, y, z):
        half = len(values) // 2
        values = [a + t * (b - a) for a, b in zip(values[:half], values[half:], strict=True)]
    return values[0]


def _corners():
    """(cells, 8) the values at the corners of each cell of a periodic lattice, in [0, 1]."""
    random = np.random.default_rng(0)
    total = np.zeros([PERIOD * FINER] * 3, np.float32)
    for octave, side in enumerate((PERIOD // 2, PERIOD, 2 * PERIOD)):
        values = random.random([side] * 3, np.float32) / 2**octave
        total += ndimage.zoom(
            values, PERIOD * FINER // side, order=3, mode="grid-wrap", grid_mode=True
        )
    total = (total - total.min()) / (total.max() - total.min())
    shifted = [np.roll(total, (-a, -b, -c), (0, 1, 2)) for a, b, c in np.ndindex(2, 2, 2)]
    return np.stack(shifted, -1).reshape(-1, 8)
