"""How an export becomes files that a server can poll.

    path/card.json              what made it; names one version and the SHA-256 of its files
    path/encoder.keras          symbolic link to the newest version's own (encoders only)
    path/3/                     a SavedModel, TensorFlow Serving's layout
    path/3/assets.extra/encoder.keras, tf_serving_warmup_requests

A version is built in `path/.tmp-*`, which no server looks at, and published in three steps, each
atomic: rename the version folder, replace the link, replace the card. The card comes last and a
version is never changed afterwards, so whoever reads the card first (`sslzoo.zoo`) sees the old
version whole or the new version whole, wherever a crash falls. A crash between the steps leaves
a complete version that servers may already serve, until the next one is published. Publishers of
one folder wait for each other, so what lies in `.tmp-*` is of one that was killed: it is removed.
"""

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

import sslzoo
from sslzoo.export import warmup

LINK = "encoder.keras"  # to the newest version's own; `cp -rL` and zip make a file of it
ENCODER = "assets.extra/encoder.keras"  # Serving and tf.saved_model ignore what lies there


def publish(
    path: pathlib.Path | str,
    write: Callable[[pathlib.Path], None],
    card: dict[str, Any] | None,
    facts: dict[str, Any],
) -> str:
    """Make what `write(folder)` leaves in a folder the next version under `path`; return that."""
    card = json.loads(json.dumps(card or {}, default=_plain))  # a bad card fails before the work
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        for leftover in path.glob(".tmp-*"):  # of one that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        staging = pathlib.Path(tempfile.mkdtemp(prefix=".tmp-", dir=path))
        try:
            return _publish(path, staging, write, card, facts)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _publish(
    path: pathlib.Path,
    staging: pathlib.Path,
    write: Callable[[pathlib.Path], None],
    card: dict[str, Any],
    facts: dict[str, Any],
) -> str:
    # mkdtemp is private to this user; the folder inside has the permissions a server needs.
    built = staging / "version"
    write(built)
    warmup.write(built, path.resolve().name, facts.get("image_size", 96))
    version = 1 + max(versions(path), default=0)
    card |= {**facts, **_file_facts(built, version)}
    (staging / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    has_encoder = (built / ENCODER).exists()
    os.rename(built, path / str(version))
    if has_encoder:
        (staging / LINK).symlink_to(f"{version}/{ENCODER}")
        os.replace(staging / LINK, path / LINK)
    before = _named(path)
    os.replace(staging / "card.json", path / "card.json")
    for orphan in versions(path) if before else []:
        if before < orphan < version:  # complete, but its publisher was killed before its card
            shutil.rmtree(path / str(orphan), ignore_errors=True)
    return str(path / str(version))


def versions(path: pathlib.Path | str) -> list[int]:
    """Version numbers published under `path`, ascending."""
    return sorted(int(p.name) for p in pathlib.Path(path).iterdir() if p.name.isdecimal())


def sha256(folder: pathlib.Path | str) -> dict[str, str]:
    """SHA-256 of every file under `folder`: {path relative to it: hex digest}."""
    folder = pathlib.Path(folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {file.relative_to(folder).as_posix(): digest(file) for file in files}


def digest(file: pathlib.Path | str) -> str:
    """SHA-256 of one file, as hex."""
    return hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()


@contextlib.contextmanager
def _alone(path: pathlib.Path) -> Iterator[None]:
    """Waits until no other process publishes there; a crash cannot leave this locked."""
    folder = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _named(path: pathlib.Path) -> int:
    """The version that the card names, 0 without a card that can be read."""
    try:
        return int(json.loads((path / "card.json").read_text())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _file_facts(built: pathlib.Path, version: int) -> dict[str, Any]:
    """What the card says of the files themselves."""
    return {
        "version": version,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "sslzoo_version": sslzoo.__version__,
        "keras_version": keras.__version__,
        "tensorflow_version": tf.__version__,
        "files": {f"{version}/{name}": digest for name, digest in sha256(built).items()},
    }


def _plain(value: Any) -> Any:
    """NumPy numbers and arrays, paths: what JSON does not know and a card may hold."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
