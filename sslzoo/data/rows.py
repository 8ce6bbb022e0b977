"""One function for each row of some tensors, in the graph."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def each(function: Callable[..., Any], rows: Any, spec: Any) -> Any:
    """What `function` makes of each row, stacked.

    `tf.map_fn` does the same, but where the function raises it leaves TensorFlow's variable scope
    changed: no strategy can be used in that process any more.

    Args:
        function: takes what one row of each of `rows` is; its results have the shapes of `spec`.
        rows: list of tensors of n rows, or of nested ones.
        spec: nested `tf.TensorSpec` of one result.
    """
    n = tf.shape(tf.nest.flatten(rows)[0])[0]
    specs = tf.nest.flatten(spec)
    arrays = [tf.TensorArray(s.dtype, n, element_shape=s.shape) for s in specs]

    def body(i: tf.Tensor, arrays: list[tf.TensorArray]) -> tuple[tf.Tensor, list[tf.TensorArray]]:
        made = tf.nest.flatten(function(*tf.nest.map_structure(lambda x: x[i], rows)))
        return i + 1, [array.write(i, x) for array, x in zip(arrays, made, strict=True)]

    _, arrays = tf.while_loop(lambda i, _: i < n, body, (tf.constant(0), arrays))
    return tf.nest.pack_sequence_as(spec, [array.stack() for array in arrays])
