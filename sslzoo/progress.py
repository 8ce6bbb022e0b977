"""Work in parts that take minutes each: a line before each part, with the time that is left."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from absl import logging

Part = TypeVar("Part")


def counted(parts: Sequence[Part], name: Callable[[Part], str] = str) -> Iterator[Part]:
    """The parts; before each a line such as `jigsaw (2 of 7, 12 minutes left) ...`."""
    started = time.monotonic()
    for done, part in enumerate(parts):
        minutes = (time.monotonic() - started) / max(done, 1) * (len(parts) - done) / 60
        eta = f", {minutes:.0f} minutes left" if done else ""
        logging.info("%s (%d of %d%s) ...", name(part), done + 1, len(parts), eta)
        yield part
