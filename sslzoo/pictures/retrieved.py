"""The picture of a retrieval: queries and what was found for them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sslzoo.pictures import drawing

SIDE = 64  # pixels of an image, about


def picture(
    queries: Sequence[np.ndarray],
    answers: Sequence[Sequence[np.ndarray]],
    right: np.ndarray | None = None,
) -> np.ndarray:
    """A row for each query: it, then its answers, nearest first: (H, W, 3) uint8.

    Args:
        queries: n images (h, w, 3) in [0, 1], all of one size.
        answers: for each of them k more.
        right: (n, k), whether an answer is of the query's class; the others have a red frame. None
            where that is not known: no frames.
    """
    tiles, columns = [], 1 + len(answers[0])
    for i, (query, found) in enumerate(zip(queries, answers, strict=True)):
        frames: list[Any] = [255] * columns
        if right is not None:
            frames[1:] = [drawing.RIGHT if one else drawing.WRONG for one in right[i]]
        tiles += [_tile(image, frame) for image, frame in zip([query, *found], frames, strict=True)]
    return drawing.mosaic(tiles, columns)


def _tile(image: np.ndarray, frame: int | tuple[int, int, int]) -> np.ndarray:
    return drawing.framed(drawing.enlarge(drawing.to_uint8(image), SIDE), frame)
