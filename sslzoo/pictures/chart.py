"""Lines over a few ticks, such as scores by stage."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

SIZE, MARGIN = (640, 400), 48
COLORS = ["#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e"]
COLORS += ["#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"]


def draw(lines: Mapping[str, Sequence[float]], ticks: Sequence[str], label: str) -> np.ndarray:
    """Shares in [0, 1] by tick, a line for each name: (400, 640, 3) uint8.

    The axis goes from 0 to the best, rounded up to ten percent.
    """
    picture = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(picture)
    top = -(-max(y for line in lines.values() for y in line) * 10 // 1) / 10
    width, height = SIZE[0] - 2 * MARGIN, SIZE[1] - 2 * MARGIN

    def place(i: int, y: float) -> tuple[float, float]:
        return MARGIN + width * i / max(len(ticks) - 1, 1), SIZE[1] - MARGIN - height * y / top

    for tenth in range(round(top * 10) + 1):
        pen.line([place(0, tenth / 10), place(len(ticks) - 1, tenth / 10)], fill="#dddddd")
        pen.text((8, place(0, tenth / 10)[1] - 6), f"{tenth * 10} %", fill="black")
    for i, tick in enumerate(ticks):
        pen.text((place(i, 0)[0] - 8, SIZE[1] - MARGIN + 8), tick, fill="black")
    pen.text((MARGIN, SIZE[1] - 20), label, fill="black")
    for row, (name, line) in enumerate(lines.items()):
        points, color = [place(i, y) for i, y in enumerate(line)], COLORS[row % len(COLORS)]
        pen.line(points, fill=color, width=2)
        for x, y in points:
            pen.ellipse([x - 3, y - 3, x + 3, y + 3], fill=color)
        pen.text((MARGIN + 8 + 200 * (row % 3), 8 + 14 * (row // 3)), name, fill=color)
    return np.asarray(picture)
