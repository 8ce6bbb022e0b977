"""The interactive plots of a page, in Bokeh. Their colours of text and lines are in page.css."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bokeh.models import (
    BasicTicker,
    CDSView,
    ColumnDataSource,
    HoverTool,
    IndexFilter,
    WheelZoomTool,
    Whisker,
)
from bokeh.palettes import Category10, Category20
from bokeh.plotting import figure

if TYPE_CHECKING:
    from sslzoo.report.embedding import Embedded  # which needs TensorFlow

RUNS = Category10[10]  # colours
CLASSES = Category20[20]
NO_CLASS = "#7f7f7f"
TILE = 22  # pixels of a thumbnail on the map
PICTURE = """<div style="text-align:center"><img src="@url" alt="" width="112" height="112"
style="image-rendering:pixelated"><br>@label</div>"""


def color(index: int) -> str:
    """Of a run."""
    return RUNS[index % len(RUNS)]


def class_color(index: int, classes: int) -> str:
    """Of a class; grey where there are more than can be told apart."""
    palette = Category10[10] if classes <= 10 else CLASSES
    return palette[index] if 0 < classes <= len(CLASSES) else NO_CLASS


def curves(name: str, columns: Mapping[str, Sequence[float]], colors: Sequence[str]) -> Any:
    """One column of `log.csv` by epoch, of each run."""
    plot = _figure(height=210, title=name)
    plot.xaxis.axis_label = "epoch"
    plot.xaxis.ticker = BasicTicker(min_interval=1)
    for (run, values), shade in zip(columns.items(), colors, strict=True):
        epochs = range(1, len(values) + 1)
        source = ColumnDataSource({"x": [*epochs], "y": [*values], "run": [run] * len(values)})
        plot.line("x", "y", source=source, color=shade, line_width=2)
        plot.scatter("x", "y", source=source, color=shade, size=5)
    plot.add_tools(HoverTool(tooltips=[("run", "@run"), ("epoch", "@x"), (name, "@y{0.0000}")]))
    return plot


def stages(runs: Mapping[str, Sequence[dict[str, Any]]], colors: Sequence[str]) -> Any:
    """Accuracy of the probe by stage: solid where trained, dashed at random init."""
    names = [*dict.fromkeys(str(row.get("stage")) for rows in runs.values() for row in rows)]
    plot = _figure(height=320, x_range=names)
    plot.yaxis.axis_label = "accuracy, %"
    for (run, rows), shade in zip(runs.items(), colors, strict=True):
        for prefix, dash, marker in (("", "solid", "circle"), ("random_", "dashed", "square")):
            source = _scores(run, rows, prefix)
            line = {"color": shade, "line_width": 2, "line_dash": dash}
            plot.line("stage", "score", source=source, **line)
            dot = plot.scatter("stage", "score", source=source, color=shade, marker=marker, size=7)
            whisker = Whisker(base="stage", lower="low", upper="high", source=source)
            whisker.line_color = shade
            whisker.upper_head.line_color = whisker.lower_head.line_color = shade
            plot.add_layout(whisker)
            tips = [("run", "@run"), ("stage", "@stage"), ("accuracy", "@score{0.0}@std %")]
            plot.add_tools(HoverTool(renderers=[dot], tooltips=tips))
    return plot


def _scores(run: str, rows: Sequence[dict[str, Any]], prefix: str) -> ColumnDataSource:
    """Percent of the rows that have such a score, with their error bars (none: of no length)."""
    rows = [row for row in rows if isinstance(row.get(f"{prefix}accuracy"), int | float)]
    score = [100 * row[f"{prefix}accuracy"] for row in rows]
    found = [row.get(f"{prefix}std") for row in rows]
    spread = [100 * std if isinstance(std, int | float) else 0 for std in found]
    pairs = [*zip(score, spread, strict=True)]
    return ColumnDataSource(
        {
            "stage": [str(row.get("stage")) for row in rows],
            "score": score,
            "low": [mean - std for mean, std in pairs],
            "high": [mean + std for mean, std in pairs],
            "std": [f" ± {std:.1f}" if std else "" for std in spread],
            "run": [f"{run}, random init" if prefix else run] * len(rows),
        }
    )


def embedding_map(name: str, embedded: "Embedded", source: ColumnDataSource) -> Any:
    """Thumbnails at their places, framed in the colours of their classes.

    Args:
        name: what marks of class i are called, for the page to hide them: f"{name}-{i}-frame" and
            f"{name}-{i}-image".
        embedded: what is shown.
        source: columns `url` and `label` of the images, shared by all maps of them; it gets two
            columns of this one's places.
    """
    tools = "zoom_in,zoom_out,reset,pan,wheel_zoom"
    plot = _figure(tools=tools, toolbar_location="above", match_aspect=True)
    plot.toolbar_sticky = False
    plot.aspect_ratio, plot.max_height = 1, 760
    plot.toolbar.logo = None
    wheel = plot.select_one(WheelZoomTool)
    wheel.modifiers = {"ctrl": True}  # or the page could not be scrolled past
    plot.toolbar.active_scroll = wheel
    plot.axis.visible = plot.grid.visible = False
    x, y = f"{name}-x", f"{name}-y"
    for column, values in zip((x, y), embedded.places.T, strict=True):
        source.add([float(value) for value in values], column)
    labels, frames = embedded.images.labels, []
    for i in range(max(1, len(embedded.images.classes))):
        rows = range(len(embedded.places)) if labels is None else (labels == i).nonzero()[0]
        view = CDSView(filter=IndexFilter([int(row) for row in rows]))
        shared = {"source": source, "view": view}
        shade = class_color(i, len(embedded.images.classes))
        look = {"marker": "square", "size": TILE + 5, "color": shade}
        frames.append(plot.scatter(x, y, name=f"{name}-{i}-frame", **look, **shared))
        sides = {"w": TILE, "h": TILE, "w_units": "screen", "h_units": "screen"}
        plot.image_url(
            "url", x=x, y=y, anchor="center", name=f"{name}-{i}-image", **sides, **shared
        )
    plot.add_tools(HoverTool(renderers=frames, tooltips=PICTURE))
    return plot


def _figure(**options: Any) -> Any:
    """A plot as wide as its place, through which the page can be seen."""
    clear = {"background_fill_color": None, "border_fill_color": None}
    options = {"tools": "", "toolbar_location": None, **clear, **options}
    plot = figure(sizing_mode="stretch_width", min_width=0, **options)
    plot.outline_line_color = None
    plot.title.text_font_size = "13px"
    return plot
