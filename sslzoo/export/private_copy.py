"""The files that a card vouches for, copied to where nobody else can change them.

A file is hashed as it is copied, so what was checked is what is loaded, whoever writes to the zoo
meanwhile.
"""

import contextlib
import hashlib
import os
import pathlib
import stat
import tempfile
from collections.abc import Iterator
from typing import Any

from sslzoo.errors import UserError
from sslzoo.export.publishing import ENCODER, LINK

BLOCK = 2**20  # bytes that are read at a time


@contextlib.contextmanager
def private_copy(folder: pathlib.Path | str, card: dict[str, Any]) -> Iterator[pathlib.Path]:
    """The version that `card` names, in a folder of this user's own, deleted at the end.

    Args:
        folder: of the entry.
        card: its card, read once.

    Yields:
        pathlib.Path of the version's copy.

    Raises:
        UserError: a file is changed, added, missing or cannot be read, or is no plain file.
    """
    folder, version, listed = pathlib.Path(folder), str(card["version"]), {**card["files"]}
    with tempfile.TemporaryDirectory(prefix="sslzoo-") as private:
        try:
            files = {_name(file, folder): file for file in _plain(folder / version)}
            twin = _twin(folder)
            if twin:
                files[LINK], listed[LINK] = twin, listed.get(f"{version}/{ENCODER}")
            changed = {*files} ^ {*listed}
            for name in {*files} & {*listed}:
                if _copied(files[name], pathlib.Path(private, name)) != listed[name]:
                    changed.add(name)
        except OSError as error:
            raise UserError(f"{folder}: expected files to read. Received: {error}") from None
        if changed:
            raise UserError(
                f"{folder}: expected the files whose SHA-256 is in card.json. "
                f"Received changed, added or missing: {', '.join(sorted(changed))}"
            )
        yield pathlib.Path(private, version)


def _name(file: pathlib.Path, folder: pathlib.Path) -> str:
    return file.relative_to(folder).as_posix()


def _plain(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Every file under `path`, none of them a link, a pipe or a device; nothing if it is not there.

    A link could lead out of the entry, and who opens a pipe waits.
    """
    if not os.path.lexists(path):
        return
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        for item in sorted(path.iterdir()):
            yield from _plain(item)
    elif stat.S_ISREG(mode):
        yield path
    else:
        raise UserError(f"{path}: expected a plain file. Received: {stat.filemode(mode)}")


def _twin(folder: pathlib.Path) -> pathlib.Path | None:
    """The copy of the encoder beside the card, or None where there is none, or the link.

    The link is not compared, since it changes one step before the card does.
    """
    twin = folder / LINK
    if twin.is_symlink():
        if not pathlib.Path(os.path.realpath(twin)).is_relative_to(os.path.realpath(folder)):
            raise UserError(f"{twin}: expected a link into {folder}. Received: {os.readlink(twin)}")
        return None
    return next(_plain(twin), None)


def _copied(source: pathlib.Path, copy: pathlib.Path) -> str:
    """Copies one file; returns the SHA-256 of what the copy holds, as hex."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    # Between the look at it and now it may have become a link or a pipe.
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as read, open(copy, "xb") as write:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UserError(f"{source}: expected a plain file")
        digest = hashlib.sha256()
        while block := read.read(BLOCK):
            digest.update(block)
            write.write(block)
    return digest.hexdigest()
