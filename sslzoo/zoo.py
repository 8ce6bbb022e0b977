"""The zoo is a folder: every sub-folder with a `card.json` (see `sslzoo.export`) is an animal.

    zoo.list()                 what there is
    zoo.load("rotation")       a SavedModel: .embed(images), .embed_bytes(files), .features(images)
    zoo.encoder("rotation")    a Keras model, to train on
    zoo.digest("rotation")     what to pin it by: zoo.load("rotation", sha256=...)

`root` is the folder: the argument, or the environment variable SSLZOO_ZOO, or `exported/` of the
checkout, or the copy of it that is installed with the package. A name is one plain folder name,
never a path: to load from elsewhere, say so with `root`.

A model is a program, and a card vouches for the files beside it, not for who wrote them. Loading
protects from damage, from a swap while it reads, and, where the card is pinned (the animals that
come with sslzoo are, the others by `sha256`), from anyone who can write to the folder. It runs no
operation that reads or writes files, reaches the network or calls Python, and no code from
`encoder.keras`. It does not protect from a model that gives wrong answers, computes for ever or
fills the memory, nor from faults in TensorFlow's own operations: without a pin, load what you
trust. Signatures (OpenSSF model-signing) would be the next step: they say who made it.
"""

import builtins
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import stat
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from absl import logging

from sslzoo.errors import UserError

if TYPE_CHECKING:
    import keras

    from sslzoo import export

# TensorFlow and Keras take seconds to import: only the functions that load a network do.

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


def list(root: pathlib.Path | str | None = None) -> builtins.list[Entry]:
    """Entries under `root`, by name; a folder whose card cannot be read is logged and left out."""
    entries = []
    for card in sorted(_root(root).glob("[!.]*/card.json")):
        try:
            entries.append(_read(card.parent))
        except UserError as error:
            logging.warning("%s", error)
    return entries


def load(
    name: str, root: pathlib.Path | str | None = None, sha256: str | None = None
) -> "export.Export":
    """The SavedModel that the card of `name` names, ready to be called: `sslzoo.export.Export`.

    Its operations are looked at before TensorFlow sees them; the module says what that is good for.

    Args:
        name: of the animal.
        root: folder of the zoo.
        sha256: what `digest` gave when you last trusted it.

    Raises:
        UserError: there is none, its card is not the pinned one, a file is not the card's, or an
            operation is one that no export needs.
    """
    from sslzoo import export

    entry = _find(name, _root(root))
    with _copy(entry, sha256) as folder:
        export.keep_allowed(folder, entry.path)
        return export.Export(folder)


def card(name: str, root: pathlib.Path | str | None = None) -> dict[str, Any]:
    """The card of `name`: what made it."""
    return _find(name, _root(root)).card


def digest(name: str, root: pathlib.Path | str | None = None) -> str:
    """SHA-256 of the card of `name`, as hex: the card holds that of every file."""
    return _find(name, _root(root)).sha256


def encoder(
    name: str, root: pathlib.Path | str | None = None, sha256: str | None = None
) -> "keras.Model":
    """The Keras encoder of `name`, trainable, checked as `load` does, loaded in safe mode."""
    import keras

    from sslzoo import export

    entry = _find(name, _root(root))
    if f"{entry.card['version']}/{export.ENCODER}" not in entry.card["files"]:
        raise UserError(f"Expected an encoder; zoo.load is for the others. Received: {name!r}")
    with _copy(entry, sha256) as folder:
        return keras.saving.load_model(folder / export.ENCODER, compile=False, safe_mode=True)


def open_encoder(spec: str) -> tuple["keras.Model", dict[str, Any]]:
    """The trained Keras encoder that `spec` names, and what its card says of its making.

    Args:
        spec: a name in the zoo, an exported folder, or an `encoder.keras`, which has no card unless
            one lies beside it; or `NAME:` and one of these, for its weights in a new encoder of
            ours: `alexnet:FOLDER` is the AlexNet of an exported `alexnet_cfn`.

    Raises:
        UserError: there is none. The message goes on after "expected".
    """
    import keras

    from sslzoo import encoders
    from sslzoo.encoders import transfer

    new, _, trained = spec.partition(":")
    if trained and new.lower() in encoders.PRESETS:
        (model, card_of), made = open_encoder(trained), encoders.get(new)
        transfer.transplant(made, model)
        return made, card_of
    path = pathlib.Path(spec).expanduser()
    if path.name == "encoder.keras" and (path.parent / "card.json").is_file():
        path = path.parent
    elif spec.endswith(".keras"):
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=True), {}
        except Exception as error:  # of whatever kind: Keras, zip and HDF5 have many
            raise UserError(
                "a model saved by Keras, without code in it. "
                f"Received: {spec}: {' '.join(str(error).split())[:200]}"
            ) from None
    folder = (path / "card.json").is_file()
    name, root = (path.name, path.parent) if folder else (spec, None)
    names = [entry.name for entry in list(root)]
    if name not in names:
        raise UserError(
            f"a name in the zoo ({', '.join(names) or 'none yet'}), an exported folder, or an "
            f"encoder.keras. Received: {spec!r}"
        )
    kept = ("recipe", "dataset", "seed", "created", "image_size")
    return encoder(name, root), {key: card(name, root).get(key) for key in kept}


def _root(root: pathlib.Path | str | None) -> pathlib.Path:
    return pathlib.Path(root or os.environ.get("SSLZOO_ZOO") or _shipped())


def _shipped() -> pathlib.Path:
    """The animals that come with sslzoo: in a wheel inside the package, in a checkout beside it."""
    package = pathlib.Path(__file__).resolve().parent
    inside = package / "exported"
    return inside if inside.is_dir() else package.with_name("exported")


def _copy(entry: Entry, sha256: str | None) -> AbstractContextManager[pathlib.Path]:
    """`export.private_copy` of an entry whose card is the pinned one."""
    from sslzoo import export

    if sha256 is None and pathlib.Path(entry.path).parent.resolve() == _shipped().resolve():
        sha256 = export.SHIPPED.get(entry.name)
    if sha256 not in (None, entry.sha256):
        raise UserError(
            f"{entry.path}/card.json: expected SHA-256 {sha256}; if the change is yours, load it "
            f"with sha256=. Received: {entry.sha256}"
        )
    return export.private_copy(entry.path, entry.card, export.ENCODER)


def _find(name: str, root: pathlib.Path) -> Entry:
    if not isinstance(name, str) or not NAME.fullmatch(name) or ".." in name:
        raise UserError(f"A zoo name is one folder name: letters, digits, _.+-. Received: {name!r}")
    if not (root / name / "card.json").is_file():
        known = ", ".join(entry.name for entry in list(root)) or "none"
        raise UserError(f"No such encoder in {root}; known: {known}. Received: {name!r}")
    return _read(root / name)


def _read(folder: pathlib.Path) -> Entry:
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
        "scores": isinstance(rows, builtins.list) and all(map(_is_row, rows)),
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
