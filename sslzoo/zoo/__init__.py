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
import os
import pathlib
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from absl import logging

from sslzoo.errors import UserError, one_line
from sslzoo.zoo.entry import HEADER, NAME, Entry, read

if TYPE_CHECKING:
    import keras

    from sslzoo import export

__all__ = ["HEADER", "Entry", "card", "digest", "encoder", "list", "load", "open_encoder"]

# TensorFlow and Keras take seconds to import: only the functions that load a network do.


def list(root: pathlib.Path | str | None = None) -> builtins.list[Entry]:
    """Entries under `root`, by name; a folder whose card cannot be read is logged and left out."""
    entries = []
    for card in sorted(_root(root).glob("[!.]*/card.json")):
        try:
            entries.append(read(card.parent))
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
    """The trained Keras encoder that `spec` names, float32, and what its card says of its making.

    Args:
        spec: a name in the zoo, an exported folder, or an `encoder.keras`, which has no card unless
            one lies beside it; or `NAME:` and one of these, for its weights in a new encoder of
            ours: `alexnet:FOLDER` is the AlexNet of an exported `alexnet_cfn`.

    Raises:
        UserError: there is none. The message goes on after "expected".
    """
    import keras

    from sslzoo import encoders, precision
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
            loaded = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # of whatever kind: Keras, zip and HDF5 have many
            raise UserError(
                f"a model saved by Keras, without code in it. Received: {spec}: {one_line(error)}"
            ) from None
        return precision.in_policy(loaded, "float32"), {}
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
    package = pathlib.Path(__file__).resolve().parents[1]
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
    return export.private_copy(entry.path, entry.card)


def _find(name: str, root: pathlib.Path) -> Entry:
    if not isinstance(name, str) or not NAME.fullmatch(name) or ".." in name:
        raise UserError(f"A zoo name is one folder name: letters, digits, _.+-. Received: {name!r}")
    if not (root / name / "card.json").is_file():
        known = ", ".join(entry.name for entry in list(root)) or "none"
        raise UserError(f"No such encoder in {root}; known: {known}. Received: {name!r}")
    return read(root / name)
