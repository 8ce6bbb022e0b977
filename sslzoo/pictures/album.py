"""Pictures of what an embedding puts together: neighbours of a few images, members of clusters."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from sslzoo import pictures

QUERIES, COLUMNS = 8, 10


def neighbors(path: pathlib.Path | str, pretext: Any, read: Callable[[int], Any]) -> None:
    """Writes rows of a random image and the nearest to it in the memory bank, nearest first.

    Args:
        path: of the PNG file.
        pretext: a `MemoryPretext`.
        read: gives the image of an index, (H, W, 3) in [0, 1].
    """
    size = pretext.num_images
    chosen = np.random.default_rng(0).choice(size, min(QUERIES, size), replace=False)
    # The nearest row to a row is its own.
    nearest = pretext.nearest(pretext.memory.gather(chosen), min(COLUMNS, size)).numpy()
    _write(path, read, nearest, pretext.crop)


def clusters(path: pathlib.Path | str, pretext: Any, read: Callable[[int], Any]) -> None:
    """Writes random members of the largest, the median and the smallest cluster, a row each.

    Args:
        path: of the PNG file.
        pretext: a `DeepCluster`.
        read: gives the image of an index, (H, W, 3) in [0, 1].
    """
    labels, random = pretext.assignments.numpy(), np.random.default_rng(0)
    by_size = np.argsort(-np.bincount(labels, minlength=pretext.k), kind="stable")
    rows = [np.flatnonzero(labels == by_size[i]) for i in (0, pretext.k // 2, -1)]
    rows = [random.choice(row, COLUMNS, replace=len(row) < COLUMNS) for row in rows]
    _write(path, read, np.array(rows), pretext.crop)


def _write(
    path: pathlib.Path | str, read: Callable[[int], Any], indices: np.ndarray, crop: int
) -> None:
    """The middles of the images of `indices` (rows, columns) as a PNG."""
    middles = [tf.image.resize_with_crop_or_pad(read(i), crop, crop) for i in indices.flat]
    tiles = [pictures.enlarge(pictures.to_uint8(middle), 64) for middle in middles]
    pictures.save_png(path, pictures.mosaic(tiles, indices.shape[1]))
