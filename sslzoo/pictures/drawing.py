"""What all pictures are made of. NumPy, uint8, for people."""

import pathlib
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from sslzoo.errors import replacing

RIGHT, WRONG = (0, 150, 60), (205, 30, 30)  # frames of answers
FRAME, CAPTION, GAP = 4, 16, 8  # pixels


def to_uint8(image: np.ndarray | tf.Tensor) -> np.ndarray:
    """[0, 1] float -> uint8, clipping what lies outside."""
    return np.clip(np.asarray(image) * 255 + 0.5, 0, 255).astype(np.uint8)


def mosaic(tiles: Iterable[np.ndarray] | np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Lays (n, h, w, 3) uint8 pictures of one size on a grid: (H, W, 3) uint8."""
    tiles = [np.asarray(tile) for tile in tiles]
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = np.full(shape, 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def row(panels: dict[str, np.ndarray], right: bool | None = None, side: int = 96) -> np.ndarray:
    """Pictures side by side, each under its name: (H, W, 3) uint8.

    Args:
        panels: {name: (h, w, 3)}, uint8 or float in [0, 1]; small ones are enlarged to `side`.
        right: whether the one named "answer" is right: a green or a red frame; None: no frame.
        side: height in pixels, about.
    """
    columns = []
    for name, panel in panels.items():
        panel = np.asarray(panel)
        panel = enlarge(panel if panel.dtype == np.uint8 else to_uint8(panel), side)
        colour = 255 if right is None or name != "answer" else RIGHT if right else WRONG
        columns.append(_captioned(name, framed(panel, colour)))
    height = max(len(column) for column in columns)
    columns = [_fitted(column, height, column.shape[1] + GAP) for column in columns]
    return np.concatenate(columns, axis=1)[:, :-GAP]


def framed(panel: np.ndarray, colour: int | tuple[int, int, int]) -> np.ndarray:
    """A frame of one colour around (h, w, 3) uint8."""
    height, width = panel.shape[:2]
    made = np.full((height + 2 * FRAME, width + 2 * FRAME, 3), colour, np.uint8)
    made[FRAME:-FRAME, FRAME:-FRAME] = panel
    return made


def _captioned(name: str, panel: np.ndarray) -> np.ndarray:
    font = ImageFont.load_default(12)
    width = max(panel.shape[1], int(font.getlength(name)) + 2 * FRAME)
    strip = Image.new("RGB", (width, CAPTION), "white")
    ImageDraw.Draw(strip).text((FRAME, 1), name, "black", font)
    return np.concatenate([np.asarray(strip), _fitted(panel, panel.shape[0], width)])


def _fitted(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """White below and to the right, up to that size."""
    below, beside = height - picture.shape[0], width - picture.shape[1]
    return np.pad(picture, [(0, below), (0, beside), (0, 0)], constant_values=255)


def shades(vector: np.ndarray, side: int) -> np.ndarray:
    """The numbers of (n,) as a square of greys of about `side` pixels, 0 in the middle: uint8."""
    columns = int(np.ceil(np.sqrt(len(vector))))
    square = np.zeros(columns * columns, np.float32)
    square[: len(vector)] = vector
    square = 0.5 + square / (2 * max(float(np.abs(vector).max()), 1e-6))
    return enlarge(to_uint8(np.repeat(square.reshape(columns, columns, 1), 3, -1)), side)


def enlarge(pictures: np.ndarray, side: int) -> np.ndarray:
    """Repeats the pixels of (..., h, w, 3) until h is about `side`, for small puzzles."""
    factor = max(1, round(side / pictures.shape[-3]))
    return np.repeat(np.repeat(pictures, factor, axis=-3), factor, axis=-2)


def save_png(path: pathlib.Path | str, picture: np.ndarray) -> None:
    """Writes (H, W, 3) uint8 as a PNG file.

    Raises:
        UserError: it cannot be written.
    """
    with replacing(path) as aside:
        keras.utils.save_img(aside, picture, data_format="channels_last", scale=False)
