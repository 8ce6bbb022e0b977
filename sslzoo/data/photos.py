"""The built-in source: large random crops from the photographs that lie in scikit-image's wheel."""

import importlib.util
import pathlib

import numpy as np
import tensorflow as tf

from sslzoo.data import decode
from sslzoo.data.order import fold, uniform
from sslzoo.data.source import Source
from sslzoo.errors import UserError

# Photographs only: no diagrams, text, microscopy. motorcycle_right is left out because it shows
# what motorcycle_left shows. None needs scikit-image's download.
STEMS = (
    *("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel"),
    *("hubble_deep_field", "moon", "motorcycle_left", "rocket"),
)
CROPS = {"train": 250, "test": 50}  # per photograph
SMALLEST = 0.5  # side of a crop, of the shorter side of its region


class Photos(Source):
    """Image `i` is a fixed square of photograph `i % n`; its size and place are a hash of `i`.

    Train and test squares come from the two halves of each photograph, cut across its longer
    side. Halves are the largest two disjoint regions, and give both splits crops of equal size.
    """

    def __init__(self, split, resize, labels, folder=None):
        super().__init__("photos", split, resize)
        images = _load(folder or wheel())
        self.stems = list(images)
        self.size = CROPS[split] * len(images)
        # Decoded once, nothing in the hot path.
        shapes = np.array([image.shape[:2] for image in images.values()], np.int32)
        stack = np.zeros([len(images), *shapes.max(0), 3], np.uint8)
        for row, image in zip(stack, images.values(), strict=True):
            row[: image.shape[0], : image.shape[1]] = image
        self._stack = tf.constant(stack)
        self._regions = tf.constant([region(shape, split) for shape in shapes])
        if labels:
            self.class_names = self.stems
            self.labels = tf.range(self.size, dtype=tf.int64) % len(images)

    def fetch(self, index):
        """(n,) int64 -> (n, 4) int32: photograph, top, left and side of each square."""
        photo = index % len(self.stems)
        box = tf.gather(self._regions, photo)  # (n, 4): top, left, height, width
        key = fold(tf.cast(index, tf.uint64), 0 if self.split == "train" else 1)
        short = tf.cast(tf.reduce_min(box[:, 2:], axis=1), tf.float32)
        share = SMALLEST + (1 - SMALLEST) * uniform(fold(key, 1))[:, 0]
        side = tf.cast(tf.math.ceil(short * share), tf.int32)
        corner = box[:, :2] + decode.offset(box[:, 2:], side[:, None], uniform(key))
        return tf.concat([tf.cast(photo, tf.int32)[:, None], corner, side[:, None]], 1)

    def open(self, raw, place, crop):
        """Cuts the square out of its photograph."""
        photo, top, left, side = tf.unstack(raw)
        square = tf.slice(self._stack, [photo, top, left, 0], [1, side, side, 3])[0]
        return decode.fit(square, place, self.resize, crop)

    def name(self, index):
        """Its photograph."""
        return f"{self.stems[index % len(self.stems)]}, crop {index}"

    def smallest(self):
        """The least side that a crop may have."""
        sides = tf.reduce_min(self._regions[:, 2:], axis=1).numpy()
        side = int(np.ceil(sides.min() * SMALLEST))
        return side, f"a crop of {side} x {side} from {self.stems[sides.argmin()]}"


def region(shape, split):
    """(height, width) -> (top, left, height, width) of the half that belongs to `split`."""
    height, width = (int(n) for n in shape)
    if width >= height:
        half = width // 2
        return (0, 0, height, half) if split == "train" else (0, half, height, width - half)
    half = height // 2
    return (0, 0, half, width) if split == "train" else (half, 0, height - half, width)


def wheel():
    """The folder of scikit-image's photographs, found without importing scikit-image."""
    found = importlib.util.find_spec("skimage")
    if found is None:
        raise UserError(
            "--dataset=photos needs the photographs of scikit-image (pip install scikit-image). "
            "Received: a Python without it"
        )
    return pathlib.Path(found.origin).parent / "data"


def _load(folder):
    """Decodes what there is of STEMS: dict of stem -> (H, W, 3) uint8."""
    images = {}
    for stem in STEMS:
        for path in (folder / f"{stem}.png", folder / f"{stem}.jpg"):
            if path.is_file():
                data = tf.io.read_file(str(path))
                images[stem] = tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
                break
    if not images:
        raise UserError(
            f"--dataset=photos expects the photographs of scikit-image's wheel, such as "
            f"{STEMS[0]}.png. Received: none of them in {folder}"
        )
    return images
