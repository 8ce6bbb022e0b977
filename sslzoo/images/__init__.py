"""Pure operations on one image, in the graph. All randomness comes from a `seed` (2,) int32."""

import tensorflow as tf


def split_seed(seed, n):
    """`n` unrelated seeds out of one: a list of (2,) int32 tensors."""
    return tf.unstack(tf.random.split(seed, n), num=n)
