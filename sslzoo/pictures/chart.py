"""Curves and histograms, by matplotlib."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

WIDTH, HEIGHT, DPI = 8, 5, 120  # inches, pixels in one
MARKERS = "os^D"  # the next one where all ten colours are in use


def lines(
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    y_label: str,
    x_label: str = "",
    dashed: Sequence[str] = (),
) -> np.ndarray:
    """Curves over named places, such as accuracy by stage: (H, W, 3) uint8.

    Args:
        curves: {name: {place: values}}; of several values mean and standard deviation are shown.
            All places in the order in which they come.
        y_label: of the values.
        x_label: of the places.
        dashed: names of curves to compare with.
    """
    figure = _figure()
    axes = figure.add_subplot(xlabel=x_label, ylabel=y_label)
    places = list(dict.fromkeys(place for curve in curves.values() for place in curve))
    looks = ({"color": f"C{i % 10}", "marker": MARKERS[i // 10 % 4]} for i in itertools.count())
    for name, curve in curves.items():
        x = [places.index(place) for place in curve]
        style: Any = {"linestyle": "--", "color": "0.5"} if name in dashed else next(looks)
        mean = [float(np.mean(values)) for values in curve.values()]
        std = [float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for v in curve.values()]
        axes.errorbar(x, mean, std, label=name, capsize=3, **style)
    axes.set_xticks(range(len(places)), places)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return _drawn(figure)


TOP = 2.0  # values of 0 to `TOP` are shown; those beyond are in the last bin


def histograms(
    panels: Mapping[str, Mapping[str, Sequence[float] | np.ndarray]],
    x_label: str,
    dashed: Sequence[str] = (),
) -> np.ndarray:
    """How values spread, as outlines, one panel beside and below the other: (H, W, 3) uint8.

    Args:
        panels: {title: {name: values}}; the same names in each.
        x_label: of the values.
        dashed: names of what to compare with.
    """
    figure, bins = _figure(), np.linspace(0, TOP, 41)
    columns = math.ceil(len(panels) ** 0.5)
    rows = math.ceil(len(panels) / columns)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axes, (title, histogram) in zip(grid.flat, panels.items(), strict=False):
        axes.set_title(title, fontsize="small")
        axes.set_yticks([])
        for name, values in histogram.items():
            style: dict[str, Any] = {"linestyle": "--", "color": "0.5"} if name in dashed else {}
            shares, shown = np.full(len(values), 1 / max(len(values), 1)), np.clip(values, 0, TOP)
            axes.hist(shown, bins, weights=shares, histtype="step", label=name, **style)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.supxlabel(x_label, fontsize="medium")
    figure.supylabel("share of the images", fontsize="medium")
    return _drawn(figure)


def _figure() -> Any:
    from matplotlib.figure import Figure  # half a second

    return Figure((WIDTH, HEIGHT), dpi=DPI, layout="constrained")


def _drawn(figure: Any) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
