"""A folder of image files."""

import collections
import hashlib
import os
import pathlib

import numpy as np
import tensorflow as tf
from absl import logging
from PIL import Image

from sslzoo.data import decode
from sslzoo.data.source import Source
from sslzoo.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp")  # in any case
TEST_PARTS = ("val", "validation", "test")  # val first: where both are, only val has labels
HEADERS = 1000  # read to find images that are too small for the crop


class Folder(Source):
    """JPEG, PNG, GIF (first frame) and BMP files, at any depth, in the order of their paths.

    Parts: a folder that has `train` and `val`, `validation` or `test` sub-folders is split so.
    Of any other (of `train`, where that is all there is), the tenth of the files (rounded down, at
    least one) whose relative paths have the smallest hashes is the test split, the rest is the
    train split.

    Labels: the sub-folder right below the folder, or below its part; sorted by name.

    A subclass may set `below`, where a part has its images.
    """

    can_fail = True
    below = ""

    def __init__(self, spec, split, resize, labels, folder=None):
        super().__init__(spec, split, resize)
        root, parts = find_parts(pathlib.Path(folder or spec).expanduser())
        top = parts.get(split, root) / self.below
        paths = list_images(top)
        if not parts:
            _tell_held_out(root, split, spec.removesuffix(folder or spec))
            paths = held_out(paths, split)
        if not paths:
            raise UserError(
                f"{spec}: expected images for the {split} split ({', '.join(EXTENSIONS)}). "
                f"Received: none in {top}"
            )
        self.size = len(paths)
        self._top = os.fsencode(top)
        self._paths = tf.constant([os.fsencode(path) for path in paths])
        if labels:
            self.class_names = sorted(
                {n for part in parts.values() or [root] for n in _folders(part / self.below)}
            )
            self.labels = tf.constant(_labels(spec, paths, self.class_names), tf.int64)

    def fetch(self, index):
        """(n,) int64 -> (n,) paths."""
        return tf.strings.join([self._top, b"/", tf.gather(self._paths, index)])

    def open(self, raw, place, crop):
        """Reads and decodes the file at the path `raw`."""
        return decode.decode(tf.io.read_file(raw), place, self.resize, crop)

    def name(self, index):
        """Its path below the folder."""
        return os.fsdecode(self._paths[int(index)].numpy())

    def path(self, index):
        """Where it is."""
        return os.path.join(os.fsdecode(self._top), self.name(index))

    def smallest(self):
        """The smallest of a bounded number of files, by their headers."""
        best = None
        step = max(1, self.size // HEADERS)
        for index in range(0, self.size, step):
            path = self.path(index)
            try:
                with Image.open(path) as image:
                    width, height = image.size
            except Exception:  # bad files are the business of the run itself
                continue
            if best is None or min(width, height) < best[0]:
                best = min(width, height), f"{path} of {height} x {width}"
        return best


def list_images(top, extensions=EXTENSIONS):
    """Sorted relative posix paths of the images below `top`; other files are counted and named."""
    paths, others, seen = [], collections.Counter(), set()
    for folder, folders, files in os.walk(top, followlinks=True):
        real, below = os.path.realpath(folder), os.path.relpath(folder, top) + os.sep
        folders[:] = [] if real in seen else [name for name in folders if name[0] != "."]
        if real in seen:  # a link back up: an endless folder otherwise
            continue
        seen.add(real)
        for name in files:
            extension = os.path.splitext(name)[1].lower()
            if name[0] == ".":
                continue
            if extension not in extensions:
                others[extension or "no extension"] += 1
            elif not os.path.isfile(os.path.join(folder, name)):
                others["no regular files"] += 1  # reading a pipe waits for ever
            else:
                paths.append((below + name).replace(os.sep, "/").removeprefix("./"))
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        logging.info("%s: %d files are no images and left out: %s", top, others.total(), kinds)
    return sorted(paths)


def held_out(paths, split):
    """The tenth of `paths` with the smallest hashes for split "test", else the others; in order."""
    by_hash = sorted(paths, key=lambda p: hashlib.blake2b(os.fsencode(p), digest_size=8).digest())
    count = max(len(paths) // 10, 1) if len(paths) > 1 else 0
    return sorted(by_hash[:count] if split == "test" else by_hash[count:])


def _folders(folder):
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and e.name[0] != ".")


def find_parts(root):
    """(where the images are, {"train": path, "test": path} if sub-folders split them or {})."""
    folders = _folders(root)
    test = _test_part(root)
    if "train" in folders and test:
        return root, {"train": root / "train", "test": root / test}
    # A class may well be called "train": with other classes beside it, it is no part.
    return (root / "train" if folders == ["train"] else root), {}


def _test_part(root):
    return next((name for name in TEST_PARTS if (root / name).is_dir()), None)


def _tell_held_out(root, split, prefix):
    """The probe of a folder that is itself a part would test on images of that part."""
    root = root.absolute()
    parent = root.parent
    test = _test_part(parent) if root.name == "train" else None
    if split == "train" and test:
        logging.warning(
            "holding out a tenth of %s for the probe; the parent folder has %s/: use --dataset=%s",
            *(root, test, f"{prefix}{parent}"),
        )


def _labels(spec, paths, class_names):
    number = {name: i for i, name in enumerate(class_names)}
    classes = [path.split("/")[0] if "/" in path else None for path in paths]
    if None in classes:
        raise UserError(
            f"{spec}: labels need one sub-folder per class. "
            f"Received: {paths[classes.index(None)]}, in no sub-folder"
        )
    return np.array([number[name] for name in classes], np.int64)
