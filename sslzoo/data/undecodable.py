"""Images that cannot be decoded: each is replaced by the next that can, and they are counted."""

import threading

import numpy as np
import tensorflow as tf
from absl import logging

from sslzoo.errors import UserError

BAD_SHARE = 0.01  # of the images may be undecodable; one always may
NAMED = 10  # bad files are named in the log, then only counted


class Undecodable:
    """Those images of a source, as far as they were met.

    Attributes:
        source: a `Source` whose `open` may raise and whose `fetch` returns strings, (n,) or (n, k).
        bad: set of their indices.
        failure: None, or the `UserError` that stopped the run because there are too many.
    """

    def __init__(self, source):
        self.source = source
        self.bad = set()
        self.lock = threading.Lock()
        self.failure = None

    def open_or_replace(self, ds, open_all, crop, ordered):
        """Opens the images of `ds`, a dataset of chunks of keys, by `open_all`.

        A graph cannot catch an error, but a dataset can drop the elements that raise one. Every
        chunk is followed by its stand-in, which never fails. Behind a chunk that was dropped it
        finds itself alone and opens its images one by one; all others leave. So a healthy image
        costs no Python. tf.data is told that Python has no state: where operations are
        deterministic it reads nothing ahead across a function that has. The images depend on
        nothing else indeed; what is noted beside them, `bad`, the log and `failure`, may be noted
        by two iterators at a time.
        """
        shapes = self.source.shapes(crop)

        def opened(key):
            nothing = {name: tf.zeros([0, crop, crop, n]) for name, n in self.source.maps.items()}
            maps = tf.cond(key["stand_in"], lambda: nothing, lambda: open_all(key))
            return {name: key[name] for name in key if name != "raw"} | {"maps": maps}

        def alone(last, key):
            first = key["position"][0]
            return first, (key, ~key["stand_in"] | (last != first))

        def one_by_one(key):
            *maps, index = tf.numpy_function(
                lambda index, place: self._search_each(index, place, crop),
                [key["index"], key["place"]],
                [tf.float32] * len(shapes) + [tf.int64],
                stateful=False,
            )
            return dict(zip(shapes, maps, strict=True)), index

        def replaced(key, _):
            maps, index = tf.cond(
                key["stand_in"], lambda: one_by_one(key), lambda: (key["maps"], key["index"])
            )
            for name, one in shapes.items():
                maps[name].set_shape([None, *one.shape])
            return key | {"maps": maps, "index": tf.ensure_shape(index, [None])}

        ds = ds.map(_twice, **ordered).unbatch()
        ds = ds.map(opened, **ordered).ignore_errors()
        ds = ds.scan(tf.constant(-1, tf.int64), alone).filter(lambda _, wanted: wanted)
        return ds.map(replaced)

    def _search_each(self, index, place, crop):
        """[maps (n, ...), in the order of the source's, ..., indices (n,)] of what is shown."""
        with tf.device("/CPU:0"):
            found = [self._search(*row, crop) for row in zip(index, place, strict=True)]
        rows = [[maps[name].numpy() for name in self.source.maps] + [at] for maps, at in found]
        return [np.stack(column) for column in zip(*rows, strict=True)]

    def _search(self, index, place, crop):
        """(maps, index) of the first that can be decoded, from `index` on."""
        most = self._limit + 2  # one more than images may be bad
        for step in range(most):
            at = (index + step) % self.source.size
            if at in self.bad:
                continue
            try:
                raw = tf.nest.map_structure(lambda x: x[0], self.source.fetch(tf.constant([at])))
                maps = self.source.opened(raw, tf.constant(place), crop)
            except UserError:
                raise
            except Exception:  # whatever it is that a reader in Python raises
                continue
            self._report(index, step)
            return maps, at
        self._report(index, most)  # raises

    @property
    def _limit(self):
        return max(1, int(self.source.size * BAD_SHARE))

    def _report(self, index, step):
        """Notes that the images index .. index + step - 1 are bad; raises if they are too many."""
        with self.lock:
            for i in range(index, index + step):
                self._note(i % self.source.size)
        if len(self.bad) > self._limit or len(self.bad) == self.source.size:
            names = ", ".join(self.source.name(i) for i in sorted(self.bad)[:NAMED])
            self.failure = UserError(
                f"{self.source.spec}: {len(self.bad)} of {self.source.size} images cannot be "
                f"decoded (more than 1 %): {names}"
            )
            raise self.failure

    def _note(self, index):
        """Names one that is bad, once."""
        if index in self.bad:
            return
        self.bad.add(index)
        if len(self.bad) <= NAMED:
            logging.warning("%s cannot be decoded: the next replaces it", self.source.name(index))
        elif len(self.bad) == NAMED + 1:
            logging.warning("further undecodable images are counted, not named")


def _twice(key):
    """A chunk, and its stand-in, which has nothing to open."""
    pair = {name: tf.stack([value, value]) for name, value in key.items() if name != "raw"}
    raw = tf.stack([key["raw"], tf.zeros_like(key["raw"])])
    return pair | {"raw": raw, "stand_in": [False, True]}
