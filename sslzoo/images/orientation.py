"""Which way up a JPEG is: the EXIF tag that cameras write instead of turning pixels; in the graph.

Other kinds of file, where such a tag is rare, are taken as they are stored.
"""

import tensorflow as tf

REACH = 2**13  # the EXIF segment is the first of a file, or behind a short one
ENTRIES = 2**12  # bytes of the segment that are looked at; the tag is among the first
TAG = 0x0112
FLIPPED = [False, False, False, True, True, False, False, True, True]  # top to bottom, by tag
MIRRORED = [False, False, True, True, False, False, True, True, False]  # left to right, by tag


def read(data):
    """A JPEG () string -> () int32 in 1 .. 8, of which 1 is upright or no word of it."""
    head = tf.strings.substr(data, 0, REACH)
    # The raw op: `tf.strings.split` makes a ragged tensor first, and this runs for every image.
    parts = tf.raw_ops.StringSplitV2(input=[head], sep=b"Exif\0\0", maxsplit=1).values
    return tf.cond(tf.size(parts) > 1, lambda: _value(parts[1]), lambda: 1)


def upright(image, orientation):
    """(H, W, C) as it is stored -> as it is to be seen; most cost nothing."""

    def turned():
        swapped = tf.cond(orientation > 4, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        flip, mirror = (tf.gather(which, orientation) for which in (FLIPPED, MIRRORED))
        return tf.reverse(swapped, tf.boolean_mask([0, 1], [flip, mirror]))

    out = tf.cond(orientation == 1, lambda: image, turned)
    out.set_shape([None, None, image.shape[-1]])
    return out


def _value(tiff):
    """Byte order "II" or "MM", 42, where the entries lie; their number; 12 bytes each: tag, ..."""
    padded = tf.strings.substr(tiff, 0, ENTRIES) + b"\0" * ENTRIES
    octets = tf.cast(tf.io.decode_raw(padded, tf.uint8)[:ENTRIES], tf.int32)
    little = octets[0] == ord("I")
    low, high = octets[:-1], octets[1:]
    shorts = tf.where(little, low + 256 * high, 256 * low + high)  # from every byte on
    start = tf.minimum(tf.where(little, shorts[4], shorts[6]), ENTRIES - 16)
    count = tf.minimum(shorts[start], (ENTRIES - 16 - start) // 12)
    at = start + 2 + 12 * tf.range(count)
    values = tf.boolean_mask(tf.gather(shorts, at + 8), tf.gather(shorts, at) == TAG)
    value = tf.concat([values, [1]], 0)[0]
    return tf.where((value >= 1) & (value <= 8), value, 1)
