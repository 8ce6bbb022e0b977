"""The kernels of an encoder's first convolution, as trained and at random init."""

import keras
import numpy as np

from sslzoo.pictures import drawing

SIDE = 32  # pixels of a filter, about


def draw(encoder: keras.Model, random: keras.Model) -> np.ndarray | None:
    """Both side by side, (H, W, 3) uint8; None where no first convolution sees colours or edges.

    Args:
        encoder: the trained one.
        random: the same architecture at random init.
    """
    trained, untrained = _first_kernel(encoder), _first_kernel(random)
    if trained is None or untrained is None:
        return None
    return drawing.row({"trained": _grid(trained), "random init": _grid(untrained)}, side=SIDE)


def _first_kernel(encoder: keras.Model) -> np.ndarray | None:
    """(k, k, C, filters) of the first convolution that learns, C at most 3, or None.

    Those before it, such as Sobel filters, are fixed.
    """
    for layer in encoder._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Conv2D) and layer.trainable:
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            return kernel if kernel.shape[2] <= 3 else None
    return None


def _grid(kernel: np.ndarray) -> np.ndarray:
    """(k, k, C, filters) -> a picture, a tile for each filter, 0 as grey.

    Colours where C is 3, else a tile for each channel, beside each other.
    """
    tiles = np.moveaxis(kernel, -1, 0)  # (filters, k, k, C)
    tiles = tiles / (2 * np.maximum(np.abs(tiles).max((1, 2, 3), keepdims=True), 1e-12)) + 0.5
    filters, *size, channels = tiles.shape
    each = 1 if channels == 3 else channels
    if channels != 3:
        tiles = np.moveaxis(tiles, -1, 1).reshape(-1, *size, 1).repeat(3, -1)
    columns = each * int(np.ceil(np.sqrt(filters / each)))
    return drawing.mosaic(drawing.enlarge(drawing.to_uint8(tiles), SIDE), columns)
