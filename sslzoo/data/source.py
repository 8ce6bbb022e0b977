"""What every source is: random access to images, and a dataset in which nothing is left to luck.

The element at position p of `Source.examples` is a pure function of (seed, epoch, index), with
epoch = p // epoch_size and index = a stateless permutation of p % epoch_size. So there is no
shuffle buffer, the shuffle is a true global one, and a run restarted at position k sees exactly
what it would have seen.

Positions are handled in chunks: keys are computed and records fetched for a chunk at once, because
tf.data costs some 50 microseconds per element and step. Only decoding happens per image.
"""

import types

import tensorflow as tf
from absl import logging

from sslzoo.data.keys import keys
from sslzoo.errors import UserError

BAD_SHARE = 0.01  # of the images may be undecodable; one always may
NAMED = 10  # bad files are named in the log, then only counted


class Source:
    """Images that can be read in any order.

    A subclass sets `size`, `class_names`, `labels` ((size,) int64 tensor or None), and offers
    `fetch` (a chunk of indices -> what is needed to open them) and `open` (one of those -> image).
    Where an image has maps beside it (depth, normals), `open` returns a dict of all of them, cut
    alike, and `maps` says which: their names become keys of every example.

    Attributes:
        spec, split, resize: as they were given to `load`.
        size: number of images.
        class_names: list of str, or None unless loaded with `labels=True`.
    """

    chunk = 64  # images fetched at once
    can_fail = False  # whether `open` meets unchecked bytes; then `fetch` returns (n,) strings
    maps = types.MappingProxyType({"image": 3})  # name -> channels of what `open` returns
    vectorised = False  # whether `open_chunk` opens a whole chunk at once

    def __init__(self, spec, split, resize):
        self.spec, self.split, self.resize = spec, split, resize
        self.size = 0
        self.class_names = None
        self.labels = None
        self._failure = None
        self._bad = set()

    def __len__(self):
        return self.size

    @property
    def failure(self):
        """The `UserError` that stopped the run because too many images are undecodable, or None.

        tf.data can only raise its text.
        """
        return self._failure

    # === What a subclass offers ===

    def fetch(self, index):
        """(n,) int64 -> tensor, or dict of tensors, of n rows."""
        raise NotImplementedError

    def open(self, raw, place, crop):
        """One row of `fetch` -> (H, W, 3) float32 in [0, 1], resized and cropped at `place`.

        Or a dict of what `maps` names, each (H, W, its channels) float32.
        """
        raise NotImplementedError

    def open_chunk(self, raw, place, crop):
        """All rows of `fetch`, each at its own `place` (n, 2) -> (n, H, W, 3), or their dict."""
        raise NotImplementedError

    def name(self, index):
        """What a message calls image `index`."""
        return f"image {index}"

    def smallest(self):
        """(side, name): the shorter side of the smallest image, as far as is known, or None."""
        return None

    # === Reading ===

    def read(self, index):
        """What `open` makes of `index` () int64, whole: resized, not cropped.

        Bytes that cannot be decoded raise `tf.errors.InvalidArgumentError`.
        """
        index = tf.cast(index, tf.int64)
        raw = tf.nest.map_structure(lambda x: x[0], self.fetch(index[None]))
        return self.open(raw, tf.constant([0.5, 0.5]), 0)

    @tf.autograph.experimental.do_not_convert  # nothing to convert here, and it takes seconds
    def examples(
        self,
        *,
        seed=0,
        crop=0,
        start=0,
        stop=None,
        epoch_size=None,
        shuffle=True,
        table=None,
        parallel=tf.data.AUTOTUNE,
    ):
        """The dataset of the examples at the positions start <= p < stop.

        Args:
            seed: of the order, the crops and every example's own seed.
            crop: side of the square that is cut: a random one when `shuffle`, else the centre.
                0 gives whole images, of different shapes.
            start, stop: positions, counted over all epochs; stop None is the end of the first.
            epoch_size: positions in an epoch; training passes whole batches. Default: `size`.
            shuffle: whether the order and the crops are random.
            table: (n,) indices to draw from in place of 0 .. size - 1; some may be missing,
                others in it many times, each time with another seed. Default: all once.
            parallel: images decoded at the same time.

        Returns:
            Dataset of dicts: `image` (H, W, 3) float32 in [0, 1] and whatever else `maps` names,
            `index` () int64, `seed` (2,) int32, and `label` () int64 if the source was loaded
            with labels.
        """
        self._check_crop(crop)
        drawn = self.size if table is None else len(table)
        epoch_size = drawn if epoch_size is None else epoch_size
        stop = epoch_size if stop is None else stop
        if not 0 < epoch_size <= drawn:
            raise UserError(
                f"{self.spec}: an epoch needs between 1 and {drawn} examples (the batch "
                f"may not be larger than the source). Received: {epoch_size}"
            )

        def chunk(position):
            key = keys(position, seed, epoch_size, drawn, shuffle, table)
            return {**key, "raw": self.fetch(key["index"])}

        def example(key, maps, index):
            example = {**maps, "index": index, "seed": key["seed"]}
            if self.labels is not None:
                example["label"] = tf.gather(self.labels, index)
            return example

        def whole_chunk(position):
            key = chunk(position)
            maps = self._named(self.open_chunk(key["raw"], key["place"], crop))
            return example(key, maps, key["index"])

        def single(key):
            return example(key, self._opened(key["raw"], key["place"], crop), key["index"])

        # An order of its own, whatever the dataset's options say: purity is not negotiable.
        ordered = {"num_parallel_calls": parallel, "deterministic": True}
        ds = tf.data.Dataset.range(start, stop).batch(self.chunk)
        if self.vectorised:
            ds = ds.map(whole_chunk, **ordered).unbatch()
        elif self.can_fail:
            ds = ds.map(lambda position: _twice(chunk(position)), **ordered).unbatch()
            ds = self._open_or_replace(ds, crop, ordered)
            ds = ds.map(lambda key: example(key, key["maps"], key["index"]))
        else:
            ds = ds.map(chunk, **ordered).unbatch().map(single, **ordered)
        return ds.apply(tf.data.experimental.assert_cardinality(max(stop - start, 0)))

    def _opened(self, raw, place, crop):
        """`open`, always as a dict."""
        return self._named(self.open(raw, place, crop))

    def _named(self, opened):
        opened = opened if isinstance(opened, dict) else {"image": opened}
        if opened.keys() != self.maps.keys():
            raise UserError(
                f"{self.spec}: expected its `maps`, {', '.join(self.maps)}, of every image. "
                f"Received: {', '.join(opened)}"
            )
        return opened

    def _check_crop(self, crop):
        if crop and self.resize:
            if self.resize < crop:
                raise UserError(
                    f"--resize must be at least the crop of {crop} pixels that the puzzle is cut "
                    f"from, or 0. Received: --resize={self.resize}"
                )
        elif crop and (found := self.smallest()) and found[0] < crop:
            raise UserError(
                f"{self.spec}: the puzzle is cut from {crop} x {crop} pixels, so every image must "
                f"be that large, or --resize={crop} enlarge it. Received: {found[1]}"
            )

    # === Files that cannot be decoded ===

    def _open_or_replace(self, ds, crop, ordered):
        """Opens the images of `ds`, in which every key is followed by its stand-in.

        A graph cannot catch an error, but a dataset can drop the elements that raise one. Behind
        an image that was dropped its stand-in, which never fails, finds itself alone and takes
        the place; all others leave. So a healthy image costs no Python and no inner dataset
        (tried: both run in sequence under op determinism), and images are decoded in parallel.
        """

        def opened(key):
            # (0, 0, channels) without a crop
            nothing = {name: tf.zeros([crop, crop, n]) for name, n in self.maps.items()}
            maps = tf.cond(
                key["stand_in"],
                lambda: nothing,
                lambda: self._opened(key["raw"], key["place"], crop),
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
            for name, channels in self.maps.items():
                maps[name].set_shape([crop or None, crop or None, channels])
            return key | {"maps": maps, "index": index}

        ds = ds.map(opened, **ordered).ignore_errors()
        ds = ds.scan(tf.constant(-1, tf.int64), alone).filter(lambda _, wanted: wanted)
        return ds.map(replaced)  # holds Python, so tf.data may run it in sequence: it is cheap

    def _search(self, key, crop):
        """(maps, index) of the next index after that of `key` that can be decoded."""

        def attempt(step):
            index = (key["index"] + step) % self.size
            raw = tf.nest.map_structure(lambda x: x[0], self.fetch(index[None]))
            return self._opened(raw, key["place"], crop), step

        # One step more than images may be bad; step 0 is the answer that there is none.
        found = tf.data.Dataset.range(1, self._limit + 2).map(attempt).ignore_errors()
        none = tf.data.Dataset.from_tensors((key["maps"], tf.zeros([], tf.int64)))
        maps, step = found.concatenate(none).take(1).get_single_element()
        step = tf.numpy_function(self._report, [key["index"], step], tf.int64)
        return maps, (key["index"] + tf.ensure_shape(step, [])) % self.size

    @property
    def _limit(self):
        return max(1, int(self.size * BAD_SHARE))

    def _report(self, index, step):
        """Notes that the images index .. index + step - 1 are bad; step 0: no good one is near."""
        for i in range(index, index + (step or self._limit + 1)):
            bad = i % self.size
            if bad in self._bad:
                continue
            self._bad.add(bad)
            if len(self._bad) <= NAMED:
                logging.warning("%s cannot be decoded: the next replaces it", self.name(bad))
            elif len(self._bad) == NAMED + 1:
                logging.warning("further undecodable images are counted, not named")
        if len(self._bad) > self._limit or not step:
            names = ", ".join(self.name(i) for i in sorted(self._bad)[:NAMED])
            self._failure = UserError(
                f"{self.spec}: {len(self._bad)} of {self.size} images cannot be decoded "
                f"(more than 1 %): {names}"
            )
            raise self._failure
        return step


def _twice(key):
    """Rows of a chunk -> each followed by its stand-in, which has no bytes to decode."""
    size = tf.size(key["index"])
    pairs = {name: tf.repeat(key[name], 2, axis=0) for name in key if name != "raw"}
    raw = tf.reshape(tf.stack([key["raw"], tf.zeros_like(key["raw"])], 1), [-1])
    return pairs | {"raw": raw, "stand_in": tf.tile([False, True], [size])}
