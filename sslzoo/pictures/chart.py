"""Curves, by matplotlib."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

WIDTH, HEIGHT, DPI = 8, 5, 120  # inches, pixels in one


def lines(
    curves: Mapping[str, Mapping[str, Sequence[float]]], y_label: str, dashed: Sequence[str] = ()
) -> np.ndarray:
    """Curves over named places, such as accuracy by stage: (H, W, 3) uint8.

    Args:
        curves: {name: {place: values}}; of several values mean and standard deviation are shown.
            All places in the order in which they come.
        y_label: of the values.
        dashed: names of curves to compare with.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second
    from matplotlib.figure import Figure

    figure = Figure((WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    axes = figure.add_subplot(ylabel=y_label)
    places = list(dict.fromkeys(place for curve in curves.values() for place in curve))
    for name, curve in curves.items():
        x = [places.index(place) for place in curve]
        style: dict[str, Any] = (
            {"linestyle": "--", "color": "0.5"} if name in dashed else {"marker": "o"}
        )
        mean = [float(np.mean(values)) for values in curve.values()]
        std = [float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for v in curve.values()]
        axes.errorbar(x, mean, std, label=name, capsize=3, **style)
    axes.set_xticks(range(len(places)), places)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
