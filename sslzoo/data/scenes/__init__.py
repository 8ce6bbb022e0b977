"""A built-in source that renders: solids on a floor, with depth, normals and contours."""

import tensorflow as tf

from sslzoo.data import decode
from sslzoo.data.order import fold
from sslzoo.data.scenes.layout import draw
from sslzoo.data.scenes.pixels import render
from sslzoo.data.scenes.solids import KINDS
from sslzoo.data.source import MAPS, Source
from sslzoo.errors import UserError

SIZE, SIDE = 10_000, 64


class Scenes(Source):
    """Scene `i` is a pure function of the seed, the split and `i`; nothing is stored.

    Only the pixels of a crop are rendered, by a graph of its own: they differ from those of the
    whole scene by rounding, and where that decides who is in front, by a pixel.

    Two to six solids stand on a floor, before walls or the sky, in the light of one or two lamps.
    Colours are Lambert's law with a highlight; the key light casts shadows, the fill light none.
    Nothing is antialiased, but patterns fade where a pixel would see too much of them.

    `depth` is z, in metres along the viewing axis (not along the ray); the sky lies at
    `layout.FAR`. `normals` are unit and in camera coordinates: x to the right, y down, z into the
    picture, so what faces the camera has (0, 0, -1). `edges` is 1 where the pixel to the right or
    the one below shows another instance: a solid, the floor, a wall, the sky.

    Labels are the kind of the largest solid. Scene `i` has kind `i % 6`.

    Args:
        spec: `scenes[:N[:SEED]]`, N training scenes and N // 5 test scenes.
        resize: side that is rendered; 0: 64.
        maps: whether depth, normals and edges are there too.
    """

    def __init__(self, spec, split, resize, labels, maps=False):
        super().__init__(spec, split, resize)
        count, self.seed = _parsed(spec)
        self.size = count if split == "train" else count // 5
        self.side = resize or SIDE
        if maps:
            self.maps = MAPS
        # A thousand operations: traced once, whoever reads.
        self._rendered = tf.function(self._render, autograph=False)
        if labels:
            self.class_names = list(KINDS)
            self.labels = tf.range(self.size, dtype=tf.int64) % len(KINDS)

    def fetch(self, index):
        """(n,) int64: the index is all there is."""
        return index

    def open(self, raw, place, crop):
        """One scene."""
        drawn = {name: x[0] for name, x in self.open_chunk(raw[None], place[None], crop).items()}
        return drawn if len(drawn) > 1 else drawn["image"]

    def open_chunk(self, raw, place, crop):
        """(n,) indices, each rendered where its crop at `place` (n, 2) is; a dict."""
        specs = tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, 2], tf.float32)
        return self._rendered.get_concrete_function(*specs, crop)(raw, place)

    def _render(self, raw, place, crop):
        width = crop or self.side
        corner = decode.offset(tf.constant([[self.side, self.side]]), width, place)  # (n, 2)
        more = len(self.maps) > 1  # edges look at the next row and column
        rows, columns = (corner[:, i, None] + tf.range(width + more) for i in (0, 1))
        drawn = render(self.scene(raw), rows, columns, self.side)
        instance = drawn.pop("instance")
        if more:
            here = instance[:, :-1, :-1]
            edges = (here != instance[:, :-1, 1:]) | (here != instance[:, 1:, :-1])
            drawn = {name: x[:, :-1, :-1] for name, x in drawn.items()}
            drawn["edges"] = tf.cast(edges[..., None], tf.float32)
        return {
            name: tf.ensure_shape(drawn[name], [None, width, width, count])
            for name, count in self.maps.items()
        }

    def scene(self, index):
        """The `layout.Scene` of (n,) indices."""
        key = tf.fill(tf.shape(index), tf.constant(self.seed, tf.uint64))
        key = fold(fold(fold(key, 0), 0 if self.split == "train" else 1), index)
        return draw(key, tf.cast(index % len(KINDS), tf.int32))

    def chunk_of(self, crop):
        """As of crops: whole scenes have one size too."""
        return super().chunk_of(crop or self.side)

    def name(self, index):
        """Its number."""
        return f"scene {index}"

    def smallest(self):
        """They are all alike."""
        return self.side, f"scenes of {self.side} x {self.side}"


def _parsed(spec):
    """`scenes[:N[:SEED]]` -> number of training scenes, seed."""
    numbers = spec.split(":")[1:]
    if len(numbers) > 2 or not all(n.isascii() and n.isdigit() for n in numbers):
        raise UserError(
            "--dataset: expected scenes, scenes:N or scenes:N:SEED, whole numbers. "
            f"Received: {spec!r}"
        )
    count = int(numbers[0]) if numbers else SIZE
    seed = int(numbers[1]) if len(numbers) > 1 else 0
    if not 5 <= count < 2**31 or not seed < 2**63:
        raise UserError(
            "--dataset: expected scenes:N:SEED with N from 5 to 2^31 - 1 and a seed below 2^63. "
            f"Received: {spec!r}"
        )
    return count, seed
