"""Maps as large as they are stored -> what an example has of them, cut where its image is."""

import tensorflow as tf

from sslzoo.data import decode

NO_NORMAL = 0.5  # a length that differs from 1 by more is no direction: there is no surface


class Window:
    """The pixels of an example, among those that are stored.

    Args:
        shape: (2,) int32, what is stored.
        resize, crop, place: as of `decode.decode`.
    """

    def __init__(self, shape, resize, crop, place):
        self.resize, self.crop, self.place = resize, crop, place
        size = decode.resized_shape(shape, resize) if resize else shape
        corner = decode.offset(size, crop, place) if crop else [0, 0]
        self._stored = []  # rows, columns: of each pixel the nearest, and of one more
        for i in (0, 1):
            at = tf.minimum(corner[i] + tf.range((crop or size[i]) + 1), size[i] - 1)
            at, old, new = (tf.cast(n, tf.int64) for n in (at, shape[i], size[i]))
            self._stored.append((2 * at + 1) * old // (2 * new))
        self.scale = tf.reduce_min(size / shape) if resize else 1.0

    def nearest(self, values, more=0):
        """(H, W, C) -> (h, w, C), with `more=1` one row and one column more; borders repeat."""
        rows, columns = (at if more else at[:-1] for at in self._stored)
        return tf.gather(tf.gather(values, rows), columns, axis=1)


# === Maps as they are stored (H, W, channels) -> those of the example ===


def _depth(values, window):
    return {"depth": window.nearest(values)}


def _normals(values, window):
    values = window.nearest(values)
    length = tf.norm(values, axis=-1, keepdims=True)
    is_one = tf.abs(length - 1) <= NO_NORMAL
    return {"normals": tf.where(is_one, values / tf.maximum(length, NO_NORMAL), 0.0)}


def _edges(values, window):
    on = tf.cast(values != 0, tf.uint8) * 255
    on = decode.fit(on, window.place, window.resize, window.crop)
    # What a line of one pixel has in the middle is the scale; halfway to the next pixel, half.
    least = tf.cast(tf.minimum(window.scale, 1.0), tf.float32) / 2
    return {"edges": tf.cast(on > least, tf.float32)}


def _borders(values, window):
    values = window.nearest(values, more=1)
    here = values[:-1, :-1]
    edges = (here != values[:-1, 1:]) | (here != values[1:, :-1])
    return {"edges": tf.cast(edges, tf.float32)}


CUT = {"depth": _depth, "normal": _normals, "edge": _edges, "instance": _borders}


def checked(values, shape):
    """Values (H, W, channels), which raise `InvalidArgumentError` unless H, W is `shape` (2,)."""
    same = tf.reduce_all(tf.shape(values)[:2] == shape)
    message = "A map must have the size of its image. Received:"
    equal = tf.raw_ops.Assert(condition=same, data=[message, tf.shape(values), shape])
    with tf.control_dependencies([equal]):
        return tf.identity(values)
