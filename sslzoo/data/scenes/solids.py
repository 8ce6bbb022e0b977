"""Six solids in coordinates of their own: where a line enters them, and their normals there.

Each is stretched by half axes and turned elsewhere; here it lies within [-1, 1] on each axis.
`entry` functions take a line, o + t d with o its point next to the centre (triples of (m,)), and
give t (m,), infinite where it misses. `normal` functions take a point of the surface and give
a vector along the outer normal, of any length.
"""

import functools

import numpy as np
import tensorflow as tf

from sslzoo.data.scenes.vectors import along, dot, inverse_root

KINDS = ("sphere", "box", "cylinder", "cone", "torus", "superquadric")
INF = np.float32(np.inf)
TINY = 1e-7
STEPS = {"torus": 64, "superquadric": 9}
ROUND = 0.08  # of the octahedron's edges


def entry(kind, origin, direction, extra):
    """t (m,) at which the ray `origin + t * direction`, t > 0, enters the solid, or infinity.

    Args:
        kind: one of KINDS.
        origin, direction: triples of (m,); the direction of any length.
        extra: (m,) tube of the torus, of its outer radius; of a superquadric whether it is the
            octahedron.
    """
    direction = tuple(tf.where(tf.abs(d) < TINY, TINY, d) for d in direction)
    nearest = -dot(origin, direction) / dot(direction, direction)
    t = nearest + ENTRIES[kind](along(origin, direction, nearest), direction, extra)
    return tf.where(t > 0, t, INF)


def normal(kind, point, extra):
    """Triple of (m,), along the outer normal."""
    return NORMALS[kind](point, extra)


def _sphere(o, d, extra):
    inside = (1 - dot(o, o)) / dot(d, d)
    return tf.where(inside > 0, -tf.sqrt(tf.maximum(inside, 0.0)), INF)


def _slabs(o, d):
    """Where a line is within [-1, 1] on the axes given: from, to."""
    ends = [((-1 - x) / y, (1 - x) / y) for x, y in zip(o, d, strict=True)]
    low = functools.reduce(tf.maximum, [tf.minimum(*pair) for pair in ends])
    return low, functools.reduce(tf.minimum, [tf.maximum(*pair) for pair in ends])


def _box(o, d, extra):
    low, high = _slabs(o, d)
    return tf.where(low < high, low, INF)


def _cylinder(o, d, extra):
    a = d[0] * d[0] + d[1] * d[1]
    b = o[0] * d[0] + o[1] * d[1]
    root = b * b - a * (o[0] * o[0] + o[1] * o[1] - 1)
    reach = tf.sqrt(tf.maximum(root, 0.0))
    low, high = _slabs(o[2:], d[2:])
    low = tf.maximum(low, (-b - reach) / a)
    high = tf.minimum(high, (reach - b) / a)
    return tf.where((root > 0) & (low < high), low, INF)


def _cone(o, d, extra):
    """The apex lies at z = 1, the base at z = -1."""
    w, dw = (1 - o[2]) / 2, -d[2] / 2  # the radius at that height
    a = d[0] * d[0] + d[1] * d[1] - dw * dw
    a = tf.where(tf.abs(a) < TINY, TINY, a)
    b = o[0] * d[0] + o[1] * d[1] - w * dw
    root = b * b - a * (o[0] * o[0] + o[1] * o[1] - w * w)
    reach = tf.sqrt(tf.maximum(root, 0.0))
    best = INF
    for t in ((-b - reach) / a, (reach - b) / a):
        valid = (root > 0) & (tf.abs(o[2] + t * d[2]) <= 1)
        best = tf.minimum(best, tf.where(valid, t, INF))
    base = (-1 - o[2]) / d[2]
    x, y, _ = along(o, d, base)
    return tf.minimum(best, tf.where(x * x + y * y <= 1, base, INF))


def _torus(o, d, extra):
    """Sphere tracing: the distance to a torus is known. A line that grazes it comes near slowly."""
    square = dot(d, d)
    pace = inverse_root(square)
    inside = (1 - dot(o, o)) / square
    leave = tf.sqrt(tf.maximum(inside, 0.0))

    def tube(t):
        x, y, z = along(o, d, t)
        ring = tf.sqrt(x * x + y * y) - (1 - extra)
        return tf.sqrt(ring * ring + z * z) - extra

    t = _repeat(STEPS["torus"], lambda t: t + pace * tube(t), -leave)
    return tf.where((inside > 0) & (t < leave) & (tf.abs(tube(t)) < 1e-2), t, INF)


def _superquadric(o, d, extra):
    """Newton's method, from outside: on a convex function it never goes too far."""
    low, high = _slabs(o, d)
    octahedron = extra > 0.5

    def step(t):
        p = along(o, d, t)
        return t + _level(p, octahedron) / tf.maximum(-dot(_slopes(p, octahedron), d), 1e-4)

    t = _repeat(STEPS["superquadric"], step, tf.where(low < high, low, 0.0))
    hit = (low < high) & (t < high) & (tf.abs(_level(along(o, d, t), octahedron)) < 1e-3)
    return tf.where(hit, t, INF)


def _repeat(steps, step, t):
    """A loop of the graph: unrolled, the graph takes twice as long to build."""
    return tf.while_loop(lambda t: True, lambda t: (step(t),), (t,), maximum_iterations=steps)[0]


def _level(p, octahedron):
    """|x|^4 + |y|^4 + |z|^4 - 1, or |x| + |y| + |z| - 1 with rounded edges."""
    squares = [x * x for x in p]
    edged = sum(tf.sqrt(s + ROUND**2) for s in squares)
    return tf.where(octahedron, edged, sum(s * s for s in squares)) - 1


def _slopes(p, octahedron):
    """The gradient of `_level`."""
    squares = [x * x for x in p]
    edged = [x * inverse_root(s + ROUND**2) for x, s in zip(p, squares, strict=True)]
    return tuple(
        tf.where(octahedron, e, 4 * x * s) for e, x, s in zip(edged, p, squares, strict=True)
    )


def _box_normal(p, extra):
    """A face is where the point lies furthest out."""
    furthest = tf.maximum(tf.maximum(tf.abs(p[0]), tf.abs(p[1])), tf.abs(p[2]))
    return tuple(tf.where(tf.abs(x) >= furthest, tf.sign(x), 0.0) for x in p)


def _cylinder_normal(p, extra):
    x, y, z = p
    cap = z * z > x * x + y * y
    return tf.where(cap, 0.0, x), tf.where(cap, 0.0, y), tf.where(cap, tf.sign(z), 0.0)


def _cone_normal(p, extra):
    x, y, z = p
    w = (1 - z) / 2
    base = z + 1 < w - tf.sqrt(x * x + y * y)
    return tf.where(base, 0.0, 2 * x), tf.where(base, 0.0, 2 * y), tf.where(base, -1.0, w)


def _torus_normal(p, extra):
    x, y, z = p
    share = 1 - (1 - extra) * inverse_root(x * x + y * y)
    return x * share, y * share, z


ENTRIES = {
    **{"sphere": _sphere, "box": _box, "cylinder": _cylinder},
    **{"cone": _cone, "torus": _torus, "superquadric": _superquadric},
}
NORMALS = {
    **{"sphere": lambda p, extra: p, "box": _box_normal, "cylinder": _cylinder_normal},
    **{"cone": _cone_normal, "torus": _torus_normal},
    "superquadric": lambda p, extra: _slopes(p, extra > 0.5),
}
