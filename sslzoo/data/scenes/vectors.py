"""Vectors as triples of tensors, and only operations that round alike wherever they are done.

TensorFlow's reciprocal and rsqrt differ in their last bits between the packets of a long tensor
and its tail, sums and products of matrices between blockings; then a scene would depend on the
chunk that it is rendered in. Sums, products, quotients and square roots do not. But a graph makes
1 / x a reciprocal, and x / sqrt(y) an rsqrt: so there is none of either. And it makes x + y + z an
`AddN`, which begins with whichever term's memory it may overwrite, a matter of time: hence `add`.
"""

import tensorflow as tf


def add(*terms):
    """Their sum, in this order."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
        total = tf.ensure_shape(total, total.shape)  # costs nothing, and sums end at it
    return total


def dot(a, b):
    """Of two triples."""
    return add(*(x * y for x, y in zip(a, b, strict=True)))


def along(origin, direction, t):
    """`origin + t * direction`, a triple."""
    return tuple(o + t * d for o, d in zip(origin, direction, strict=True))


def inverse_root(square):
    """1 / sqrt(square)."""
    return tf.sqrt(square) / square


def unit(a):
    """A triple of length 1."""
    scale = inverse_root(dot(a, a))
    return tuple(scale * x for x in a)


def turn(t):
    """Cosine and sine of the angle whose half has the tangent `t`."""
    return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)


def rotation(w, x, y, z):
    """Of a quaternion that need not be a unit: rows of triples, which are its images' axes."""
    s = 2.0 / add(w * w, x * x, y * y, z * z)
    return (
        (1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)),
        (s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)),
        (s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)),
    )
