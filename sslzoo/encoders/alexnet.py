"""The AlexNet family."""

import keras

from sslzoo.encoders import stem
from sslzoo.encoders.blocks import batch_norm, check_option, pad
from sslzoo.errors import UserError
from sslzoo.parts.layers import GroupedConv2D, local_response_normalization


def build(
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
    check_option("norm", norm, ("lrn", "batch", "both", None))
    check_option("pool", pool, ("ceil", "valid"))
    if len(widths) != 5 or any(w % groups for w in widths):
        raise UserError(f"Expected five widths divisible by groups={groups}. Received: {widths}")
    inputs, x = stem.pixels(sobel)
    x = pad(x, padding)
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
            x = batch_norm(x, f"bn{i}", center=norm == "batch", scale=norm == "batch")
        x = keras.layers.ReLU(name=f"stage{i}")(x)
        if i <= 2 or (i == 5 and pool5):
            x = pad(x, ((0, 1), (0, 1))) if pool == "ceil" else x
            x = keras.layers.MaxPooling2D(3, 2, name=f"pool{i}")(x)
        if i <= 2 and norm in ("lrn", "both"):
            x = local_response_normalization(width, f"norm{i}")(x)
    return inputs, x
