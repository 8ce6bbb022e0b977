"""Files of depth, normals, contours or instances: read in the graph, and checked by their headers.

PNG, OpenEXR, or NPY as `np.save` writes it: version 1, little-endian, rows first.
"""

import dataclasses
import re
import struct

import numpy as np
import tensorflow as tf

from sslzoo.data import exr
from sslzoo.errors import UserError
from sslzoo.images import headers

EXTENSIONS = (".npy", ".exr", ".png")  # all files of a folder are of the first that is there
PNG, EXR = "png", "exr"  # forms of a folder; that of NPY is its dtype, such as <f4
SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
NPY_HEADER = 2**12  # bytes: more than any header of an array of two or three axes has
# `decode_raw` has no wide unsigned integers: the same bytes tell one instance from another.
READ_AS = {"<u4": "<i4", "<u8": "<i8"}


@dataclasses.dataclass(frozen=True)
class Kind:
    """What files of a folder may be.

    Args:
        channels: of the map.
        png: bits and colour types of a PNG; empty for any.
        npy: kinds of dtype, as NumPy abbreviates them.
        expected: all that in words.
    """

    channels: int
    png: tuple[tuple[int, int], ...]
    npy: str
    expected: str


KINDS = {
    "depth": Kind(
        1,
        ((16, 0),),
        "f",
        "a grey PNG of 16 bits in millimetres, a float NPY (H, W) in metres, or an OpenEXR in "
        "metres with one layer's Z, V, Y or R",
    ),
    "normal": Kind(
        3,
        ((8, 2), (8, 6)),
        "f",
        "an RGB PNG of 8 bits, a float NPY (H, W, 3), or an OpenEXR with one layer's XYZ or RGB",
    ),
    "edge": Kind(1, (), "biuf", "a PNG, a NPY (H, W), or an OpenEXR with one layer's Z, V, Y or R"),
    "instance": Kind(
        1,
        (),
        "biu",
        "a PNG or NPY (H, W) of whole numbers, or an OpenEXR with one layer's Z, V, Y or R",
    ),
}

# === Headers ===


def form_of(path):
    """`PNG`, `EXR`, or the dtype of a NPY file; a damaged one has the form "" that no file has."""
    for form in (PNG, EXR):
        if path.lower().endswith(f".{form}"):
            return form
    try:
        return _npy_header(path)[2].str
    except (OSError, ValueError):
        return ""


def check(path, kind, form, size):
    """Raises a `UserError` unless the header is of that kind and form, and of that size.

    Args:
        path: the file.
        kind: its `Kind`.
        form: of the first file of its folder, as all need one.
        size: (height, width) of the image, or None if it is not known.
    """
    try:
        look = {PNG: _png_found, EXR: _exr_found}.get(form, _npy_found)
        found, shape, fits = look(path, kind)
    except UserError:
        raise
    except (OSError, ValueError):
        found, shape, fits = "a damaged file, or one of another kind", size, False
    if not fits:
        raise UserError(f"{path}: expected {kind.expected}. Received: {found}")
    if form not in (PNG, EXR) and (dtype := _npy_header(path)[2].str) != form:
        raise UserError(f"{path}: expected {form}, as the first file has. Received: {dtype}")
    if size and shape != size:
        raise UserError(
            f"{path}: expected {size[0]} x {size[1]} pixels, as its image has. "
            f"Received: {shape[0]} x {shape[1]}"
        )


def _png_found(path, kind):
    """(in words, (height, width), whether it is of that kind)."""
    with open(path, "rb") as file:
        head = file.read(26)
    if len(head) < 26 or not head.startswith(SIGNATURE):
        raise ValueError("no PNG")
    width, height, bits, colour = struct.unpack(">IIBB", head[16:])
    found = f"a PNG of {bits} bits, {COLOURS.get(colour, 'damaged')}"
    return found, (height, width), not kind.png or (bits, colour) in kind.png


def _exr_found(path, kind):
    names, shape = exr.header(path)
    return f"an OpenEXR of {', '.join(names)}", shape, exr.chosen(names, kind.channels) is not None


