"""How large an image is by the header of its file, before a byte of it is decoded; in the graph.

A file of half a megabyte may hold an image of a gigabyte. TensorFlow's decoders stop at 2^29 bytes
(PNG), 2^30 (BMP) or not at all (JPEG).
"""

import tensorflow as tf

# The decoder goes over all pixels once a scan, and a byte or two make one. Ten are usual, and the
# thumbnail may have one. 32 over MAX_PIXELS, the dearest that is let through, took 4.7 s; ten 1.4.
MAX_SCANS = 32
SCAN = b"\xff\xda"
# The length and the number of components behind it. Thumbnails have them too, chance does not.
SCAN_HEADERS = [b"\0\x08\x01", b"\0\x0a\x02", b"\0\x0c\x03", b"\0\x0e\x04"]
MARKERS = 1024  # like SCAN: chance makes one in 65,536 bytes of a profile, or of a phone's video
MAX_PIXELS = 2**26  # 201 MB of RGB
BITFIELDS = 3  # a BMP's "compression" that only says which byte is which colour


def jpeg(data):
    """() string -> height and width (2,) int32."""
    return tf.io.extract_jpeg_shape(data)[:2]


def check_scans(data):
    """An op that raises `InvalidArgumentError` if a JPEG () string has more than `MAX_SCANS`."""
    parts = tf.strings.split(data, SCAN, maxsplit=MARKERS)
    begin = tf.reduce_any(tf.strings.substr(parts, 0, 3)[:, None] == SCAN_HEADERS, axis=1)
    # What lies behind the last of so many is not looked at.
    scans = tf.where(tf.size(parts) > MARKERS, MARKERS, tf.reduce_sum(tf.cast(begin, tf.int32)))
    message = f"A JPEG file must have at most {MAX_SCANS} scans. Received:"
    return tf.raw_ops.Assert(condition=scans <= MAX_SCANS, data=[message, scans])


def png(data):
    """() string -> height and width (2,) int32."""
    return _numbers(data, 16, tf.int32, little_endian=False)[::-1]


def png_kind(data):
    """() string -> bits of a channel and colour type (2,) int32."""
    return tf.cast(_numbers(data, 24, tf.uint8), tf.int32)


def gif(data):
    """() string -> height and width (2,) int32 of the screen; frames are not looked at."""
    return tf.cast(_numbers(data, 6, tf.uint16)[::-1], tf.int32)


def bmp(data):
    """() string -> height and width (2,) int32."""
    return tf.abs(_numbers(data, 18, tf.int32)[::-1])  # a negative height means rows from the top


def check_bmp(data):
    """An op that raises `InvalidArgumentError` if the pixels are packed: TensorFlow sees noise."""
    numbers = tf.cast(_numbers(data, 28, tf.uint16, count=3), tf.int32)
    bits, low, high = tf.unstack(numbers, num=3)
    plain = (bits == 8) | (bits == 24) | (bits == 32)
    compression = low + 2**16 * high
    good = plain & ((compression == 0) | (compression == BITFIELDS))
    message = "A BMP file must have 8, 24 or 32 bits a pixel, not compressed. Received bits, kind:"
    return tf.raw_ops.Assert(condition=good, data=[message, bits, compression])


def check(shape, limit=MAX_PIXELS):
    """An op that raises `InvalidArgumentError` if height x width is 0 or more than `limit`."""
    height, width = tf.unstack(tf.cast(shape, tf.int64), num=2)
    message = f"An image must have at most {limit} pixels. Received height and width:"
    small = (height > 0) & (width > 0) & (height * width <= limit)
    # Without the `cond` of `tf.debugging.Assert`, which every image would pay for.
    return tf.raw_ops.Assert(condition=small, data=[message, shape])


def _numbers(data, start, dtype, little_endian=True, count=2):
    """Numbers side by side from byte `start`, as width and height are; 0 where the file ends."""
    # Padded because `substr` beyond the end raises an error with the raw bytes in its message,
    # which TensorFlow's Python side cannot decode.
    head = tf.strings.substr(data, 0, 48) + b"\0" * 48
    raw = tf.strings.substr(head, start, count * dtype.size)
    return tf.io.decode_raw(raw, dtype, little_endian)
