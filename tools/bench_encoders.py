"""Grouped convolutions and LRN, TensorFlow's against ours, in one run: trust the ratios.

    python tools/bench_encoders.py [--batch=72]      # about 30 s on 2 cores
    python tools/bench_encoders.py --precisions      # a step of jigsaw on `small` in each precision

Also prints how fast `small` trains on 32x32 images.
"""

import sslzoo  # noqa: F401, first: it tells TensorFlow how to use the CPU

# isort: split
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from sslzoo import encoders, precision
from sslzoo.parts import layers
from sslzoo.pretexts.jigsaw import Jigsaw

BATCH = flags.DEFINE_integer("batch", 72, "images per step")
REPEATS = flags.DEFINE_integer("repeats", 5, "rounds over all rows; the fastest step counts")


PRECISIONS = flags.DEFINE_bool("precisions", False, "compare float32, float16 and bfloat16")
GEOMETRY = {"crop": 60, "tile": 16, "channel_jitter": 1, "num_permutations": 24}  # the recipe's
HEAD = {"fc6": 128, "fc7": 512, "dropout": 0.0, "batch_norm": True}


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


def jigsaw(name):
    """A compiled training step, of `--batch` random tiles, in that precision."""
    with precision.policy(name):
        pretext = Jigsaw(encoders.get("small"), **GEOMETRY, **HEAD)
        pretext.compile(keras.optimizers.SGD(0.01, momentum=0.9))
    count = BATCH.value // 9
    tiles = tf.constant(np.random.rand(count, 9, 16, 16, 3).astype("float32"))
    batch = tiles, tf.zeros(count, tf.int32)
    step = tf.function(lambda: pretext.train_step(batch), autograph=False)
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


def networks():
    """{row: its step}."""
    ours = encoders.get("alexnet_cfn")
    rows = {
        "alexnet_cfn, 64 px": (ours, 64),
        "  with Keras' grouped Conv2D": (variant(ours, stock_convolution), 64),
        "  with TensorFlow's LRN": (variant(ours, tensorflow_lrn), 64),
        "  without LRN": (encoders.get("alexnet_cfn", norm=None), 64),
        "small, 32 px": (encoders.get("small"), 32),
    }
    return {name: stepper(*row) for name, row in rows.items()}


def main(_):
    """Prints one row per network, or precision."""
    names = ("float32", "mixed_bfloat16", "mixed_float16")
    steps = {name: jigsaw(name) for name in names} if PRECISIONS.value else networks()
    rounds = [[seconds(step) for step in steps.values()] for _ in range(REPEATS.value)]
    for name, times in zip(steps, zip(*rounds, strict=True), strict=True):
        print(f"{name:32} {BATCH.value / min(times):8.1f} images/s")


if __name__ == "__main__":
    app.run(main)
