"""The page of a zoo: a card for each animal, and all of them in one plot."""

import pathlib
from collections.abc import Sequence

from absl import logging

from sslzoo import zoo
from sslzoo.errors import UserError
from sslzoo.report import facts, plots, reading, rendering


def entries_of(root: pathlib.Path) -> list[zoo.Entry]:
    """The encoders in the folder `root`.

    Raises:
        UserError: there is none.
    """
    entries = zoo.list(root) if root.is_dir() else []
    if not entries:
        raise UserError(f"--root: expected a folder of exports. Received: {root}")
    return entries


def write(entries: Sequence[zoo.Entry], root: pathlib.Path, file: pathlib.Path) -> None:
    """Writes the page of the encoders in the folder `root`."""
    logging.info("%d animals in %s ...", len(entries), root)
    scored = {entry.name: entry.card["scores"] for entry in entries if entry.card.get("scores")}
    colors = {entry.name: plots.color(i) for i, entry in enumerate(entries)}
    figures = {"stages": plots.stages(scored, [colors[name] for name in scored])} if scored else {}
    animals = [
        {
            "entry": entry,
            "color": colors[entry.name],
            "embeds": pathlib.Path(entry.path, reading.ENCODER).exists(),
            "facts": facts.of(entry.card),
            "words": facts.words(entry.card),
            "flags": facts.flags(entry.card),
            "best": reading.best(entry.card.get("scores") or []),
            "random": reading.best(entry.card.get("scores") or [], "random_accuracy"),
        }
        for entry in entries
    ]
    rendering.write(file, "index.html", figures, animals=animals, root=root)
    logging.info("the index is in %s", file)
