"""The files of a request -> images, inside the exported graph.

A bad file raises and costs its request. An image is refused by its header, and `PARALLEL` are
decoded at a time, so memory is bounded whatever the files are. A file that was cut is refused too;
but a JPEG has no checksum, and one with changed bytes inside may decode to another image.
"""

import tensorflow as tf

from sslzoo.images import headers, orientation

MAX_FILES = 256  # of one request: 0.2 MB each for a small network at 64 pixels, several for a large
MAX_BYTES = 2**25  # of one file: one that is noise from end to end decodes in 0.4 s
MAX_TOTAL = 2**28  # bytes of all files of a request
PARALLEL = 4  # images of one request that are decoded at the same time


def squares(image_bytes, size):
    """JPEG or PNG files (N,) string -> (N, size, size, 3) float32 in [0, 1]."""

    def one(contents):
        return tf.clip_by_value(square(decode(contents), size) / 255, 0.0, 1.0)

    signature = tf.TensorSpec((size, size, 3), tf.float32)
    known = checked(image_bytes)
    return tf.map_fn(one, known, fn_output_signature=signature, parallel_iterations=PARALLEL)


def checked(image_bytes):
    """The files (N,) themselves, after a look at their number, lengths and first bytes."""
    count, lengths = tf.size(image_bytes), tf.strings.length(image_bytes)
    length, total = tf.reduce_max(lengths), tf.reduce_sum(tf.cast(lengths, tf.int64))
    jpeg = tf.strings.substr(image_bytes, 0, 3) == b"\xff\xd8\xff"
    png = tf.strings.substr(image_bytes, 0, 8) == b"\x89PNG\r\n\x1a\n"
    bad = tf.where(~(jpeg | png))[:, 0]
    message = "image_bytes must be JPEG or PNG files. Received something else at index:"
    many = f"image_bytes must be at most {MAX_FILES} files. Received:"
    heavy = f"image_bytes must be at most {MAX_TOTAL} bytes together. Received:"
    long = f"image_bytes must be files of at most {MAX_BYTES} bytes. Received one of:"
    checks = [
        tf.debugging.Assert(count <= MAX_FILES, [many, count]),
        tf.debugging.Assert(length <= MAX_BYTES, [long, length]),
        tf.debugging.Assert(total <= MAX_TOTAL, [heavy, total]),
        tf.debugging.Assert(tf.size(bad) == 0, [message, bad]),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(image_bytes)


def decode(contents, limit=headers.MAX_PIXELS):
    """One JPEG or PNG file () string of at most `limit` pixels -> (H, W, 3) uint8, upright."""

    def jpeg():
        with tf.control_dependencies([headers.check_scans(contents)]):
            return headers.jpeg(contents), orientation.read(contents)

    shape, way_up = tf.cond(
        tf.io.is_jpeg(contents), jpeg, lambda: (headers.png(contents), tf.constant(1))
    )
    with tf.control_dependencies([headers.check(shape, limit)]):
        contents = tf.identity(contents)
    # The JPEG op reads PNG too, and decodes alike on every machine when told the DCT.
    image = tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE")
    return orientation.upright(image, way_up)


def square(images, size):
    """(..., H, W, 3) -> (..., size, size, 3) float32: the largest centred square, resized."""
    height, width = tf.unstack(tf.shape(images)[-3:-1])
    side = tf.minimum(height, width)
    # Cropped before resizing: the other order would blow up a 1 x 50,000 image.
    top, left = (height - side) // 2, (width - side) // 2
    middle = images[..., top : top + side, left : left + side, :]
    return tf.image.resize(middle, (size, size), antialias=True)
