"""What a run folder holds, be the run finished or not."""

import csv
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import logging

from sslzoo import zoo
from sslzoo.errors import UserError
from sslzoo.flags import signature
from sslzoo.report import facts

ENCODER = "encoder.keras"  # what an animal that embeds has, and a painter of images has not


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder: its name on the page, its flags, its log, its encoder once there is one."""

    path: pathlib.Path
    name: str
    flags: dict[str, str]
    log: dict[str, list[float]]  # column -> a number for each epoch; NaN where there is none
    entry: zoo.Entry | None

    @property
    def card(self) -> dict[str, Any]:
        """What made the encoder; empty until it is exported."""
        return self.entry.card if self.entry else {}

    @property
    def scores(self) -> list[dict[str, Any]]:
        """Rows of the probe, one a stage."""
        return self.card.get("scores") or []


def runs(folders: Sequence[str]) -> list[Run]:
    """The runs in some folders, named as short as they can be told apart.

    Raises:
        UserError: a folder is none that a run wrote.
    """
    paths = {path.resolve(): path for path in map(pathlib.Path, folders)}
    for few in range(1, max(len(path.parts) for path in paths) + 1):  # of the last parts
        names = ["/".join(path.parts[-few:]) for path in paths]
        if len({*names}) == len(names):
            break
    return [_run(path, name) for path, name in zip(paths.values(), names, strict=True)]


def best(rows: Sequence[dict[str, Any]], key: str = "accuracy") -> dict[str, Any]:
    """The row with the highest score; an empty one of none."""
    return max((row for row in rows if row.get(key) is not None), key=lambda r: r[key], default={})


def _run(path: pathlib.Path, name: str) -> Run:
    flags = signature.read(_text(path / "flags.txt"))
    found = zoo.list(path / "exported") if (path / "exported").is_dir() else []
    entry = next((one for one in found if pathlib.Path(one.path, ENCODER).exists()), None)
    log = _log(path / "log.csv")
    if not (flags or log or entry):
        raise UserError(
            "sslzoo report: expected the folder of a run (with flags.txt, log.csv or "
            f"exported/NAME/card.json). Received: {path}"
        )
    return Run(path, name, flags or facts.flags(entry.card if entry else {}), log, entry)


def _log(path: pathlib.Path) -> dict[str, list[float]]:
    """The columns of `log.csv`; empty where there is none."""
    rows = [*csv.DictReader(_text(path).splitlines())]
    return {name: [_number(row.get(name)) for row in rows] for name in (rows[0] if rows else ())}


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _text(path: pathlib.Path) -> str:
    """The text of a file; nothing where there is none, and a warning where it is no text."""
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        logging.warning("%s is left out: %s", path, error)
        return ""
