"""RotNet's classifiers of frozen feature maps (Gidaris et al. 2018, arXiv:1803.07728).

Where a plane reads a stage, they ask what a small network can make of it: `mlp` is the released
code's `MultLayer`, `conv` its `NIN_ConvBlock3`, the network's own kind of block once more.

Departures from the code: maps of more than 12,288 numbers are averaged to fewer, as those of large
images would need hundreds of millions of weights; the schedule and the choice of `finetuning`.
"""

import dataclasses
from typing import Literal

import keras

from sslzoo.encoders.blocks import fan_out
from sslzoo.probes.classifier import Head
from sslzoo.probes.features import pooled

Kind = Literal["mlp", "conv"]
FEATURES = 12_288  # of NIN's second block on CIFAR-10, 8 x 8 x 192


def nonlinear(head: Head, kind: Kind) -> Head:
    """An untrained head of more layers on the stage that `head` reads, for as many classes."""
    maps = keras.Input(head.network.input_shape[1:])
    logits = {"mlp": _mlp, "conv": _conv}[kind](maps, head.network.output_shape[-1])
    return dataclasses.replace(head, network=keras.Model(maps, logits, name=kind))


def _mlp(maps: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """Keras tensor (B, h, w, C) -> logits (B, K), by two layers of 20 K units, at most 2,048."""
    x = pooled(maps, FEATURES)
    for i in (1, 2):
        units = min(20 * classes, 2048)
        x = keras.layers.Dense(
            units, use_bias=False, kernel_initializer=fan_out(), name=f"hidden{i}"
        )(x)
        x = _normalised(x, f"hidden{i}")
    return keras.layers.Dense(classes, kernel_initializer=fan_out(), name="logits")(x)


def _conv(maps: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """Keras tensor (B, h, w, C) -> logits (B, K): a block of NIN, 192 channels, then the mean."""
    x = maps
    for i, kernel in enumerate((3, 1, 1), start=1):
        x = keras.layers.Conv2D(
            192,
            kernel,
            padding="same",
            use_bias=False,
            kernel_initializer=fan_out(),
            name=f"hidden{i}",
        )(x)
        x = _normalised(x, f"hidden{i}")
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.layers.Dense(classes, kernel_initializer=fan_out(), name="logits")(x)


def _normalised(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)
