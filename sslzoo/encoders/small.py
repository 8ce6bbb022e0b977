"""A network for two CPU cores."""

import keras

from sslzoo.encoders import stem
from sslzoo.encoders.blocks import conv_bn
from sslzoo.errors import UserError


def build(widths=(32, 64, 128, 128, 128), strides=(1, 2, 2, 2, 1), sobel=False):
    """Five 3x3 convolutions with batch norm, for two CPU cores and images of 32 to 96 pixels.

    32 pixels end at 4x4, a tile of 12 at 2x2. Downsampled by strides: a max-pool would need four
    times the convolution's outputs. With `sobel` it sees only edges.
    """
    if len(strides) != len(widths) or not widths:
        raise UserError(f"Expected one stride per width. Received: {widths} and {strides}")
    inputs, x = stem.pixels(sobel)
    for i, (width, stride) in enumerate(zip(widths, strides, strict=True), start=1):
        x = conv_bn(x, width, 3, stride, f"stage{i}")
        x = keras.layers.ReLU(name=f"stage{i}")(x)
    return inputs, x
