"""The picture of a confusion matrix."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

SIDE = 900  # pixels of the matrix, about
DARK = np.array([8, 48, 107])  # of a cell that holds its whole row


def picture(counts: np.ndarray | tf.Tensor, classes: Sequence[str]) -> np.ndarray:
    """Draws (K, K) counts, a row for each true class: (H, W, 3) uint8.

    The colour of a cell is its share of the row. Where cells are large enough, names stand at the
    sides and percentages in the cells.
    """
    counts = np.asarray(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = max(1, min(48, SIDE // len(counts)))
    colours = 255 + shares[..., None] * (DARK - 255)
    cells = np.uint8(colours).repeat(cell, axis=0).repeat(cell, axis=1)
    if cell < 12:
        return cells
    font = ImageFont.load_default(min(14, cell - 2))
    names = [_short(name) for name in classes]
    margin = 10 + int(max(font.getlength(name) for name in names))
    canvas = Image.new("RGB", (margin + cells.shape[1], margin + cells.shape[0]), "white")
    canvas.paste(Image.fromarray(cells), (margin, margin))
    draw = ImageDraw.Draw(canvas)
    for i, name in enumerate(names):
        middle = margin + i * cell + cell // 2
        draw.text((margin - 5, middle), name, "black", font, anchor="rm")
        label = Image.new("RGB", (margin, cell), "white")
        ImageDraw.Draw(label).text((5, cell // 2), name, "black", font, anchor="lm")
        canvas.paste(label.rotate(90, expand=True), (margin + i * cell, 0))
    if cell >= 24:
        _numbers(draw, shares, margin, cell, font)
    return np.asarray(canvas)


def _numbers(
    draw: ImageDraw.ImageDraw,
    shares: np.ndarray,
    margin: int,
    cell: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    for (row, column), share in np.ndenumerate(shares):
        percent = round(100 * share)
        if percent:
            left, top = (margin + n * cell + cell // 2 for n in (column, row))
            colour = "white" if percent > 50 else "black"
            draw.text((left, top), str(percent), colour, font, anchor="mm")


def _short(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:19]}…"
