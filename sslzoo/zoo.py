"""The zoo is a folder: every sub-folder with a `card.json` (see `sslzoo.export`) is an animal.

    zoo.list()                 what there is
    zoo.load("rotation")       a SavedModel: .embed(images), .embed_bytes(files), .features(images)
    zoo.encoder("rotation")    a Keras model, to train on

`root` is the folder: the argument, or the environment variable SSLZOO_ZOO, or `exported/` beside
the package in a checkout, or `./exported`. A name is one plain folder name, never a path: to load
from elsewhere, say so with `root`. A checksum guards against damage, not against an enemy who can
write the card as well.
"""

import dataclasses
import json
import os
import pathlib
import re

import keras
import tensorflow as tf
from absl import logging

from sslzoo import export
from sslzoo.errors import UserError

HEADER = f"{'name':<24} {'recipe':<16} {'images':<20} {'best linear probe':<28} size"
SCORES = ("accuracy", "random_accuracy")  # of a card's rows, one a stage


@dataclasses.dataclass(frozen=True)
class Entry:
    """One exported encoder: its folder, and its card as a dict."""

    name: str
    path: str
    card: dict

    def __str__(self):
        """One line: name, recipe, data, best stage beside the best of random init, size."""
        card = self.card
        rows, data = card.get("scores") or [], card.get("dataset") or {}
        best = [max((row.get(key) or 0 for row in rows), default=0) for key in SCORES]
        score = "not probed" if not rows else f"{best[0]:.1%} (random init {best[1]:.1%})"
        folder = pathlib.Path(self.path, str(card["version"]))
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        about = f"{card.get('recipe', '?'):<16} {pathlib.Path(data.get('name', '?')).name:<20}"
        return f"{self.name:<24} {about} {score:<28} {size / 1e6:.1f} MB"


def list(root=None):
    """Entries under `root`, by name; a folder whose card cannot be read is logged and left out."""
    entries = []
    for card in sorted(_root(root).glob("[!.]*/card.json")):
        try:
            entries.append(_read(card.parent))
        except UserError as error:
            logging.warning("%s", error)
    return entries


def load(name, root=None):
    """The SavedModel that the card of `name` names, checked against its SHA-256.

    Keep it in a variable: TensorFlow frees the weights with it, so `load(name).embed(x)` fails.
    """
    return tf.saved_model.load(str(_verified(name, root)))


def card(name, root=None):
    """The card of `name`: what made it."""
    return _find(name, _root(root)).card


def encoder(name, root=None):
    """The Keras encoder of `name`, trainable, checked against its SHA-256, loaded in safe mode."""
    file = _verified(name, root) / export.ENCODER
    if not file.exists():
        raise UserError(f"Expected an encoder; zoo.load is for the others. Received: {name!r}")
    return keras.saving.load_model(file, compile=False, safe_mode=True)


def open_encoder(spec):
    """The trained Keras encoder that `spec` names, and what its card says of its making.

    Args:
        spec: a name in the zoo, an exported folder, or an `encoder.keras`, which has no card unless
            one lies beside it.

    Raises:
        UserError: there is none. The message goes on after "expected".
    """
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


def _root(root):
    if root is None:
        beside = pathlib.Path(__file__).resolve().parents[1] / "exported"
        root = os.environ.get("SSLZOO_ZOO") or (beside if beside.is_dir() else "exported")
    return pathlib.Path(root)


def _verified(name, root):
    """Folder of the version that the card names, every file of it as the card says."""
    entry = _find(name, _root(root))
    version = str(entry.card["version"])
    folder = pathlib.Path(entry.path, version)
    found = {f"{version}/{file}": digest for file, digest in export.sha256(folder).items()}
    # A regular file here is a copy made through the link (`cp -rL`, a zip); the link itself is not
    # compared, since it changes one step before the card does.
    twin = pathlib.Path(entry.path, "encoder.keras")
    if twin.is_file() and not twin.is_symlink():
        found["encoder.keras"] = export.digest(twin)
    listed = {**entry.card["files"]}
    if "encoder.keras" in found:
        listed["encoder.keras"] = listed.get(f"{version}/{export.ENCODER}")
    changed = sorted(f for f in {*found, *listed} if found.get(f) != listed.get(f))
    if changed:
        raise UserError(
            f"{entry.path}: expected the files whose SHA-256 is in card.json. "
            f"Received changed, added or missing: {', '.join(changed)}"
        )
    return folder


def _find(name, root):
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]*", name) or ".." in name:
        raise UserError(f"A zoo name is one folder name: letters, digits, _.+-. Received: {name!r}")
    if not (root / name / "card.json").is_file():
        known = ", ".join(entry.name for entry in list(root)) or "none"
        raise UserError(f"No such encoder in {root}; known: {known}. Received: {name!r}")
    return _read(root / name)


def _read(folder):
    try:
        card = json.loads((folder / "card.json").read_text())
        complete = isinstance(card["version"], int) and isinstance(card["files"], dict)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}/card.json: expected a card. Received: {error!r}") from None
    if not complete or f"{card['version']}/saved_model.pb" not in card["files"]:
        raise UserError(f"{folder}/card.json: expected an integer version and its files' SHA-256.")
    return Entry(folder.name, str(folder), card)
