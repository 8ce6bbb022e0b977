"""What a probe found, as a table for people and as files for programs."""

import csv
import itertools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from sslzoo.errors import replacing

Row = dict[str, Any]

COLUMNS = {  # name in a row: title
    "encoder": "encoder",
    "dataset": "dataset",
    "stage": "stage",
    "change": "change",
    "labels": "labels",
    "accuracy": "accuracy",
    "random_accuracy": "random init",
    **{f"recall@{k}": f"recall@{k}" for k in (1, 5, 10)},
    **{f"random_recall@{k}": f"random @{k}" for k in (1, 5, 10)},
    "distance": "distance",
    "random_distance": "random init",
    "majority": "blind guess",
    "finetuned_accuracy": "fine-tuned",
    "scratch_accuracy": "from scratch",
    "supervised_accuracy": "all labels",
    "gained": "gained",
}


def deviation(values: Sequence[float]) -> float | None:
    """The standard deviation of several, None of one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def table(rows: Sequence[Row], columns: dict[str, str] | None = None) -> str:
    """Rows under titles: text to the left, numbers to the right; what is not there is `-`.

    Args:
        rows: what was found. Floats are shares, shown in percent; where there is a `NAME_std`
            (`std` for `accuracy`), it stands behind.
        columns: {name in a row: title}; None takes those of `COLUMNS` that are in a row.
    """
    if columns is None:
        columns = {name: title for name, title in COLUMNS.items() if any(name in r for r in rows)}
    cells = [[*columns.values()]] + [[_cell(row, name) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    left = [all(isinstance(row.get(name), str) for row in rows) for name in columns]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in cells
    )


def agreement(rows: Sequence[Row]) -> str:
    """Whether the order of three encoders or more is the same from data set to data set: lines.

    Spearman's rank correlation of accuracies: 1 for the same order, -1 for the opposite one.
    """
    from scipy.stats import spearmanr  # half a second

    scores: dict[str, dict[str, float]] = {}
    for row in rows:
        if "encoder" in row:
            scores.setdefault(row["dataset"], {})[row["encoder"]] = row["accuracy"]
    lines = []
    for one, other in itertools.combinations(scores, 2):
        if len(both := [name for name in scores[one] if name in scores[other]]) > 2:
            values = [[scores[spec][name] for name in both] for spec in (one, other)]
            if all(np.ptp(v) for v in values):  # or none is ahead of another
                rho = spearmanr(*values).statistic
                lines.append(f"rank correlation of {one} and {other}: {rho:+.2f}\n")
    return "".join(lines)


def write(workdir: pathlib.Path | str, rows: Sequence[Row], about: dict[str, Any]) -> None:
    """Writes `probe.json`, all of it, and `probe.csv`, the rows without what is nested in them."""
    folder = pathlib.Path(workdir)
    with replacing(folder / "probe.json") as aside:
        aside.write_text(json.dumps({**about, "rows": [*rows]}, indent=1))
    flat = [{k: v for k, v in row.items() if not isinstance(v, list | dict)} for row in rows]
    names = [*dict.fromkeys(name for row in flat for name in row)]
    with replacing(folder / "probe.csv") as aside, aside.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(flat)


def _cell(row: Row, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, float):
        return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
    std = row.get(name.removesuffix("accuracy") + "std") if name.endswith("accuracy") else None
    return f"{value:.2%}" + ("" if std is None else f" ± {100 * std:.2f}")
