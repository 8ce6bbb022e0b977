"""One animal: its folder, and its card, which is not believed before it is looked at."""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import stat
from typing import Any

from sslzoo.errors import UserError

HEADER = f"{'name':<24} {'recipe':<16} {'images':<20} {'best linear probe':<28} size"
SCORES = ("accuracy", "random_accuracy")  # of a card's rows, one a stage
CARD_BYTES = 1_000_000  # of a card.json, at most
NAME = re.compile(r"\w[\w.+-]{0,99}")
WIDEST = 40  # characters of a card that are shown


@dataclasses.dataclass(frozen=True)
class Entry:
    """One exported encoder: its folder, and its card as a dict."""

    name: str
    path: str
    card: dict[str, Any]
    sha256: str  # of card.json

    def __str__(self) -> str:
        """One line: name, recipe, data, best stage beside the best of random init, size."""
        rows, data = self.card.get("scores") or [], self.card.get("dataset") or {}
        best = [max((row.get(key) or 0 for row in rows), default=0) for key in SCORES]
        score = "not probed" if not rows else f"{best[0]:.1%} (random init {best[1]:.1%})"
        names = (self.card.get("recipe", "?"), pathlib.Path(data.get("name", "?")).name)
        recipe, images = (_printable(name[:WIDEST]) for name in names)
        size = f"{_bytes(pathlib.Path(self.path, str(self.card['version']))) / 1e6:.1f} MB"
        return f"{self.name:<24} {recipe:<16} {images:<20} {score:<28} {size}"


def read(folder: pathlib.Path) -> Entry:
    """The entry of a folder.

    Raises:
        UserError: its card cannot be read, or is none.
    """
    file = folder / "card.json"
    try:
        if not NAME.fullmatch(folder.name):
            raise ValueError("a folder's name is letters, digits, _.+-")
        if not stat.S_ISREG(file.lstat().st_mode):
            raise ValueError("no plain file")
        with file.open("rb") as opened:
            contents = opened.read(CARD_BYTES)
        card = json.loads(contents)
        _check_card(card)
    except (OSError, ValueError, RecursionError) as error:  # json recurses
        raise UserError(_printable(f"{file}: expected a card. Received: {error!r:.300}")) from None
    return Entry(folder.name, str(folder), card, hashlib.sha256(contents).hexdigest())


def _check_card(card: Any) -> None:
    """Raises a `ValueError` for what this module could not work with."""
    if not isinstance(card, dict):
        raise ValueError(f"{type(card).__name__} in place of an object")
    files, version = card.get("files"), card.get("version")
    rows, data = card.get("scores") or [], card.get("dataset") or {}
    right = {
        "version": type(version) is int,
        "files (SHA-256)": isinstance(files, dict) and f"{version}/saved_model.pb" in files,
        "recipe": isinstance(card.get("recipe", ""), str),
        "dataset": isinstance(data, dict) and isinstance(data.get("name", ""), str),
        "scores": isinstance(rows, list) and all(map(_is_row, rows)),
        "image_size": isinstance(card.get("image_size", 0), int),
    }
    if wrong := [key for key, fine in right.items() if not fine]:
        raise ValueError(f"wrong or missing: {', '.join(wrong)}")


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    scores = [row[key] for key in SCORES if row.get(key) is not None]
    return all(isinstance(score, int | float) and 0 <= score <= 1 for score in scores)


def _bytes(folder: pathlib.Path) -> int:
    """Of all files under `folder`."""
    try:
        files = [os.path.join(at, file) for at, _, names in os.walk(folder) for file in names]
        return sum(os.lstat(file).st_size for file in files)
    except OSError:  # it is being replaced
        return 0


def _printable(text: str) -> str:
    """`text` with what would steer a terminal, or cannot be written, as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