def _npy_found(path, kind):
    shape, fortran, dtype = _npy_header(path)
    order = ", columns first" if fortran else ", big-endian" if dtype.str[0] == ">" else ""
    axes = shape[2:] in ([(), (1,)] if kind.channels == 1 else [(kind.channels,)])
    fits = len(shape) > 1 and axes and dtype.kind in kind.npy and not order
    return f"a NPY {shape} {dtype}{order}", shape[:2], fits


def _npy_header(path):
    """(shape, whether columns come first, dtype)."""
    with open(path, "rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("another version")
        return np.lib.format.read_array_header_1_0(file)


# === Contents ===


def read(path, kind, form):
    """The path () string of a file -> (H, W, channels), numbers as they are stored.

    Of contours and instances in a PNG the colour is one number, (H, W, 1). Raises
    `InvalidArgumentError` for any other file, and for numbers that are not finite, but for those of
    OpenEXR (see `exr.read`).
    """
    if form == EXR:
        return exr.read(path, kind.channels, tf.float32 if kind.png else tf.int64)
    data = tf.io.read_file(path)
    return _read_png(data, kind) if form == PNG else _read_npy(data, kind, form)


def _read_png(data, kind):
    shape = headers.png(data)
    bits = headers.png_kind(data)
    fits = tf.strings.substr(data, 0, len(SIGNATURE)) == SIGNATURE
    if kind.png:
        # An image of 8 bits would be decoded as one of 16 without a word.
        fits &= tf.reduce_any(tf.reduce_all(bits == tf.constant(kind.png), 1))
    message = f"Expected {kind.expected}. Received bits, colour type:"
    with tf.control_dependencies(
        [headers.check(shape), tf.raw_ops.Assert(condition=fits, data=[message, bits])]
    ):
        data = tf.identity(data)
    if kind.png:
        dtype = tf.uint16 if kind.png[0][0] == 16 else tf.uint8
        return tf.io.decode_png(data, channels=kind.channels, dtype=dtype)
    # Palettes and colours too: one channel would be their brightness.
    colour = tf.cast(tf.io.decode_png(data, channels=3, dtype=tf.uint16), tf.int64)
    return tf.reduce_sum(colour * [2**32, 2**16, 1], -1, keepdims=True)


def _read_npy(data, kind, form):
    dtype = np.dtype(READ_AS.get(form, form))
    head = tf.strings.substr(data, 0, NPY_HEADER) + b"\0" * NPY_HEADER
    length = tf.cast(tf.io.decode_raw(tf.strings.substr(head, 8, 2), tf.uint16)[0], tf.int32)
    # Longer headers fit no pattern.
    header = tf.strings.substr(head, 10, tf.minimum(length, NPY_HEADER))
    last = "(?:, 1)?" if kind.channels == 1 else f", {kind.channels}"
    pattern = (
        rf"\{{'descr': '{re.escape(form)}', 'fortran_order': False, "
        rf"'shape': \((\d+), (\d+){last}\), \}}\s*"
    )
    fits = tf.strings.regex_full_match(header, pattern)
    numbers = tf.strings.regex_replace(header, pattern, r"\1 \2")
    numbers = tf.cond(fits, lambda: numbers, lambda: "0 0")
    shape = tf.strings.to_number(tf.strings.split(numbers), tf.int32)
    whole = tf.cast(tf.strings.length(data), tf.int64)
    pixels = tf.reduce_prod(tf.cast(shape, tf.int64))
    wanted = tf.cast(length + 10, tf.int64) + pixels * kind.channels * dtype.itemsize
    message = f"Expected {kind.expected}. Received bytes, and that should be:"
    enough = tf.raw_ops.Assert(condition=fits & (whole == wanted), data=[message, whole, wanted])
    with tf.control_dependencies([headers.check(shape), enough]):
        body = tf.strings.substr(data, length + 10, 2**31 - 1)
    values = tf.reshape(
        tf.io.decode_raw(body, dtype), tf.concat([shape, [kind.channels]], 0)
    )  # (H, W, channels)
    if dtype.kind != "f":
        return tf.cast(values, tf.int64)
    finite = tf.reduce_all(tf.math.is_finite(values))
    with tf.control_dependencies(
        [tf.raw_ops.Assert(condition=finite, data=["Expected numbers that are finite."])]
    ):
        return tf.cast(values, tf.float32)
