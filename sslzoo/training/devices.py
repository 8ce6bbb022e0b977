"""The devices of a run: `--devices=cpu:N`, `gpu:N`, or empty for all GPUs, else the CPU."""

import contextlib
import functools
import re

import tensorflow as tf
from absl import logging
from tensorflow.python.eager import context

from sslzoo.errors import UserError


@functools.cache  # two strategies over the same devices would mix up their collectives
def mirrored(flag):
    """`MirroredStrategy` over the devices that the flag names.

    Raises:
        UserError: the flag is something else, or there are not so many.
    """
    return tf.distribute.MirroredStrategy(_names(flag))


def deterministic():
    """Makes CPUs compute the same bits each time.

    Operation determinism is not enough: where Grappler's memory optimizer thinks that a graph needs
    more than some 200 MB, it rewrites sums of three or more tensors (gradients that meet) to
    additions to one variable, in the order in which they are ready. TensorFlow has no public switch
    for that optimizer alone; without all of them steps are slower and have other bits.
    """
    tf.config.experimental.enable_op_determinism()
    config = tf.compat.v1.ConfigProto()
    rewrites = config.graph_options.rewrite_options
    rewrites.memory_optimization = rewrites.NO_MEM_OPT
    context.context()._config = config
    tf.config.optimizer.set_experimental_options({})  # forgets the configuration made before


def warn_of_xla():
    """What `--xla=on` costs on a machine without GPUs."""
    logging.warning(
        "--xla=on: there is no GPU, and XLA's steps on CPUs take longer (those of rotation 1.4 "
        "times as long), and a resumed run may end in other bits; --xla=auto leaves XLA out here"
    )


def _names(flag):
    kind, _, count = flag.partition(":")
    if not flag:
        gpus = [
            gpu.name.replace("physical_device:", "")
            for gpu in tf.config.list_physical_devices("GPU")
        ]
        return gpus or ["/cpu:0"]
    if not re.fullmatch("(cpu|gpu):[1-9][0-9]{0,2}", flag):
        raise UserError(f"--devices: expected cpu:N or gpu:N, e.g. cpu:2. Received: {flag!r}")
    if kind == "cpu":
        logical = [tf.config.LogicalDeviceConfiguration()] * int(count)
        with contextlib.suppress(RuntimeError):  # TensorFlow has started: they are what they are
            tf.config.set_logical_device_configuration(
                tf.config.list_physical_devices("CPU")[0], logical
            )
    available = len(tf.config.list_logical_devices(kind.upper()))
    if available < int(count):
        raise UserError(
            f"--devices: expected at most {kind}:{available}, what TensorFlow sees here. "
            f"Received: {flag!r}"
        )
    return [f"/{kind}:{i}" for i in range(int(count))]
