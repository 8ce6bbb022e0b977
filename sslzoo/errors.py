"""What ends a command early and is no bug: something the user can put right, or a signal."""

import contextlib
import pathlib
import signal
import tempfile
from collections.abc import Iterator
from typing import Any, NoReturn

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class UserError(ValueError):
    """Something the user can put right: a flag, a path, a file, a shape.

    The message names it, says what was expected and ends with what was received. The command
    line prints it as one line and exits with code 2; `--debug` shows the traceback.
    """


class Stopped(KeyboardInterrupt):
    """Ctrl-C, or the SIGTERM or SIGHUP of a scheduler; the exit code is 128 + `signum`."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


def stop(signum: int, frame: Any) -> NoReturn:
    """A signal handler: raises `Stopped`."""
    raise Stopped(signum)


def one_line(text: object) -> str:
    """What another library says, as one line that is not too long."""
    return " ".join(str(text).split())[:200]


@contextlib.contextmanager
def writing(path: pathlib.Path | str) -> Iterator[None]:
    """Whatever keeps the file `path` from being written, a full disk say, is a `UserError`."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: expected a file that can be written. Received: {error.strerror or error}"
        ) from None


@contextlib.contextmanager
def replacing(path: pathlib.Path | str) -> Iterator[pathlib.Path]:
    """Yields where to write the file `path`: beside it, and it takes its place when it is whole."""
    path = pathlib.Path(path)
    aside = path.with_name(f".{path.stem}.tmp{path.suffix}")
    with writing(path):
        try:
            yield aside
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def writable_folder(path: pathlib.Path | str, flag: str = "--workdir") -> pathlib.Path:
    """Makes the folder `path` and sees that a file can be written in it.

    Raises:
        UserError: it cannot, or is blank; names the flag.
    """
    if not str(path).strip():
        raise UserError(f"{flag}: expected a folder. Received: {path!r}")
    folder = pathlib.Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise UserError(
            f"{flag}: expected a folder that can be written. Received: {path}: {error.strerror}"
        ) from None
