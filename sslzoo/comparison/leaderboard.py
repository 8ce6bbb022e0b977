"""Scores of several encoders side by side: a Markdown table, a CSV file, a plot by stage."""

import csv
import dataclasses
import os
import pathlib
import platform
import statistics
from typing import Any

from sslzoo import pictures
from sslzoo.errors import UserError, replacing
from sslzoo.pictures import chart

MARKERS = ("<!-- results -->", "<!-- /results -->")
COLUMNS = ("name", "seed", "stage", "dims", "accuracy", "random_accuracy", "knn", "random_knn")


@dataclasses.dataclass(frozen=True)
class Table:
    """Of what the probes found.

    Args:
        cards: {name: the cards of its runs, one a seed}.
        caption: what the numbers are of, one line.
        unit: of the minutes that the cards say.
        controls: {what it is: one dict a seed, of `epochs`, `minutes`, `seed` and `accuracy`}.
    """

    cards: dict[str, list[dict[str, Any]]]
    caption: str
    unit: str = "minutes"
    controls: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        """Markdown, the best first; below it what no pretext was needed for."""
        lines = [
            f"| recipe | epochs | {self.unit} | best stage | random init | gain |",
            "|---|---|---|---|---|---|",
            *map(self._row, self.order),
        ]
        for name, runs in self.controls.items():
            accuracy = percent([run["accuracy"] for run in runs])
            lines.append(f"| {name} | {runs[0]['epochs']} | {_minutes(runs)} | {accuracy} | | |")
        return "\n".join([*lines, "", self.caption])

    @property
    def order(self) -> list[str]:
        """The recipes, the best first."""
        return sorted(self.cards, key=lambda name: -_mean(self._best(name)))

    def _row(self, name: str) -> str:
        cards = self.cards[name]
        best, random = self._best(name), self._best(name, "random_accuracy")
        stages = {row["stage"]: 0 for row in (_top(card) for card in cards)}
        gains = [ours - theirs for ours, theirs in zip(best, random, strict=True)]
        return (
            f"| {name} | {cards[0]['flags']['epochs']} | {_minutes(cards)} | **{percent(best)}** "
            f"(`{'`, `'.join(stages)}`) | {percent(random)} | {100 * _mean(gains):+.1f} |"
        )

    def _best(self, name: str, key: str = "accuracy") -> list[float]:
        """The highest score of any stage, of each run."""
        return [max(row[key] for row in card["scores"]) for card in self.cards[name]]

    def save(self, folder: pathlib.Path) -> None:
        """Writes `table.md`, `table.csv` (a line for each stage of each run) and `stages.png`."""
        with replacing(folder / "table.md") as aside:
            aside.write_text(f"{self}\n", encoding="utf-8")
        with replacing(folder / "table.csv") as aside, aside.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            for name, cards in self.cards.items():
                for card in cards:
                    for row in card["scores"]:
                        writer.writerow({"name": name, "seed": card["seed"], **row})
            for name, runs in self.controls.items():
                writer.writerows({"name": name, **run} for run in runs)
        if self.cards:
            pictures.save_png(folder / "stages.png", self.plot())

    def plot(self) -> Any:
        """Accuracy by stage: (H, W, 3) uint8. It rises to the middle and often falls at the end."""
        curves: dict[str, dict[str, list[float]]] = {}
        for name, cards in self.cards.items():
            for row in (row for card in cards for row in card["scores"]):
                for curve, key in ((name, "accuracy"), ("random init", "random_accuracy")):
                    if key in row:
                        values = curves.setdefault(curve, {}).setdefault(row["stage"], [])
                        values.append(100 * row[key])
        return chart.lines(curves, "accuracy of the linear probe, %", dashed=["random init"])

    def put_into(self, path: pathlib.Path) -> None:
        """Replaces what stands between the `MARKERS` of a Markdown file."""
        before, after = split(path)
        with replacing(path) as aside:
            aside.write_text(f"{before}\n{self}\n{after}", encoding="utf-8")


def split(path: pathlib.Path) -> tuple[str, str]:
    """A Markdown file up to the first of the `MARKERS`, and from the second on.

    Raises:
        UserError: it has none.
    """
    try:
        text = path.read_text(encoding="utf-8")
        before, rest = text.split(MARKERS[0])
        _, after = rest.split(MARKERS[1])
    except (OSError, ValueError) as error:
        raise UserError(
            f"--readme: expected a Markdown file with {' and '.join(MARKERS)}. "
            f"Received: {path}: {error}"
        ) from None
    return before + MARKERS[0], MARKERS[1] + after


def percent(values: list[float]) -> str:
    """0.621 -> 62.1 %; of several the mean and the standard deviation."""
    mean = f"{100 * _mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f} %" if len(values) > 1 else f"{mean} %"


def machine() -> str:
    """Cores and kind of processor."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = platform.processor() or platform.machine()
    path = pathlib.Path("/proc/cpuinfo")
    if path.is_file():
        names = [line for line in path.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return f"{cores} cores ({' '.join(model.split())})"


def _minutes(runs: list[dict[str, Any]]) -> str:
    return f"{_mean([run['minutes'] for run in runs]):.1f}"


def _mean(values: list[float]) -> float:
    return statistics.fmean(values)


def _top(card: dict[str, Any]) -> dict[str, Any]:
    return max(card["scores"], key=lambda row: row["accuracy"])
