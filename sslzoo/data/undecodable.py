"""Images that cannot be decoded: each is replaced by the next that can, and they are counted."""

import tensorflow as tf
from absl import logging

from sslzoo.data.rows import each
from sslzoo.errors import UserError

BAD_SHARE = 0.01  # of the images may be undecodable; one always may
NONE = -1  # steps to the next good image
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
        self.failure = None

    def open_or_replace(self, ds, open_all, crop, ordered):
        """Opens the images of `ds`, a dataset of chunks of keys, by `open_all`.

        A graph cannot catch an error, but a dataset can drop the elements that raise one. Every
        chunk is followed by its stand-in, which never fails. Behind a chunk that was dropped it
        finds itself alone and opens its images one by one; all others leave. So a healthy image
        costs no Python and no inner dataset (tried: both run in sequence under op determinism).
        """

        def opened(key):
            nothing = {name: tf.zeros([0, crop, crop, n]) for name, n in self.source.maps.items()}
            maps = tf.cond(key["stand_in"], lambda: nothing, lambda: open_all(key))
            return {name: key[name] for name in key if name != "raw"} | {"maps": maps}

        def alone(last, key):
            first = key["position"][0]
            return first, (key, ~key["stand_in"] | (last != first))

        def replaced(key, _):
            maps, index = tf.cond(
                key["stand_in"],
                lambda: self._search_each(key, crop),
                lambda: (key["maps"], key["index"]),
            )
            for name, one in self.source.shapes(crop).items():
                maps[name].set_shape([None, *one.shape])
            return key | {"maps": maps, "index": index}

        ds = ds.map(_twice, **ordered).unbatch()
        ds = ds.map(opened, **ordered).ignore_errors()
        ds = ds.scan(tf.constant(-1, tf.int64), alone).filter(lambda _, wanted: wanted)
        return ds.map(replaced)  # holds Python, so tf.data may run it in sequence: it is cheap

    def _search_each(self, key, crop):
        """(maps, index (n,)) of what can be decoded of a chunk, and of what replaces the others."""
        return each(
            lambda index, place: self._search(index, place, crop),
            [key["index"], key["place"]],
            (self.source.shapes(crop), tf.TensorSpec([], tf.int64)),
            parallel=1,  # each bad image is named once
        )

    def _search(self, index, place, crop):
        """(maps, index) of the first that can be decoded, from `index` on."""

        def attempt(step):
            raw = self.source.fetch((index[None] + step) % self.source.size)
            raw = tf.nest.map_structure(lambda x: x[0], raw)
            return self.source.opened(raw, place, crop), step

        # One step more than images may be bad; NONE is the answer that there is no good one.
        found = tf.data.Dataset.range(self._limit + 2).map(attempt).ignore_errors()
        nothing = {
            name: tf.zeros([crop or 1, crop or 1, n]) for name, n in self.source.maps.items()
        }
        none = tf.data.Dataset.from_tensors((nothing, tf.constant(NONE, tf.int64)))
        maps, step = found.concatenate(none).take(1).get_single_element()
        step = tf.numpy_function(self._report, [index, step], tf.int64)
        return maps, (index + tf.ensure_shape(step, [])) % self.source.size

    @property
    def _limit(self):
        return max(1, int(self.source.size * BAD_SHARE))

    def _report(self, index, step):
        """Notes that the images index .. index + step - 1 are bad; NONE: no good one is near."""
        for i in range(index, index + (self._limit + 2 if step == NONE else step)):
            bad = i % self.source.size
            if bad in self.bad:
                continue
            self.bad.add(bad)
            if len(self.bad) <= NAMED:
                logging.warning("%s cannot be decoded: the next replaces it", self.source.name(bad))
            elif len(self.bad) == NAMED + 1:
                logging.warning("further undecodable images are counted, not named")
        if len(self.bad) > self._limit or step == NONE:
            names = ", ".join(self.source.name(i) for i in sorted(self.bad)[:NAMED])
            self.failure = UserError(
                f"{self.source.spec}: {len(self.bad)} of {self.source.size} images cannot be "
                f"decoded (more than 1 %): {names}"
            )
            raise self.failure
        return step


def _twice(key):
    """A chunk, and its stand-in, which has nothing to open."""
    pair = {name: tf.stack([value, value]) for name, value in key.items() if name != "raw"}
    raw = tf.stack([key["raw"], tf.zeros_like(key["raw"])])
    return pair | {"raw": raw, "stand_in": [False, True]}
