"""OpenEXR files, as renderers write depth, normals and numbers of instances; wants the extra `exr`.

Of a file of several parts the first is read. A channel is known by what follows the last dot of its
name, so layers such as `ViewLayer.Depth.Z` are found.
"""

import itertools
import os

import numpy as np
import tensorflow as tf

from sslzoo.errors import UserError

# Channels of the file, by those of the map; the first that are there. Blender's V is a value.
NAMES = {1: ("Z", "V", "Y", "R"), 3: ("XYZ", "RGB")}
# The largest half: renderers write that, 1e10 or infinity where a ray hits nothing.
NOWHERE = 65504.0


def header(path):
    """(names of the channels, (height, width)); raises ValueError for a damaged file."""
    found = _opened(path, header_only=True).header()
    low, high = found["dataWindow"]
    names = [channel.name for channel in found["channels"]]
    return names, tuple(int(n) + 1 for n in (high - low)[::-1])


def chosen(names, channels):
    """Which of a file's channels make a map of 1 or 3; None if none do, or those of two layers."""
    if channels == 1 and len(names) == 1:
        return list(names)
    last = {}
    for name in names:
        last.setdefault(name.rpartition(".")[2], []).append(name)
    for wanted in NAMES[channels]:
        found = [last.get(letter, []) for letter in wanted]
        if all(found):
            return [*itertools.chain(*found)] if max(map(len, found)) == 1 else None
    return None


def read(path, channels, dtype):
    """() string -> (H, W, channels) of that dtype.

    float32 are measures: what is not below `NOWHERE` is 0. int64 are names: floats by their bits.
    Raises `InvalidArgumentError`, outside of graphs ValueError, for a damaged file, for NaN in
    measures, and if `chosen` finds nothing.
    """
    values = tf.numpy_function(
        lambda path: _read(path, channels, dtype), [path], dtype, stateful=False
    )
    return tf.ensure_shape(values, (None, None, channels))


def _read(path, channels, dtype):
    path = os.fsdecode(np.asarray(path).item())
    there = _opened(path, separate_channels=True).channels()
    names = chosen([*there], channels)
    if not names:
        raise ValueError("Expected other channels.")
    values = np.stack([there[name].pixels for name in names], -1)
    if dtype == tf.int64:
        values = values if values.dtype.kind == "u" else values.astype(np.float32).view(np.int32)
        return values.astype(np.int64)
    if np.isnan(values).any():
        raise ValueError("Expected numbers that are not NaN.")
    return np.where(values < NOWHERE, values, 0).astype(np.float32)


def _opened(path, **options):
    """Raises ValueError, whatever the library raises."""
    try:
        import OpenEXR
    except ImportError:
        raise UserError(
            f"{path}: expected `pip install -e '.[exr]'` for OpenEXR. Received: no such library"
        ) from None
    try:
        file = OpenEXR.File(path, **options)
        file.header()
        return file
    except Exception as error:
        raise ValueError("a damaged OpenEXR file") from error
