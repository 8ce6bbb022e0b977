"""What every encoder does first: pixels in [0, 1] -> about zero mean and unit deviation, or edges.

By what is a stock `Rescaling` in a file, with ImageNet's channel means and deviations: two lists.
`keras.layers.Normalization` would bring state to adapt.
"""

import keras
import numpy as np

from sslzoo.parts.layers import ChannelRescaling

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def pixels(sobel=False):
    """An input (B, H, W, 3) in [0, 1], and the same normalised (B, H, W, 3), or (B, H, W, 2)."""
    inputs = keras.Input((None, None, 3), name="images")
    scale, offset = [1 / s for s in STD], [-m / s for m, s in zip(MEAN, STD, strict=True)]
    x = ChannelRescaling(scale, offset, name="normalize")(inputs)
    return inputs, _edges(x) if sobel else x


def _edges(x):
    """(B, H, W, 3) -> horizontal and vertical Sobel filters of the mean (B, H, W, 2); not trained.

    As DeepCluster has it (arXiv:1807.05520), so that clusters are not of colours. A ramp that
    rises by s per pixel answers -8 s. Zeros around the image make its border an edge.
    """
    across = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    kernel = np.stack([across, across.T], -1)[:, :, None]  # (3, 3, 1, 2)
    grey, sobel = (keras.initializers.Constant(value) for value in (1 / 3, kernel.tolist()))
    x = keras.layers.Conv2D(1, 1, trainable=False, kernel_initializer=grey, name="grey")(x)
    return keras.layers.Conv2D(
        2, 3, padding="same", trainable=False, kernel_initializer=sobel, name="sobel"
    )(x)
