"""The folder of a run: one process at a time, the same flags, the same images."""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import pathlib

import numpy as np
import tensorflow as tf
from absl import logging

from sslzoo import data
from sslzoo.errors import UserError, replacing, writing
from sslzoo.flags import signature

LOOKED_AT = 64  # images whose bytes tell whether a source is the same
FIRST_BYTES = 2**20  # of a file


def lock(workdir):
    """Keeps other processes out of a folder until this one ends, in whatever way it does.

    Raises:
        UserError: another one is in it.
    """
    path = (workdir / "lock").resolve()
    with writing(path):
        path.touch()
        found = path.stat()
    _locked(path, found.st_dev, found.st_ino)


@functools.cache  # a later run of this process may go on in the folder; a new folder is another one
def _locked(path, device, inode):
    with writing(path):
        file = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(file, 20).decode("ascii", "replace") or "of unknown number"
        os.close(file)
        raise UserError(
            f"--workdir: expected a folder that no other run is in. "
            f"Received: {path.parent}, held by process {holder}"
        ) from None
    except OSError as error:  # some network file systems
        logging.warning("%s cannot be locked (%s): start no second run in it", path, error.strerror)
    with writing(path):
        os.ftruncate(file, 0)
        os.write(file, str(os.getpid()).encode())
    return file


def has_trained(workdir):
    """Whether there is something to resume, or to lose."""
    return bool([*workdir.glob("checkpoints/*"), *workdir.glob("log.csv")])


def claim_flags(workdir, flags, defaults, may_differ):
    """Writes `flags.txt`; where something was trained, checks that they are the same.

    A flag that is not in the file was added to the recipe later: it had its default.
    """
    path = workdir / "flags.txt"
    if not path.exists() or not has_trained(workdir):
        with replacing(path) as aside:
            aside.write_text("".join(f"--{name}={value}\n" for name, value in flags.items()))
        return
    before = defaults | signature.read(read_text(path))
    differ = [
        f"--{name}={before.get(name)} (then) but {value} (now)"
        for name, value in flags.items()
        if before.get(name) != str(value) and name not in may_differ
    ]
    if differ:
        raise UserError(
            f"--workdir: expected the flags that {workdir} was started with, or a new folder. "
            f"Received: {'; '.join(differ)}"
        )


def claim_images(workdir, source):
    """Writes `images.json`; where something was trained, checks that the images are the same.

    A folder that was made before there was such a file gets one.
    """
    path, now = workdir / "images.json", fingerprint(source)
    if not path.exists() or not has_trained(workdir):
        with replacing(path) as aside:
            aside.write_text(json.dumps(now, indent=1))
        return
    try:
        then = json.loads(read_text(path))
        differ = _difference(then, now)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path}: expected what was written at the start; remove it if the images are still "
            f"the same. Received: a damaged file"
        ) from None
    if differ:
        raise UserError(
            f"--dataset: expected the images that {workdir} was started with, or a new --workdir. "
            f"Received: {source.spec}, {differ}"
        )


def fingerprint(source):
    """`images`: how many; `sha256`: of the bytes of some, by name, evenly spaced.

    Of sources in a pair both are looked at.
    """
    if isinstance(source, data.Paired):
        first, second = fingerprint(source.first), fingerprint(source.second)
        again = {f"second: {name}": sha for name, sha in second["sha256"].items()}
        return {"images": first["images"], "sha256": first["sha256"] | again}
    index = np.unique(np.linspace(0, source.size - 1, LOOKED_AT).astype(np.int64))
    columns = [column.numpy() for column in tf.nest.flatten(source.fetch(tf.constant(index)))]
    rows = zip(index, *columns, strict=True)
    return {
        "images": source.size,
        "sha256": {source.name(i): _digest(parts) for i, *parts in rows},
    }


def _digest(parts):
    """Of what `fetch` brings of one image; of a path, the file."""
    digest = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else part.tobytes()
        if isinstance(part, bytes) and os.path.isfile(part):
            # One that cannot be read is the business of the run.
            with contextlib.suppress(OSError), open(part, "rb") as file:
                content = b"%d " % os.fstat(file.fileno()).st_size + file.read(FIRST_BYTES)
        digest.update(content)
    return digest.hexdigest()


def _difference(then, now):
    if then["images"] != now["images"]:
        return f"{then['images']} images (then) but {now['images']} (now)"
    changed = [name for name, sha in now["sha256"].items() if then["sha256"].get(name) != sha]
    if changed:
        return f"where {changed[0]} and {len(changed) - 1} more of {len(now['sha256'])} differ"
    return None


def read_text(path):
    """The text of a file of ours.

    Raises:
        UserError: it is none.
    """
    try:
        return pathlib.Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected the text that a run wrote. Received: {error}") from None
