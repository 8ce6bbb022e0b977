"""ResNet v1 (arXiv:1512.03385)."""

import keras

from sslzoo.encoders import stem
from sslzoo.encoders.blocks import conv_bn, fan_out, pad


def build(depths=(2, 2, 2, 2), bottleneck=False, cifar_stem=False):
    """stage1 is the stem convolution, stage2 to stage5 are res2 to res5.

    As in torchvision, the 3x3 convolution of a bottleneck carries the stride, not the 1x1 before
    it as in the paper: a stride on a 1x1 throws three quarters of its input away.

    With `cifar_stem` the stem is a 3x3 convolution of stride 1 without pooling, as NPID's authors
    (arXiv:1805.01978) and others have it for 32 pixels, which then end at 4x4, not at 1x1.
    """
    inputs, x = stem.pixels()
    kernel, stride = (3, 1) if cifar_stem else (7, 2)
    x = keras.layers.ReLU(name="stage1")(conv_bn(x, 64, kernel, stride, "stem", fan_out()))
    if not cifar_stem:
        x = keras.layers.MaxPooling2D(3, 2, name="pool1")(pad(x, 1))
    for i, depth in enumerate(depths, start=2):
        for j in range(1, depth + 1):
            stride = 2 if i > 2 and j == 1 else 1
            x = _residual(x, 64 * 2 ** (i - 2), stride, f"res{i}_{j}", bottleneck)
            x = keras.layers.ReLU(name=f"stage{i}" if j == depth else f"res{i}_{j}_relu")(x)
    return inputs, x


def _residual(x, width, stride, name, bottleneck):
    """One residual block, (B, H, W, C) -> (B, H / stride, W / stride, width or 4 * width)."""
    plan = [(1, 1), (3, stride), (1, 1)] if bottleneck else [(3, stride), (3, 1)]
    out = 4 * width if bottleneck else width
    y = x
    for j, (kernel, step) in enumerate(plan, start=1):
        last = j == len(plan)
        y = conv_bn(y, out if last else width, kernel, step, f"{name}_{j}", fan_out())
        y = y if last else keras.layers.ReLU(name=f"{name}_{j}_relu")(y)
    if stride > 1 or x.shape[-1] != out:
        x = conv_bn(x, out, 1, stride, f"{name}_shortcut", fan_out())
    return keras.layers.Add(name=f"{name}_add")([x, y])
