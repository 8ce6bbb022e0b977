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

from sslzoo.encoders import applications, stem
from sslzoo.errors import UserError
from sslzoo.parts.layers import (
    FusedBatchNormalization,
    GroupedConv2D,
    local_response_normalization,
)


def get(name, **kwargs):
    """Builds an untrained encoder, named `name`.

    Args:
        name: `small`, `mini`, `small_sobel`, `alexnet`, `alexnet_cfn`, `alexnet_bn`,
            `alexnet_doersch`, `alexnet_ren`, `alexnet_sobel`, `alexnet_small`, `nin`, `resnet18`,
            `resnet18_cifar`, `resnet50`, or a classification backbone of `keras.applications` in
            any case of letters, e.g. `MobileNetV2`; with the weights that Keras downloads,
            `MobileNetV2:imagenet`, or those of a file of Keras' without top, `MobileNetV2:FILE`.
        **kwargs: arguments of the function of that name; the other alexnets take `alexnet`'s.

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


# === Parts ===


def _batch_norm(x, name, **options):
    """Batch norm as in the papers' own frameworks; Keras' 0.99 outlives a run of minutes."""
    return FusedBatchNormalization(momentum=0.9, epsilon=1e-5, name=name, **options)(x)


def _pad(x, size):
    """Zeros on all four sides. After a ReLU they act in a max-pool as the usual -inf."""
    return keras.layers.ZeroPadding2D(size)(x) if size else x


def _conv_bn(x, width, kernel, stride, name, init="he_normal"):
    """Bias-free convolution padded by kernel // 2, and batch norm.

    The padding of a strided one is written out: "same" would pad an even input on one side only.
    """
    x = x if stride == 1 else _pad(x, kernel // 2)
    x = keras.layers.Conv2D(
        width,
        kernel,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        kernel_initializer=init,
        name=f"{name}_conv",
    )(x)
    return _batch_norm(x, f"{name}_bn")


def fan_out():
    """N(0, sqrt(2 / (k^2 * filters))): He's initialisation as RotNet and ResNet use it."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def _check(name, value, allowed):
    if value not in allowed:
        raise UserError(f"Expected {name} to be one of {allowed}. Received: {value!r}")


# === Encoders ===


def small(widths=(32, 64, 128, 128, 128), strides=(1, 2, 2, 2, 1), sobel=False):
    """Five 3x3 convolutions with batch norm, for two CPU cores and images of 32 to 96 pixels.

    32 pixels end at 4x4, a tile of 12 at 2x2. Downsampled by strides: a max-pool would need four
    times the convolution's outputs. With `sobel` it sees only edges.
    """
    if len(strides) != len(widths) or not widths:
        raise UserError(f"Expected one stride per width. Received: {widths} and {strides}")
    inputs, x = stem.pixels(sobel)
    for i, (width, stride) in enumerate(zip(widths, strides, strict=True), start=1):
        x = _conv_bn(x, width, 3, stride, f"stage{i}")
        x = keras.layers.ReLU(name=f"stage{i}")(x)
    return inputs, x


def alexnet(
    widths=(96, 256, 384, 384, 256),
    stride=4,
    padding=0,
    groups=2,
    norm="lrn",
    pool="ceil",
    pool5=True,
    sobel=False,
):
    """The convolutions of AlexNet; the defaults are CaffeNet's, 227 pixels -> 6x6x256.

    Weights start from He's initialisation: the Gaussian of deviation 0.01 of the papers needs
    their hundreds of thousands of steps.

    Args:
        widths: five channel counts.
        stride: of conv1: 4, or 2 for the 64-pixel tiles of the CFN.
        padding: zeros around the input of conv1, in pixels.
        groups: of conv2, conv4 and conv5.
        norm: "lrn" after pool1 and pool2, "batch" after each convolution, None, or "both": the
            first, and from conv3 on the second, without gain and offset.
        pool: "ceil", Caffe's rounding, lets a 3x3 window hang over the right and lower edge;
            "valid", PyTorch's, does not.
        pool5: whether the output is pooled.
        sobel: whether it sees only edges.
    """
    _check("norm", norm, ("lrn", "batch", "both", None))
    _check("pool", pool, ("ceil", "valid"))
    if len(widths) != 5 or any(w % groups for w in widths):
        raise UserError(f"Expected five widths divisible by groups={groups}. Received: {widths}")
    inputs, x = stem.pixels(sobel)
    x = _pad(x, padding)
    for i, (width, kernel) in enumerate(zip(widths, (11, 5, 3, 3, 3), strict=True), start=1):
        x = GroupedConv2D(
            width,
            kernel,
            strides=stride if i == 1 else 1,
            padding="valid" if i == 1 else "same",
            groups=groups if i in (2, 4, 5) else 1,
            kernel_initializer="he_normal",
            name=f"conv{i}",
        )(x)
        if norm == "batch" or (norm == "both" and i > 2):
            x = _batch_norm(x, f"bn{i}", center=norm == "batch", scale=norm == "batch")
        x = keras.layers.ReLU(name=f"stage{i}")(x)
        if i <= 2 or (i == 5 and pool5):
            x = _pad(x, ((0, 1), (0, 1))) if pool == "ceil" else x
            x = keras.layers.MaxPooling2D(3, 2, name=f"pool{i}")(x)
        if i <= 2 and norm in ("lrn", "both"):
            x = local_response_normalization(width, f"norm{i}")(x)
    return inputs, x


