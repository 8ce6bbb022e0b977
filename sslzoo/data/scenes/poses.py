"""How solids are proportioned and turned, how large they look, how high they stand."""

import math

import tensorflow as tf

from sslzoo.data.scenes.solids import KINDS, ROUND
from sslzoo.data.scenes.vectors import dot, rotation, turn

OCTAHEDRON, PILLOW, CONE = 0.46, 1.41, 1.06  # fitted: see `outline`


def between(number, low, high):
    """Numbers in [0, 1) brought to [low, high)."""
    low, high = tf.constant(low), tf.constant(high)
    return low + (high - low) * number


def proportions(kinds, numbers):
    """Half axes (triple), the further number, and the radius of a sphere around each solid."""
    a, b, c = (between(next(numbers), 0.65, 1.0) for _ in range(3))
    which = {kind: kinds == i for i, kind in enumerate(KINDS)}
    even = which["sphere"] | which["torus"]
    a, c = tf.where(even, 1.0, a), tf.where(even, 1.0, c)
    b = tf.where(even | which["cylinder"] | which["cone"], a, b)
    number = next(numbers)
    extra = tf.where(which["torus"], between(number, 0.2, 0.36), tf.where(number < 0.5, 0.0, 1.0))
    square = tf.where(which["cylinder"] | which["cone"], a * a, a * a + b * b)
    around = tf.where(which["superquadric"], 1.32, tf.sqrt(square + c * c))
    return (a, b, c), extra, 1.01 * tf.where(even, 1.0, around)


def outline(kinds, half, extra, view):
    """(n, K) area of the solid's outline, of a disc's of radius 1: no kind is to look larger.

    Seen from afar; what has no simple formula is fitted. `view` is in the solid's directions.
    """
    a, b, c = half
    x, y, z = (tf.abs(v) for v in view)
    flat = tf.sqrt(tf.maximum(1 - z * z, 0.0))
    disc, ring = a * a * z, 1 - extra
    hole = tf.maximum(ring - extra, 0.0) * tf.maximum(ring * z - extra, 0.0)
    around = tf.sqrt(2 * (1 + z * z)) * ring * extra + extra * extra
    ellipsoid = tf.sqrt((b * c * x) ** 2 + (a * c * y) ** 2 + (a * b * z) ** 2)
    of_kind = {
        "sphere": tf.ones_like(x),
        "box": (b * c * x + a * c * y + a * b * z) * (4 / math.pi),
        "cylinder": disc + a * c * flat * (4 / math.pi),
        "cone": CONE * tf.maximum(disc, disc / 2 + a * c * flat * (2 / math.pi)),
        "torus": ring * ring * z + around - hole,
        "superquadric": ellipsoid * tf.where(extra > 0.5, OCTAHEDRON, PILLOW),
    }
    return pick(of_kind, kinds)


def pick(of_kind, kinds):
    """Of the values (n, K) for every kind those of `kinds` (n, K)."""
    return sum(tf.where(kinds == i, of_kind[kind], 0.0) for i, kind in enumerate(KINDS))


def pose(numbers):
    """A rotation: a solid stands, lies on its side or on whatever part of it."""
    how = next(numbers)
    u = [between(next(numbers), -1.0, 1.0) for _ in range(4)]
    stands, lies = how < 0.4, how < 0.65
    w = tf.where(lies, 1.0, u[0])
    x = tf.where(stands, 0.0, tf.where(lies, 1.0, u[1]))
    y, z = (tf.where(lies, 0.0, v) for v in u[2:])
    tilt = rotation(w + 1e-3, x, y, z)
    cos, sin = turn(between(next(numbers), -1.0, 1.0))
    zero = tf.zeros_like(cos)
    yaw = ((cos, -sin, zero), (sin, cos, zero), (zero, zero, zero + 1))
    return tuple(tuple(dot(row, [tilt[k][j] for k in range(3)]) for j in range(3)) for row in yaw)


def support(kinds, half, extra, up):
    """(n, K) how far the centre is above the lowest point; `up` in the solid's directions.

    Of the superquadric a lower bound: it may sink in a little.
    """
    x, y, z = (h * tf.abs(u) for h, u in zip(half, up, strict=True))
    flat = tf.sqrt(x * x + y * y)
    above = half[2] * up[2]
    pillow = tf.sqrt(x * x + y * y + z * z)
    edged = (1 - 2.5 * ROUND) * tf.maximum(tf.maximum(x, y), z)
    of_kind = {
        "sphere": half[0],
        "box": x + y + z,
        "cylinder": flat + z,
        "cone": tf.maximum(-above, above + flat),
        "torus": (1 - extra) * flat + extra * half[0],
        "superquadric": tf.where(extra > 0.5, edged, pillow),
    }
    return pick(of_kind, kinds)
