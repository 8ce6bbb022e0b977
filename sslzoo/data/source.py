"""What every source is: random access to images, and a dataset in which nothing is left to luck.

The element at position p of `Source.examples` is a pure function of (seed, epoch, index), with
epoch = p // epoch_size and index = a stateless permutation of p % epoch_size. So there is no
shuffle buffer, the shuffle is a true global one, and a run restarted at position k sees exactly
what it would have seen.

Positions are handled in chunks until the images are open, because tf.data costs some 50
microseconds per element and step.
"""

import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sslzoo.data.order import keys
from sslzoo.data.rows import each
from sslzoo.data.undecodable import Undecodable
from sslzoo.errors import UserError

MAPS = {"image": 3, "depth": 1, "normals": 3, "edges": 1}  # of sources that render
CHUNK_PIXELS = 2**20  # of the images opened at once, 12 MB


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

    chunk = 64  # images opened at once, at most
    can_fail = False  # whether `open` meets unchecked bytes; then `fetch` returns n rows of strings
    # name -> channels of what `open` returns
    maps: Mapping[str, int] = types.MappingProxyType({"image": 3})

    def __init__(self, spec: str, split: str, resize: int) -> None:
        self.spec, self.split, self.resize = spec, split, resize
        self.size = 0
        self.class_names: list[str] | None = None
        self.labels: tf.Tensor | None = None
        self.undecodable = Undecodable(self)

    def __len__(self) -> int:
        return self.size

    @property
    def failure(self) -> UserError | None:
        """The `UserError` that stopped the run because too many images are undecodable, or None.

        tf.data can only raise its text.
        """
        return self.undecodable.failure

    # === What a subclass offers ===

    def fetch(self, index: tf.Tensor) -> Any:
        """(n,) int64 -> tensor, or dict of tensors, of n rows."""
        raise NotImplementedError

    def open(self, raw: Any, place: tf.Tensor, crop: int) -> tf.Tensor | dict[str, tf.Tensor]:
        """One row of `fetch` -> (H, W, 3) float32 in [0, 1], resized and cropped at `place`.

        Or a dict of what `maps` names, each (H, W, its channels) float32.
        """
        raise NotImplementedError

    def open_chunk(self, raw: Any, place: tf.Tensor, crop: int) -> tf.Tensor | dict[str, tf.Tensor]:
        """All rows of `fetch`, each at its own `place` (n, 2) -> (n, H, W, 3), or their dict.

        One by one, unless a subclass knows better.
        """
        return each(
            lambda raw, place: self.opened(raw, place, crop), [raw, place], self.shapes(crop)
        )

    def shapes(self, crop: int) -> dict[str, tf.TensorSpec]:
        """Of one image's `maps`, cut to that crop."""
        side = crop or None
        return {name: tf.TensorSpec([side, side, n]) for name, n in self.maps.items()}

    def chunk_of(self, crop: int) -> int:
        """How many images of that crop are opened at once; whole ones have different shapes."""
        return max(1, min(CHUNK_PIXELS // crop**2, self.chunk)) if crop else 1

    def name(self, index: int) -> str:
        """What a message calls image `index`."""
        return f"image {index}"

    def smallest(self) -> tuple[int, str] | None:
        """(side, name): the shorter side of the smallest image, as far as is known, or None."""
        return None

    # === Reading ===

    def read(self, index: int | tf.Tensor) -> tf.Tensor | dict[str, tf.Tensor]:
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
        seed: int = 0,
        crop: int = 0,
        centered: bool = False,
        start: int = 0,
        stop: int | None = None,
        epoch_size: int | None = None,
        shuffle: bool = True,
        table: Sequence[int] | np.ndarray | None = None,
        parallel: int = tf.data.AUTOTUNE,
    ) -> tf.data.Dataset:
        """The dataset of the examples at the positions start <= p < stop.

        Args:
            seed: of the order, the crops and every example's own seed.
            crop: side of the square that is cut: a random one when `shuffle`, else the centre.
                0 gives whole images, of different shapes.
            centered: the centre in any case.
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

        def key(position: tf.Tensor) -> dict[str, Any]:
            key = keys(position, seed, epoch_size, drawn, shuffle, table, centered)
            return {**key, "raw": self.fetch(key["index"])}

        def open_all(key: dict[str, Any]) -> dict[str, tf.Tensor]:
            return self._named(self.open_chunk(key["raw"], key["place"], crop))

        def example(key: dict[str, Any]) -> dict[str, tf.Tensor]:
            example = {**key["maps"], "index": key["index"], "seed": key["seed"]}
            if self.labels is not None:
                example["label"] = tf.gather(self.labels, key["index"])
            return example

        # An order of its own, whatever the dataset's options say: purity is not negotiable.
        ordered = {"num_parallel_calls": parallel, "deterministic": True}
        ds = tf.data.Dataset.range(start, stop).batch(self.chunk_of(crop)).map(key, **ordered)
        if self.can_fail:
            ds = self.undecodable.open_or_replace(ds, open_all, crop, ordered)
        else:
            ds = ds.map(lambda key: key | {"maps": open_all(key)}, **ordered)
        ds = ds.map(example).unbatch()
        return ds.apply(tf.data.experimental.assert_cardinality(max(stop - start, 0)))

    def opened(self, raw: Any, place: tf.Tensor, crop: int) -> dict[str, tf.Tensor]:
        """`open`, always as a dict."""
        return self._named(self.open(raw, place, crop))

    def _named(self, opened: tf.Tensor | dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        opened = opened if isinstance(opened, dict) else {"image": opened}
        if opened.keys() != self.maps.keys():
            raise UserError(
                f"{self.spec}: expected its `maps`, {', '.join(self.maps)}, of every image. "
                f"Received: {', '.join(opened)}"
            )
        return opened

    def _check_crop(self, crop: int) -> None:
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
