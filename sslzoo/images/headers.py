"""How large an image is by the header of its file, before a byte of it is decoded; in the graph.

A file of half a megabyte may hold an image of a gigabyte. TensorFlow's decoders stop at 2^29 bytes
(PNG), 2^30 (BMP) or not at all (JPEG).
"""

import tensorflow as tf

MAX_PIXELS = 2**26  # 201 MB of RGB


def jpeg(data):
    """() string -> height and width (2,) int32."""
    return tf.io.extract_jpeg_shape(data)[:2]


def png(data):
    """() string -> height and width (2,) int32."""
    return _numbers(data, 16, tf.int32, little_endian=False)


def gif(data):
    """() string -> height and width (2,) int32 of the screen; frames are not looked at."""
    return tf.cast(_numbers(data, 6, tf.uint16), tf.int32)


def bmp(data):
    """() string -> height and width (2,) int32."""
    return tf.abs(_numbers(data, 18, tf.int32))  # a negative height means rows from the top


def check(shape, limit=MAX_PIXELS):
    """An op that raises `InvalidArgumentError` if height x width is 0 or more than `limit`."""
    height, width = tf.unstack(tf.cast(shape, tf.int64), num=2)
    message = f"An image must have at most {limit} pixels. Received height and width:"
    small = (height > 0) & (width > 0) & (height * width <= limit)
    # Without the `cond` of `tf.debugging.Assert`, which every image would pay for.
    return tf.raw_ops.Assert(condition=small, data=[message, shape])


def _numbers(data, start, dtype, little_endian=True):
    """Width and height side by side from byte `start` -> height, width; 0 where the file ends."""
    # Padded because `substr` beyond the end raises an error with the raw bytes in its message,
    # which TensorFlow's Python side cannot decode.
    head = tf.strings.substr(data, 0, 32) + b"\0" * 32
    raw = tf.strings.substr(head, start, 2 * dtype.size)
    return tf.io.decode_raw(raw, dtype, little_endian)[::-1]
