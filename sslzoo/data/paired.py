"""Two sources side by side, such as synthetic images with maps and photographs without."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sslzoo.data.source import Source
from sslzoo.errors import UserError

STREAM = 0x9B05688C2B3E6C1F  # keeps the order of the second apart from that of the first
TAKEN = ("index", "seed", "label")


class Paired(Source):
    """The first source, each of whose examples also holds an image of the second.

    Size, names, labels and epochs are the first's. The second goes through its own permutations
    and epochs, however long they are; its image at position p is a pure function of (seed, p), so
    a run resumed anywhere sees the same pairs, and two epochs of the first see other pairs.

    Args:
        first, second: sources. Of the second only the `image` is taken.
        name: its key in the examples.
    """

    def __init__(self, first: Source, second: Source, name: str = "second") -> None:
        if name in (*first.maps, *TAKEN):
            raise UserError(
                "name: expected a key that the examples of the first source do not have yet "
                f"({', '.join((*first.maps, *TAKEN))}). Received: {name!r}"
            )
        super().__init__(first.spec, first.split, first.resize)
        self.first, self.second, self._key = first, second, name
        self.size, self.class_names, self.labels = first.size, first.class_names, first.labels
        self.maps = {**first.maps, name: second.maps["image"]}

    @property
    def failure(self) -> UserError | None:
        """The failure of either."""
        return self.first.failure or self.second.failure

    def read(self, index: int | tf.Tensor) -> tf.Tensor | dict[str, tf.Tensor]:
        """As the first."""
        return self.first.read(index)

    def name(self, index: int) -> str:
        """As the first."""
        return self.first.name(index)

    def smallest(self) -> tuple[int, str] | None:
        """As the first; the second looks after its own."""
        return self.first.smallest()

    @tf.autograph.experimental.do_not_convert
    def examples(
        self,
        *,
        seed: int = 0,
        start: int = 0,
        stop: int | None = None,
        epoch_size: int | None = None,
        table: Sequence[int] | np.ndarray | None = None,
        **options: Any,
    ) -> tf.data.Dataset:
        """As `Source.examples`; `epoch_size` and `table` speak of the first alone."""
        own = {"epoch_size": epoch_size, "table": table}
        first = self.first.examples(seed=seed, start=start, stop=stop, **own, **options)
        stop = start + int(first.cardinality())
        second = self.second.examples(seed=seed + STREAM, start=start, stop=stop, **options)
        pairs = tf.data.Dataset.zip((first, second))
        return pairs.map(lambda one, two: {**one, self._key: two["image"]})
