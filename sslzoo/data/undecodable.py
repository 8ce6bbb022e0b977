"""Images that cannot be decoded: each is replaced by the next that can, and they are counted."""

import tensorflow as tf
from absl import logging

from sslzoo.errors import UserError

BAD_SHARE = 0.01  # of the images may be undecodable; one always may
NAMED = 10  # bad files are named in the log, then only counted


class Undecodable:
    """Those images of a source, as far as they were met.

    Attributes:
        source: a `Source` whose `open` may raise and whose `fetch` returns (n,) strings.
        bad: set of their indices.
        failure: None, or the `UserError` that stopped the run because there are too many.
    """

    def __init__(self, source):
        self.source = source
        self.bad = set()
        self.failure = None

    def open_or_replace(self, ds, crop, ordered):
        """Opens the images of `ds`, a dataset of chunks of keys.

        A graph cannot catch an error, but a dataset can drop the elements that raise one. Every
        key is followed by its stand-in, which never fails. Behind an image that was dropped it
        finds itself alone and takes the place; all others leave. So a healthy image costs no Python
        and no inner dataset (tried: both run in sequence under op determinism), and images are
        decoded in parallel.
        """

        def opened(key):
            # (0, 0, channels) without a crop
            nothing = {name: tf.zeros([crop, crop, n]) for name, n in self.source.maps.items()}
            maps = tf.cond(
                key["stand_in"],
                lambda: nothing,
                lambda: self.source.opened(key["raw"], key["place"], crop),
            )
            return {name: key[name] for name in key if name != "raw"} | {"maps": maps}

        def alone(last, key):
            wanted = ~key["stand_in"] | (last != key["position"])
            return key["position"], (key, wanted)

        def replaced(key, _):
            maps, index = tf.cond(
                key["stand_in"],
                lambda: self._search(key, crop),
                lambda: (key["maps"], key["index"]),
            )
            for name, channels in self.source.maps.items():
                maps[name].set_shape([crop or None, crop or None, channels])
            return key | {"maps": maps, "index": index}

        ds = ds.map(_twice, **ordered).unbatch()
        ds = ds.map(opened, **ordered).ignore_errors()
        ds = ds.scan(tf.constant(-1, tf.int64), alone).filter(lambda _, wanted: wanted)
        return ds.map(replaced)  # holds Python, so tf.data may run it in sequence: it is cheap

    def _search(self, key, crop):
        """(maps, index) of the next index after that of `key` that can be decoded."""

        def attempt(step):
            index = (key["index"] + step) % self.source.size
            raw = tf.nest.map_structure(lambda x: x[0], self.source.fetch(index[None]))
            return self.source.opened(raw, key["place"], crop), step

        # One step more than images may be bad; step 0 is the answer that there is none.
        found = tf.data.Dataset.range(1, self._limit + 2).map(attempt).ignore_errors()
        none = tf.data.Dataset.from_tensors((key["maps"], tf.zeros([], tf.int64)))
        maps, step = found.concatenate(none).take(1).get_single_element()
        step = tf.numpy_function(self._report, [key["index"], step], tf.int64)
        return maps, (key["index"] + tf.ensure_shape(step, [])) % self.source.size

    @property
    def _limit(self):
        return max(1, int(self.source.size * BAD_SHARE))

    def _report(self, index, step):
        """Notes that the images index .. index + step - 1 are bad; step 0: no good one is near."""
        for i in range(index, index + (step or self._limit + 1)):
            bad = i % self.source.size
            if bad in self.bad:
                continue
            self.bad.add(bad)
            if len(self.bad) <= NAMED:
                logging.warning("%s cannot be decoded: the next replaces it", self.source.name(bad))
            elif len(self.bad) == NAMED + 1:
                logging.warning("further undecodable images are counted, not named")
        if len(self.bad) > self._limit or not step:
            names = ", ".join(self.source.name(i) for i in sorted(self.bad)[:NAMED])
            self.failure = UserError(
                f"{self.source.spec}: {len(self.bad)} of {self.source.size} images cannot be "
                f"decoded (more than 1 %): {names}"
            )
            raise self.failure
        return step


def _twice(key):
    """Rows of a chunk -> each followed by its stand-in, which has no bytes to decode."""
    size = tf.size(key["index"])
    pairs = {name: tf.repeat(key[name], 2, axis=0) for name in key if name != "raw"}
    raw = tf.reshape(tf.stack([key["raw"], tf.zeros_like(key["raw"])], 1), [-1])
    return pairs | {"raw": raw, "stand_in": tf.tile([False, True], [size])}
