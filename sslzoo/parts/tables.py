"""Tables: weights without gradients, of which a step reads and writes a few rows in place."""

import tensorflow as tf


def gather(table, index):
    """Rows `index` (...) of a Keras variable `table` (size, *shape): (..., *shape).

    `tf.gather` first copies the whole table where a strategy mirrors it: 0.1 s for the bank of
    ImageNet. To be called in the replica context.
    """
    value = table.value
    rows = tf.raw_ops.ResourceGather(resource=value.handle, indices=index, dtype=value.dtype)
    return tf.stop_gradient(rows)


def write(table, index, rows):
    """Puts `rows` (n, *shape) in place of the rows `index` (n,), outside XLA.

    `keras.ops.scatter_update` and `assign` would copy the whole table.
    """
    table.value.scatter_update(tf.IndexedSlices(rows, index))
