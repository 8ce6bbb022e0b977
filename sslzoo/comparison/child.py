"""A part of long work in a Python of its own, for it leaves much behind; what it says in a file."""

import json
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from sslzoo.errors import UserError


def run(arguments: list[str], log: pathlib.Path) -> bool:
    """Runs Python, in a session of its own; whether it ended well.

    A signal that stops this process is handed on, once, and waited for: the child saves.
    """
    with log.open("w") as file:
        child = subprocess.Popen(
            [sys.executable, *arguments], stdout=file, stderr=file, start_new_session=True
        )
        try:
            return child.wait() == 0
        except KeyboardInterrupt as stopped:
            child.send_signal(getattr(stopped, "signum", signal.SIGINT))
            child.wait()
            raise


def tell(find: Callable[[], dict[str, Any]]) -> None:
    """The child's side: says what it found, or the error that the user can put right."""
    try:
        found = find()
    except UserError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(json.dumps(found) + "\n")


def answer(log: pathlib.Path) -> dict[str, Any]:
    """What it found, a line of JSON in its log."""
    lines = log.read_text().splitlines()
    return json.loads(next(line for line in lines if line.startswith("{")))


def reason(log: pathlib.Path) -> str:
    """Why it did not end well: the error in its log, or else the last line."""
    lines = [line for line in log.read_text().splitlines() if line]
    errors = (line.removeprefix("error: ") for line in lines if line.startswith("error: "))
    return next(errors, (lines or ["?"])[-1])
