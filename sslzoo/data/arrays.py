"""`name.npz`: images of one size, held in memory and read a chunk at a time."""

import os
import pathlib
import zipfile
import zlib

import numpy as np
import tensorflow as tf

from sslzoo.data import decode
from sslzoo.data.source import Source
from sslzoo.errors import UserError

NOT_NPZ = (
    *(OSError, ValueError, EOFError, AttributeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)
MAX_CLASSES = 100_000  # each has a name, and a column of a probe: a wrong label may ask for 10^9
CHUNK_PIXELS = 2**19  # a chunk of float images stays at some 6 MB


class Arrays(Source):
    """`x_train`, `x_test` (N, H, W, 3) or (N, H, W) uint8; optional `y_train`, `y_test` (N,)
    integers and `class_names`.

    All images have one size, so a whole chunk is gathered, resized and cropped at once.
    """

    def __init__(self, spec, split, resize, labels):
        super().__init__(spec, split, resize)
        wanted = [f"x_{split}"] + (["y_train", "y_test", "class_names"] if labels else [])
        arrays = _load(spec, wanted)
        images = arrays.get(f"x_{split}")
        _check_images(spec, f"x_{split}", images)
        self.size, self.height, self.width = images.shape[:3]
        # Row by row in memory, which a file need not be: else a chunk is gathered byte by byte.
        self._images = np.ascontiguousarray(images).reshape(*images.shape[:3], -1)
        self.chunk = int(np.clip(CHUNK_PIXELS // (self.height * self.width), 1, 256))
        if labels:
            self.class_names, y = _labels(spec, split, arrays, self.size)
            self.labels = tf.constant(y)

    def fetch(self, index):
        """(n,) int64 -> (n, H, W, 3) uint8."""
        # By NumPy: tf.data rewrites its graph and keeps a copy of each tensor that a function
        # captures, and reads nothing ahead of a variable, which has a state.
        rows = tf.numpy_function(lambda i: self._images[i], [index], tf.uint8, stateful=False)
        images = tf.ensure_shape(rows, [*index.shape, *self._images.shape[1:]])
        return images if images.shape[-1] == 3 else tf.repeat(images, 3, axis=-1)

    def open(self, raw, place, crop):
        """One image."""
        return self.open_chunk(raw[None], place[None], crop)[0]

    def open_chunk(self, raw, place, crop):
        """(n, H, W, 3) uint8, each cut at its own `place` (n, 2) -> (n, h, w, 3) float32."""
        shape = tf.constant([self.height, self.width])
        images = raw
        if self.resize and self.resize != min(self.height, self.width):
            size = decode.resized_shape(shape, self.resize)
            scale = tf.cast(size / shape, tf.float32)
            images, shape = decode.resample(raw, scale, tf.zeros([2]), size), size
        if crop:
            corner = decode.offset(shape[None], crop, place)  # (n, 2)
            rows = corner[:, :1] + tf.range(crop)  # (n, crop)
            columns = corner[:, 1:] + tf.range(crop)
            images = tf.gather(images, rows, axis=1, batch_dims=1)
            images = tf.gather(images, columns, axis=2, batch_dims=1)
        return images if images.dtype == tf.float32 else decode.to_float(images)

    def chunk_of(self, crop):
        """Whatever the crop: they are gathered whole."""
        return self.chunk

    def name(self, index):
        """Its row."""
        return f"x_{self.split}[{index}]"

    def smallest(self):
        """They are all alike."""
        return min(self.height, self.width), f"images of {self.height} x {self.width}"


def _load(spec, wanted):
    """Reads those of the `wanted` arrays that the file has."""
    path = pathlib.Path(spec).expanduser()
    try:
        if not zipfile.is_zipfile(path) and path.exists():
            raise zipfile.BadZipFile("a file of another kind")  # NumPy would guess, and say pickle
        with np.load(path, allow_pickle=False) as file:
            _check_memory(spec, file, wanted)
            return {key: file[key] for key in wanted if key in file.files} | {"": file.files}
    except FileNotFoundError:
        raise UserError(f"--dataset: expected an .npz file. Received: {spec}, not there") from None
    except UserError:
        raise
    except NOT_NPZ as error:
        raise UserError(
            f"{spec}: expected a NumPy .npz archive of plain arrays (x_train, x_test, ...; no "
            f"pickled objects). Received: {type(error).__name__}: {error}"
        ) from None


def memory():
    """Bytes of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _check_memory(spec, file, wanted):
    """Compressed zeros may be a thousand times their file."""
    names = {f"{key}.npy" for key in wanted}
    size = sum(member.file_size for member in file.zip.infolist() if member.filename in names)
    if size > memory():
        raise UserError(
            f"{spec}: expected arrays of at most {memory():,} bytes, the memory of this machine. "
            f"Received: {size:,} bytes"
        )


def _check_images(spec, key, images):
    expected = f"{spec}: expected {key} of shape (N, H, W, 3) or (N, H, W), dtype uint8"
    if images is None:
        raise UserError(f"{expected}. Received: a file without {key}")
    if images.dtype != np.uint8 or not (
        images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))
    ):
        raise UserError(f"{expected}. Received: {images.shape} {images.dtype}")
    if not images.size:
        raise UserError(f"{expected}, with at least one image. Received: {images.shape}")


def _labels(spec, split, arrays, size):
    """(class names, (size,) int64), checked."""
    key = f"y_{split}"
    if key not in arrays:
        found = ", ".join(arrays[""])
        raise UserError(f"{spec}: labels need the array {key}. Received: only {found}")
    y = {k: v.reshape(-1) for k, v in arrays.items() if k.startswith("y_")}  # (N, 1) is common
    for k, v in y.items():
        if not np.issubdtype(v.dtype, np.integer) or (v.size and v.min() < 0):
            raise UserError(
                f"{spec}: expected {k} of integers 0, 1, ... Received: {v.dtype}"
                + (f", least value {v.min()}" if np.issubdtype(v.dtype, np.integer) else "")
            )
        if v.size and v.max() >= MAX_CLASSES:
            raise UserError(
                f"{spec}: expected {k} of labels below {MAX_CLASSES:,}. Received: {v.max()}"
            )
    if len(y[key]) != size:
        raise UserError(
            f"{spec}: expected {key} of as many labels as there are images, {size}. "
            f"Received: {arrays[key].shape}"
        )
    classes = 1 + max(int(v.max(initial=0)) for v in y.values())
    names = [str(name) for name in arrays.get("class_names", np.arange(classes)).reshape(-1)]
    if len(names) < classes:
        raise UserError(
            f"{spec}: expected a class name for each label up to {classes - 1}. "
            f"Received: {len(names)} class_names"
        )
    return names, y[key].astype(np.int64)
