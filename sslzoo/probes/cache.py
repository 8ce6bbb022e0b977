"""Features on disk, by what made them: the weights, the images, and how they were cut."""

import dataclasses
import hashlib
import pathlib
import re
import shutil
import tempfile
import time
import zipfile
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

MOST = 10 * 2**30  # bytes of all features, but for one that is larger alone
ASIDE = "writing-"  # folders of files that are not finished
DAY = 24 * 3600  # seconds: who has not finished by then was killed
VERSION = 1  # higher with each change of what the same images and weights are read as


@dataclasses.dataclass(frozen=True)
class Images:
    """Some images of a source, and their name in the cache.

    Attributes:
        source: labelled, see `sslzoo.data`.
        digest: of what is in it, as hex.
        crop: side of the square that is cut.
        stop: how many.
        seed: of their choice, in random order; None is the first ones in the source's order.
    """

    source: Any
    digest: str
    crop: int
    stop: int
    seed: int | None = None

    def examples(self) -> tf.data.Dataset:
        """Dataset of `image`, `label` and more."""
        options = {"crop": self.crop, "stop": self.stop, "shuffle": self.seed is not None}
        return self.source.examples(seed=self.seed or 0, **options)

    @property
    def name(self) -> str:
        """What says all of it."""
        return f"{VERSION} {self.digest} {self.source.resize} {self.crop} {self.stop} {self.seed}"


class Cached:
    """An `Embedder` that reads `Images` once, and from then on a file.

    Args:
        embed: an `Embedder`, or whatever else has `channels`, `digest` and reads as it does.
        folder: where the files are; they may be deleted at any time. None keeps nothing.
    """

    def __init__(self, embed: Any, folder: pathlib.Path | None) -> None:
        self.embed, self.folder = embed, folder
        self.channels = embed.channels

    @property
    def digest(self) -> str:
        """That of the `embed`."""
        return self.embed.digest

    def __call__(self, images: Images) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """({stage: (N, dims) float32}, labels (N,))."""
        name = hashlib.sha256(f"{self.digest} {images.name}".encode()).hexdigest()
        if not self.folder:
            return self.embed(images.examples())
        path = self.folder / f"{name[:32]}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {key: file[key] for key in file.files}
            logging.info("%d images of %s: from the cache", images.stop, images.source.spec)
            return found, found.pop("")
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logging.warning("%s is read anew: %s", path, error)
        x, y = self.embed(images.examples())
        self._keep(path, {**x, "": y})
        return x, y

    def _keep(self, path: pathlib.Path, arrays: dict[str, Any]) -> None:
        """Whole or not at all, whoever writes beside us; a full disk costs nothing but the file."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            make_room(path.parent, sum(array.nbytes for array in arrays.values()))
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=ASIDE) as aside:
                np.savez(pathlib.Path(aside, "features.npz"), **arrays)
                pathlib.Path(aside, "features.npz").replace(path)
        except OSError as error:
            logging.warning("features are not kept: %s: %s", path, error.strerror or error)


def make_room(folder: pathlib.Path, size: int) -> None:
    """Removes the oldest features, so that `size` more bytes fit, and what was never finished."""
    for path in folder.glob(f"{ASIDE}*"):
        if path.stat().st_mtime < time.time() - DAY:
            shutil.rmtree(path, ignore_errors=True)
    ours = [path for path in folder.glob("*.npz") if re.fullmatch("[0-9a-f]{32}", path.stem)]
    for path in sorted(ours, key=lambda path: path.stat().st_mtime, reverse=True):
        size += path.stat().st_size
        if size > MOST:
            path.unlink(missing_ok=True)
