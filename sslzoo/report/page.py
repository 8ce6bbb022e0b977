"""The page of one run, or of several with their comparison on top."""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import logging
from bokeh.models import ColumnDataSource

from sslzoo import progress
from sslzoo.errors import UserError
from sslzoo.report import embedding, facts, plots, reading, rendering
from sslzoo.report.reading import Run

THUMBNAIL, NEIGHBOR = 48, 96  # pixels
CLOCKS = ("learning_rate", "seconds", "cpu_seconds", "data_wait")  # columns of log.csv
COMPARED = ("loss", "accuracy", "knn")


def write(runs: Sequence[Run], file: pathlib.Path, most: int) -> None:
    """Writes the page.

    Args:
        runs: what `reading.runs` gave.
        file: where.
        most: held-back images that are embedded, at most.
    """
    figures: dict[str, Any] = {}
    sources: dict[int, ColumnDataSource] = {}
    parts = []
    for i, run in enumerate(progress.counted(runs, lambda run: run.name)):
        part = _part(run, f"run{i}", plots.color(i), figures)
        part |= _embedded(run, f"run{i}", most, figures, sources)
        parts.append(part)
    comparison = _comparison(runs, parts, figures) if len(runs) > 1 else None
    rendering.write(file, "page.html", figures, runs=parts, comparison=comparison)
    logging.info("the report is in %s", file)


# === One run ===


def _part(run: Run, key: str, color: str, figures: dict[str, Any]) -> dict[str, Any]:
    """What the page says of a run, its plots put into `figures`."""
    drawn = [name for name, values in run.log.items() if not np.isnan(values).all()]
    drawn = [name for name in drawn if name not in ("epoch", "step")]
    for name in drawn:
        figures[f"{key}-{name}"] = plots.curves(name, {run.name: run.log[name]}, [color])
    if run.scores:
        figures[f"{key}-stages"] = plots.stages({run.name: run.scores}, [color])
    sheets = {
        name: _or_why(functools.partial(rendering.picture, run.path / f"{name}.png"))
        for name in ("source", "puzzles", "filters")
    }
    return {
        "key": key,
        "run": run,
        "color": color,
        "facts": facts.of(run.card, run.flags),
        "words": facts.words(run.card),
        "epochs": _epochs(run),
        "best": reading.best(run.scores),
        "random": reading.best(run.scores, "random_accuracy"),
        "curves": [f"{key}-{name}" for name in drawn if name not in CLOCKS],
        "clocks": [f"{key}-{name}" for name in drawn if name in CLOCKS],
        "sheets": sheets,
    }


def _epochs(run: Run) -> str:
    """Those done, and of how many; of a finished run without its log those that were wanted."""
    done, wanted = len(next(iter(run.log.values()), [])), run.flags.get("epochs")
    if run.entry and not run.log:
        return wanted or "–"
    return f"{done} of {wanted}" if wanted and wanted != str(done) else str(done)


def _or_why(function: Callable[[], Any]) -> dict[str, Any]:
    """{"value"} of a part, or {"why"} it is not there, as the user would have been told."""
    try:
        return {"value": function(), "why": None}
    except UserError as error:
        return {"value": None, "why": str(error)}


# === Neighbours and map ===


def _embedded(
    run: Run, key: str, most: int, figures: dict[str, Any], sources: dict[int, ColumnDataSource]
) -> dict[str, Any]:
    """The parts that need the images: "embedded", "rows" of neighbours, "classes" by colour."""
    logging.info("%s: neighbours and map of at most %d held-back images ...", run.name, most)
    found = _or_why(functools.partial(embedding.embed, run, most))
    seen = found["value"]
    if seen is None:
        logging.warning("%s: no neighbours and no map: %s", run.name, found["why"])
        return {"embedded": found, "rows": [], "classes": []}
    images = seen.images
    if id(images) not in sources:
        urls = [rendering.thumbnail(pixels, THUMBNAIL) for pixels in images.pixels]
        labels = [images.label(i) for i in range(len(urls))]
        sources[id(images)] = ColumnDataSource({"url": urls, "label": labels})
    figures[f"{key}-map"] = plots.embedding_map(f"{key}-map", seen, sources[id(images)])
    names = images.classes
    shades = [plots.class_color(i, len(names)) for i in range(len(names))]
    classes = [*zip(names, shades, strict=True)] if len(names) <= len(plots.CLASSES) else []
    return {"embedded": found, "rows": _rows(seen), "classes": classes}


def _rows(seen: embedding.Embedded) -> list[list[dict[str, Any]]]:
    """For each query itself, then its neighbours: picture, caption, and whether it is right."""
    images, rows = seen.images, []
    for query in embedding.queries(images):
        tiles = []
        for i in [query, *seen.nearest[query]]:
            right = None
            if images.labels is not None and i != query:
                right = bool(images.labels[i] == images.labels[query])
            url = rendering.thumbnail(images.pixels[i], NEIGHBOR)
            tiles.append({"url": url, "label": images.label(i), "right": right})
        rows.append(tiles)
    return rows


# === Several ===


def _comparison(
    runs: Sequence[Run], parts: Sequence[dict[str, Any]], figures: dict[str, Any]
) -> dict[str, Any]:
    """Plots that lay the runs over each other, and the flags in which they differ."""
    colors = {run.name: part["color"] for run, part in zip(runs, parts, strict=True)}
    scores = {run.name: run.scores for run in runs if run.scores}
    if scores:
        figures["stages"] = plots.stages(scores, [colors[name] for name in scores])
    curves = []
    for column in COMPARED:
        logs = {run.name: run.log[column] for run in runs if column in run.log}
        if len(logs) > 1:
            curves.append(f"all-{column}")
            figures[curves[-1]] = plots.curves(column, logs, [colors[name] for name in logs])
    names = dict.fromkeys(name for run in runs for name in run.flags if name != "workdir")
    flags = {name: [run.flags.get(name, "–") for run in runs] for name in names}
    differ = {name: values for name, values in flags.items() if len({*values}) > 1}
    images = {run.flags.get("probe_dataset") or run.flags.get("dataset") for run in runs}
    return {"curves": curves, "scores": scores, "differ": differ, "alike": len(images) == 1}
