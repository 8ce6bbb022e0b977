"""Vectors as triples of tensors, and only operations that round alike wherever they are done.

TensorFlow's reciprocal and rsqrt differ in their last bits between the packets of a long tensor
and its tail, sums and products of matrices between blockings; then a scene would depend on the
chunk that it is rendered in. Sums, products, quotients and square roots do not. But a graph makes
1 / x a reciprocal, and x / sqrt(y) an rsqrt: so there is none of either.
"""

import tensorflow as tf


def dot(a, b):
    """Of two triples."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


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
    s = 2.0 / (w * w + x * x + y * y + z * z)
    return (
        (1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)),
        (s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)),
        (s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)),
    )
