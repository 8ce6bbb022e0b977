"""What the card of a run says of its making that only the run knows: command, clock, labels."""

import csv
import pathlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import sslzoo
from sslzoo import probes
from sslzoo.export import model_card

if TYPE_CHECKING:
    from sslzoo.training.run import Run

RECIPES = pathlib.Path(sslzoo.__file__).parent / "recipes"


def of(run: "Run", scores: probes.Scores | None) -> dict[str, Any]:
    """For `card.json`: how to make it again, what it cost, what else it saw, how it was judged."""
    spent = minutes(run.folders, "cpu_seconds")
    said: dict[str, Any] = {
        "command": command(run.recipe, run.flags, run.defaults),
        "cpu_minutes": None if spent is None else round(spent, 1),
    }
    if run.second:
        said["second_dataset"] = {"name": run.second.spec, "images": run.second.size}
    if scores:
        said["probe"] = {
            "dataset": run.probe_dataset or run.dataset,
            "labels": scores.train_labels,
            "draws": scores.draws,
            "test_images": scores.test_labels,
        }
    return {name: value for name, value in said.items() if value is not None}


def command(recipe: str, flags: Mapping[str, str], defaults: Mapping[str, str]) -> str:
    """The line that runs a recipe of ours, or a user's own file, with these flags."""
    ours = (RECIPES / f"{recipe}.py").is_file()
    program = ["-m", f"sslzoo.recipes.{recipe}"] if ours else [f"{recipe}.py"]
    return model_card.command(["python", *program], flags, defaults)


def minutes(folders: Iterable[str | pathlib.Path], column: str) -> float | None:
    """Sum of a column of seconds of the `log.csv` of all the folders; None where a row lacks it."""
    seconds = 0.0
    for folder in folders:
        try:
            with open(pathlib.Path(folder, "log.csv"), newline="") as file:
                seconds += sum(float(row[column]) for row in csv.DictReader(file))
        except (OSError, KeyError, ValueError, TypeError, csv.Error):  # an older run's
            return None
    return seconds / 60
