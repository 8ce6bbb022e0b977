"""Maps of a scene as pictures: contours, depth, surface normals."""

from typing import Any

import numpy as np


def shown_map(name: str, values: Any, hole: float) -> np.ndarray:
    """Maps (B, H, W, channels) of that name -> (B, H, W, 3) in [0, 1].

    What is near is bright, depth of `hole` or less black; what faces right is red, up green, the
    viewer blue.
    """
    values = np.asarray(values)
    if name == "normals":
        length = np.linalg.norm(values, axis=-1, keepdims=True)
        return (values / np.maximum(length, 1e-6) * (1, -1, -1) + 1) / 2
    if name == "depth":
        holes = values <= hole
        high = np.max(values, axis=(1, 2), keepdims=True)
        values = np.where(holes, high, values)
        low = np.min(values, axis=(1, 2), keepdims=True)
        values = (high - values) / np.maximum(high - low, 1e-6)
    return np.repeat(values, 3, axis=-1)
