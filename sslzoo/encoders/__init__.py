"""The networks that outlive a pretext task.

An encoder is a functional `keras.Model`, (B, H, W, 3) float32 in [0, 1] of any size ->
(B, h, w, C), without pooling head. Its file names stock Keras classes only. Its stages are layers
named `stage1`, `stage2`, ...: `encoder.get_layer("stage3").output` taps one.

A stage is the output of a ReLU, before the pooling that follows it: where linear probes are put
(arXiv:1904.13132). The encoder's output is its last stage; AlexNet's is pool5 of it. In `nin` a
stage is a block with its pooling, as RotNet (arXiv:1803.07728) probes it.

Pixels are normalised inside, see `stem`.
"""

import inspect
import re

import keras

from sslzoo.encoders import alexnet, applications, nin, resnet, small
from sslzoo.errors import UserError


def get(name, **kwargs):
    """Builds an untrained encoder, named `name`.

    Args:
        name: `small`, `mini`, `small_sobel`, `alexnet`, `alexnet_cfn`, `alexnet_bn`,
            `alexnet_doersch`, `alexnet_ren`, `alexnet_sobel`, `alexnet_small`, `nin`, `resnet18`,
            `resnet18_cifar`, `resnet50`, or a classification backbone of `keras.applications` in
            any case of letters, e.g. `MobileNetV2`; with the weights that Keras downloads,
            `MobileNetV2:imagenet`, or those of a file of Keras' without top, `MobileNetV2:FILE`.
        **kwargs: arguments of the function that `PRESETS` has for it.

    Returns:
        keras.Model, (B, H, W, 3) float32 in [0, 1] -> (B, h, w, C).
    """
    family, _, weights = name.partition(":")
    lowered = family.lower()
    if not known(name):
        raise UserError(f"Unknown encoder. Expected one of {', '.join(names())}. Received: {name}")
    if lowered in PRESETS and not weights:
        build, preset = PRESETS[lowered]
    else:
        build, preset = applications.build, {"name": lowered, "weights": weights or None}
    allowed = [p for p in inspect.signature(build).parameters if p not in ("name", "weights")]
    if unknown := sorted(set(kwargs) - set(allowed)):
        expected = f"Expected some of {', '.join(allowed)}" if allowed else "It takes none"
        raise UserError(
            f"Unknown argument of encoder {name}. {expected}. Received: {', '.join(unknown)}"
        )
    inputs, outputs = build(**{**preset, **kwargs})
    return keras.Model(inputs, outputs, name=family)


def names():
    """The names that `get` knows."""
    return sorted(PRESETS) + sorted(f.__name__ for f in applications.available().values())


def known(name):
    """Whether `get` builds an encoder of this name."""
    family, _, weights = name.lower().partition(":")
    return family in applications.available() or (family in PRESETS and not weights)


def stages(encoder):
    """The names of the encoder's stages, first to last: `["stage1", "stage2", ...]`."""
    names = [layer.name for layer in encoder.layers if re.fullmatch(r"stage\d+", layer.name)]
    return sorted(names, key=lambda name: int(name.removeprefix("stage")))


BATCH_NORM = {"padding": 2, "groups": 1, "norm": "batch", "pool": "valid"}
DOERSCH = {"padding": 5, "groups": 1, "norm": "both"}  # arXiv:1505.05192
PRESETS = {
    "small": (small.build, {}),
    "mini": (small.build, {"widths": (32, 48, 96, 96, 64)}),  # exports in less than 2 MB
    "small_sobel": (small.build, {"sobel": True}),
    "alexnet": (alexnet.build, {}),
    "alexnet_cfn": (alexnet.build, {"stride": 2}),
    "alexnet_bn": (alexnet.build, BATCH_NORM),
    "alexnet_doersch": (alexnet.build, DOERSCH),
    "alexnet_ren": (alexnet.build, {**BATCH_NORM, "pool5": False}),  # arXiv:1711.09082
    "alexnet_sobel": (alexnet.build, {**BATCH_NORM, "sobel": True}),
    "alexnet_small": (alexnet.build, {**BATCH_NORM, "widths": (64, 192, 384, 256, 256)}),
    "nin": (nin.build, {}),
    "resnet18": (resnet.build, {}),
    "resnet18_cifar": (resnet.build, {"cifar_stem": True}),
    "resnet50": (resnet.build, {"depths": (3, 4, 6, 3), "bottleneck": True}),
}
