"""What all pictures are made of. NumPy, uint8, for people."""

import keras
import numpy as np


def to_uint8(image):
    """[0, 1] float -> uint8, clipping what lies outside."""
    return np.uint8(np.clip(np.asarray(image) * 255 + 0.5, 0, 255))


def mosaic(tiles, columns, gap=2, background=255):
    """Lays (n, h, w, 3) uint8 pictures of one size on a grid: (H, W, 3) uint8."""
    tiles = [np.asarray(tile) for tile in tiles]
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = np.full(shape, background, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def shades(vector, side):
    """The numbers of (n,) as a square of greys of about `side` pixels, 0 in the middle: uint8."""
    columns = int(np.ceil(np.sqrt(len(vector))))
    square = np.zeros(columns * columns, np.float32)
    square[: len(vector)] = vector
    square = 0.5 + square / (2 * max(float(np.abs(vector).max()), 1e-6))
    return enlarge(to_uint8(np.repeat(square.reshape(columns, columns, 1), 3, -1)), side)


def enlarge(pictures, side):
    """Repeats the pixels of (..., h, w, 3) until h is about `side`, for small puzzles."""
    factor = max(1, round(side / pictures.shape[-3]))
    return np.repeat(np.repeat(pictures, factor, axis=-3), factor, axis=-2)


def save_png(path, picture):
    """Writes (H, W, 3) uint8 as a PNG file."""
    keras.utils.save_img(path, picture, data_format="channels_last", scale=False)