def nin(blocks=4):
    """Network in network as RotNet trains it on 32 pixels: 16x16x96, then 8x8x192 per block.

    A stage is a block's output, after its pooling: the feature maps that RotNet classifies.
    """
    _check("blocks", blocks, (3, 4, 5))
    inputs, x = stem.pixels()
    for i in range(1, blocks + 1):
        kernel, widths = (5 if i <= 2 else 3), (192, 160, 96) if i == 1 else (192, 192, 192)
        for j, width in enumerate(widths, start=1):
            x = _conv_bn(x, width, kernel if j == 1 else 1, 1, f"block{i}_{j}", fan_out())
            last = i > 2 and j == 3
            x = keras.layers.ReLU(name=f"stage{i}" if last else f"block{i}_{j}_relu")(x)
        if i <= 2:  # zeros count in the average, as in PyTorch
            pool = keras.layers.MaxPooling2D if i == 1 else keras.layers.AveragePooling2D
            x = pool(3, 2, name=f"stage{i}")(_pad(x, 1))
    return inputs, x


def _residual(x, width, stride, name, bottleneck):
    """One residual block, (B, H, W, C) -> (B, H / stride, W / stride, width or 4 * width)."""
    plan = [(1, 1), (3, stride), (1, 1)] if bottleneck else [(3, stride), (3, 1)]
    out = 4 * width if bottleneck else width
    y = x
    for j, (kernel, step) in enumerate(plan, start=1):
        last = j == len(plan)
        y = _conv_bn(y, out if last else width, kernel, step, f"{name}_{j}", fan_out())
        y = y if last else keras.layers.ReLU(name=f"{name}_{j}_relu")(y)
    if stride > 1 or x.shape[-1] != out:
        x = _conv_bn(x, out, 1, stride, f"{name}_shortcut", fan_out())
    return keras.layers.Add(name=f"{name}_add")([x, y])


def resnet(depths=(2, 2, 2, 2), bottleneck=False, cifar_stem=False):
    """ResNet v1 (arXiv:1512.03385): stage1 is the stem convolution, stage2 to stage5 res2 to res5.

    As in torchvision, the 3x3 convolution of a bottleneck carries the stride, not the 1x1 before
    it as in the paper: a stride on a 1x1 throws three quarters of its input away.

    With `cifar_stem` the stem is a 3x3 convolution of stride 1 without pooling, as NPID's authors
    (arXiv:1805.01978) and others have it for 32 pixels, which then end at 4x4, not at 1x1.
    """
    inputs, x = stem.pixels()
    kernel, stride = (3, 1) if cifar_stem else (7, 2)
    x = keras.layers.ReLU(name="stage1")(_conv_bn(x, 64, kernel, stride, "stem", fan_out()))
    if not cifar_stem:
        x = keras.layers.MaxPooling2D(3, 2, name="pool1")(_pad(x, 1))
    for i, depth in enumerate(depths, start=2):
        for j in range(1, depth + 1):
            stride = 2 if i > 2 and j == 1 else 1
            x = _residual(x, 64 * 2 ** (i - 2), stride, f"res{i}_{j}", bottleneck)
            x = keras.layers.ReLU(name=f"stage{i}" if j == depth else f"res{i}_{j}_relu")(x)
    return inputs, x


BATCH_NORM = {"padding": 2, "groups": 1, "norm": "batch", "pool": "valid"}
PRESETS = {
    "small": (small, {}),
    "mini": (small, {"widths": (32, 48, 96, 96, 64)}),  # exports in less than 2 MB
    "small_sobel": (small, {"sobel": True}),
    "alexnet": (alexnet, {}),
    "alexnet_cfn": (alexnet, {"stride": 2}),
    "alexnet_bn": (alexnet, BATCH_NORM),
    "alexnet_doersch": (alexnet, {"padding": 5, "groups": 1, "norm": "both"}),  # arXiv:1505.05192
    "alexnet_ren": (alexnet, {**BATCH_NORM, "pool5": False}),  # arXiv:1711.09082
    "alexnet_sobel": (alexnet, {**BATCH_NORM, "sobel": True}),
    "alexnet_small": (alexnet, {**BATCH_NORM, "widths": (64, 192, 384, 256, 256)}),
    "nin": (nin, {}),
    "resnet18": (resnet, {}),
    "resnet18_cifar": (resnet, {"cifar_stem": True}),
    "resnet50": (resnet, {"depths": (3, 4, 6, 3), "bottleneck": True}),
}
