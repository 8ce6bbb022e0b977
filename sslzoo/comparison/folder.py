"""The folder of a comparison: where its runs lie, what is finished, and the table of that."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable
from typing import Any

from absl import logging

from sslzoo.comparison.leaderboard import Table
from sslzoo.errors import UserError, replacing
from sslzoo.training import remade, workdir

# Of each clock of `trial`: the unit of a budget, and the column of log.csv.
UNITS = {"wall": ("minutes", "seconds"), "cpu": ("CPU minutes", "cpu_seconds")}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs of some recipes, each with some seeds, and of controls that need none.

    Args:
        workdir: the folder.
        recipes: names.
        controls: names of the table's rows.
        seeds: of the runs of each.
        clock: one of `UNITS`.
    """

    workdir: str
    recipes: Iterable[str]
    controls: Iterable[str]
    seeds: range
    clock: str

    @property
    def unit(self) -> str:
        """Of the minutes."""
        return UNITS[self.clock][0]

    def path(self, *parts: str) -> pathlib.Path:
        """A file in the folder, whose own folder is made."""
        path = pathlib.Path(self.workdir, *parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def run(self, recipe: str, seed: int) -> pathlib.Path:
        """The folder of a run."""
        return pathlib.Path(self.workdir, recipe, f"seed{seed}")

    def result(self, name: str, seed: int) -> pathlib.Path:
        """The card of a recipe's run, or what a control gave."""
        if name in self.controls:
            return self.path("controls", f"{'_'.join(name.replace(',', '').split())}_{seed}.json")
        return self.run(name, seed) / "exported" / name / "card.json"

    @property
    def todo(self) -> list[tuple[str, int]]:
        """(name, seed) of what is not finished; controls last: they are of the best recipe."""
        groups = (self.recipes, self.controls)
        every = [(name, seed) for names in groups for seed in self.seeds for name in names]
        return [one for one in every if not self.result(*one).exists()]

    @property
    def runs(self) -> str:
        """How many of each recipe are finished, in words."""
        judged = [[card for card in self._found(name) if card["scores"]] for name in self.recipes]
        numbers = [len(cards) for cards in judged if cards] or [0]
        least, most = min(numbers), max(numbers)
        span = f"{most}" if least == most else f"{least} to {most}"
        return f"{span} run{'s' * (most != 1)} each"

    def table(self, caption: str) -> Table:
        """Of what is finished; written as Markdown, CSV and a plot."""
        cards = {}
        for name in self.recipes:
            found = self._found(name)
            judged = [self._timed(name, card) for card in found if card["scores"]]
            if len(judged) < len(found):
                logging.warning("%s is left out: no probe could be made of it", name)
            if judged:
                cards[name] = judged
        controls = {name: rows for name in self.controls if (rows := self._found(name))}
        table = Table(cards, caption, self.unit, controls)
        table.save(pathlib.Path(self.workdir))
        return table

    def keep(self, name: str, found: dict[str, Any]) -> None:
        """Writes what a control gave; `seed` is in it."""
        with replacing(self.result(name, found["seed"])) as aside:
            aside.write_text(json.dumps(found) + "\n")

    def _found(self, name: str) -> list[dict[str, Any]]:
        """Of all seeds that are finished."""
        paths = [self.result(name, seed) for seed in self.seeds]
        return [_read(path) for path in paths if path.exists()]

    def _timed(self, recipe: str, card: dict[str, Any]) -> dict[str, Any]:
        """A card with the minutes that its run trained, over all attempts, by its log."""
        folder, column = self.run(recipe, card["seed"]), UNITS[self.clock][1]
        minutes = remade.minutes([folder], column)
        if minutes is None:
            raise UserError(f"{folder / 'log.csv'}: expected a column {column} of all epochs")
        return {**card, "minutes": minutes}


def _read(path: pathlib.Path) -> dict[str, Any]:
    """A card, or what a control gave."""
    text = workdir.read_text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(
            f"{path}: expected JSON; remove it, and it is made again. Received: {error}"
        ) from None
