"""The same bits each time, for large activations too."""

import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from sslzoo.training import devices


@pytest.fixture(autouse=True)
def _as_tensorflow_is():
    """Tests before this one may have switched it off."""
    context.context()._config = None
    tf.config.optimizer.set_experimental_options({})


def ops_that_run(megabytes):
    """The ops to which Grappler rewrites a sum of four tensors."""

    @tf.function
    def total(x):
        return tf.add_n([tf.sin(x), tf.cos(x), tf.exp(x), tf.tanh(x)])

    with context.collect_graphs() as graphs:
        total(tf.zeros([megabytes, 2**18]))
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for f in graph.library.function for node in f.node_def]
    return {node.op for node in nodes}


def test_a_large_sum_is_not_rewritten_to_additions_in_any_order():
    assert "AssignAdd" not in ops_that_run(megabytes=1)
    assert "AssignAdd" in ops_that_run(megabytes=60)  # else there is nothing left to switch off
    devices.deterministic()
    assert "AddN" in ops_that_run(megabytes=60)
    assert "AssignAdd" not in ops_that_run(megabytes=60)
