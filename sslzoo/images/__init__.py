"""Pure operations on one image, in the graph. All randomness comes from a `seed` (2,) int32."""

import tensorflow as tf


def split_seed(seed, n):
    """`n` unrelated seeds out of one: a list of (2,) int32 tensors."""
    return tf.unstack(tf.random.split(seed, n), num=n)


def where(condition, x, y):
    """Whole parts of x where `condition` (n,) or (n, m) holds, else of y; both (n, ..), (n, m, ..).

    The shapes are known. `tf.where` asks for each number anew: four times as slow.
    """
    rows = tf.reshape(condition, [-1])
    parts = (tf.reshape(array, [rows.shape[0], -1]) for array in (x, y))
    return tf.reshape(tf.compat.v1.where(rows, *parts), y.shape)
