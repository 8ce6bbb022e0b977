"""Grouped convolutions and LRN, TensorFlow's against ours, in one run: trust the ratios.

    python tools/bench_encoders.py [--batch=72]      # about 30 s on 2 cores

Also prints how fast `small` trains on 32x32 images.
"""

import sslzoo  # noqa: F401, first: it tells TensorFlow how to use the CPU

# isort: split
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from sslzoo import encoders
from sslzoo.parts import layers

BATCH = flags.DEFINE_integer("batch", 72, "images per step")
REPEATS = flags.DEFINE_integer("repeats", 5, "rounds over all rows; the fastest step counts")


class TensorFlowLRN(keras.layers.Layer):
    """What `layers.local_response_normalization` is measured against."""

    def call(self, x, mask=None):
        """(B, H, W, C) -> (B, H, W, C). Cloning a nested model hands a mask over."""
        return tf.nn.local_response_normalization(x, 2, 1.0, 2e-5, 0.75)


def stepper(model, side):
    """A compiled forward and backward pass on random images of `side` pixels."""
    images = tf.constant(np.random.rand(BATCH.value, side, side, 3).astype("float32"))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(images, training=True) ** 2)
        return tape.gradient(loss, model.trainable_variables)

    step()
    return step


def seconds(step):
    """One step's."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def variant(encoder, replace):
    """The encoder with `replace(layer)` in place of each layer."""
    return keras.models.clone_model(encoder, clone_function=replace)


def stock_convolution(layer):
    """Conv2D in place of ours."""
    stock = isinstance(layer, layers.GroupedConv2D)
    kind = keras.layers.Conv2D if stock else type(layer)
    return kind.from_config(layer.get_config())


def tensorflow_lrn(layer):
    """TensorFlow's LRN in place of ours."""
    if layer.name.startswith("norm") and isinstance(layer, keras.Model):
        return TensorFlowLRN(name=layer.name)
    return type(layer).from_config(layer.get_config())


def main(_):
    """Prints one row per network."""
    ours = encoders.get("alexnet_cfn")
    rows = {
        "alexnet_cfn, 64 px": (ours, 64),
        "  with Keras' grouped Conv2D": (variant(ours, stock_convolution), 64),
        "  with TensorFlow's LRN": (variant(ours, tensorflow_lrn), 64),
        "  without LRN": (encoders.get("alexnet_cfn", norm=None), 64),
        "small, 32 px": (encoders.get("small"), 32),
    }
    steps = {name: stepper(*row) for name, row in rows.items()}
    rounds = [[seconds(step) for step in steps.values()] for _ in range(REPEATS.value)]
    for name, times in zip(steps, zip(*rounds, strict=True), strict=True):
        print(f"{name:32} {BATCH.value / min(times):8.1f} images/s")


if __name__ == "__main__":
    app.run(main)
