"""Jigsaw puzzles and the context-free network (Noroozi & Favaro 2016, arXiv:1603.09246).

An image is cut into a grid of tiles, the tiles are shown in the order of one of N fixed
permutations, and the network says which. Each tile is encoded alone; only the last fully
connected layers see all of them, so the encoder must learn what a part looks like, not how
the edges of neighbours continue.
"""

from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from sslzoo import images, pictures
from sslzoo.errors import UserError
from sslzoo.flags.ranges import Count, Fraction, Pad, Pixels, Seed, Share, Width
from sslzoo.images import color, geometry, permutations
from sslzoo.parts.layers import FoldedTimeDistributed, ReplicaDropout
from sslzoo.pretext import Pretext, unfold

PAPER_FIGURE_3 = {"crop": 225, "tile": 64}  # 75 px cells; the class defaults are the 85 px cells


@keras.saving.register_keras_serializable("sslzoo")
class Jigsaw(Pretext):
    """Which of `num_permutations` orders are the tiles shown in?

    The defaults are the author's geometry: a 255 px crop, 85 px cells, a 64 px tile at a random
    place in each, so that the gap between neighbours is random too.

    Departures from the paper: no fc6 bias of 1 or Gaussian initialisation, and luma instead of the
    channel mean for grey puzzles, whose channels are shifted before, as in the author's code.
    Unlike there a tile never leaves its cell: the base offset keeps `channel_jitter` pixels on each
    side. That code has `grey=0.5, project=0.5`, so a quarter of the puzzles keep their colours.

    Args:
        encoder: (B, tile, tile, 3) in [0, 1] -> (B, h, w, C).
        crop: side of the square image in pixels, a multiple of `grid`.
        grid: tiles per side, 2 to 4.
        tile: side of a tile in pixels; at most the cell less twice `channel_jitter`.
        channel_jitter: each colour channel of a tile is shifted by up to this many pixels in x
            and y, against the chromatic aberration shortcut.
        grey: probability that a puzzle is grey (the paper: 0.3; VISSL and others: 0.66).
        project: probability that a puzzle that is not grey loses the green-magenta axis, the one of
            colour fringes (the author's code: 0.5; the paper does not have it).
        normalize: standardise each channel of each tile, against the shortcut of comparing the
            means and deviations of neighbours.
        puzzles_per_image: in the same batch, each with windows, colours and an order of its own, so
            that what a tile shows says nothing of where it is shown. A batch has that many times
            `batch_size`. The authors' 69 an image come in as many epochs; the code of
            arXiv:1901.09005 has eight in a step, which share their tiles.
        num_permutations: size of the permutation set, N.
        permutation_rule: `"max_min"` or the paper's `"max_mean"`; see `permutations`.
        permutation_seed: seed of the permutation set.
        fc6: width of the fully connected layer of each tile.
        fc7: width of the fully connected layer over all tiles.
        dropout: rate after fc6 and fc7.
        batch_norm: normalise fc6 and fc7 by batch (VISSL does fc6; the paper has none).

    Raises:
        UserError: the geometry is impossible; the message names the flag.
    """

    def __init__(
        self,
        encoder,
        crop: Pixels = 255,
        grid: Count = 3,
        tile: Pixels = 64,
        channel_jitter: Pad = 2,
        grey: Share = 0.3,
        project: Share = 0.0,
        normalize=True,
        puzzles_per_image: Count = 1,
        num_permutations: Count = 1000,
        permutation_rule: Literal["max_min", "max_mean"] = "max_min",
        permutation_seed: Seed = 0,
        fc6: Width = 1024,
        fc7: Width = 4096,
        dropout: Fraction = 0.5,
        batch_norm=False,
        **kwargs,
    ):
        _check_geometry(crop, grid, tile, channel_jitter)
        table = permutations.permutation_set(
            num_permutations, grid * grid, permutation_rule, permutation_seed
        )
        # === Functional model ===
        tiles = keras.Input((grid * grid, tile, tile, 3), name="tiles")
        tower = _tower(encoder, tile, normalize, fc6, dropout, batch_norm)
        x = FoldedTimeDistributed(tower, name="tower")(tiles)  # (B, grid * grid, fc6)
        x = keras.layers.Flatten()(x)
        x = _dense(x, fc7, dropout, batch_norm, name="fc7")
        logits = keras.layers.Dense(num_permutations, dtype="float32", name="fc8")(x)
        super().__init__(encoder, tiles, logits, **kwargs)
        self.permutations = table  # (N, grid * grid); row k: the tile shown at each place
        self.chance_loss = float(np.log(num_permutations))

    @property
    def sees(self):
        """Tiles, prepared as the options say."""
        normal = ", normalised" if self.normalize else ""
        grey = f"{self.grey:.0%} of the puzzles grey" if self.grey else "in colour"
        of = " of the others" if self.grey else ""
        rest = f", {self.project:.0%}{of} without green and magenta" if self.project else ""
        return f"tiles of {self.tile} of {self.crop} pixels{normal}, {grey}{rest}"

    def transform(self, example):
        """One image -> (tiles (grid * grid, tile, tile, 3) in the order of permutation k, k).

        With more than one of the `puzzles_per_image`, R: -> (R, grid * grid, ...) and (R,).
        """
        if self.puzzles_per_image == 1:
            return self.puzzle(example["image"], example["seed"])
        seeds = images.split_seed(example["seed"], self.puzzles_per_image)
        made = [self.puzzle(example["image"], seed) for seed in seeds]
        return tuple(tf.stack(part) for part in zip(*made, strict=True))

    def puzzle(self, image, seed):
        """One puzzle of (crop, crop, 3): (tiles (grid * grid, tile, tile, 3), k)."""
        seeds = images.split_seed(seed, 4)
        k = tf.random.stateless_uniform((), seeds[2], 0, self.num_permutations, tf.int32)
        windows = tf.gather(self.windows(seeds[1]), tf.constant(self.permutations)[k])
        tiles = geometry.cut_planes(image, self.tile, windows)
        # Colours go only now: channels shifted against each other would bring them back. A grey
        # puzzle is projected onto itself.
        tiles = color.sometimes(color.grey_planes, tiles, self.grey, seeds[0])
        if self.project:
            projected = color.planes_without_green_magenta
            tiles = color.sometimes(projected, tiles, self.project, seeds[3])
        tiles = color.standardize(tiles, axes=(2, 3)) if self.normalize else tiles
        return geometry.from_planes(tiles), k

    def puzzles(self, examples, batch_size):
        """Batches of the puzzles of `batch_size` images, an image's in a row."""
        batches = super().puzzles(examples, batch_size)
        return batches.map(unfold) if self.puzzles_per_image > 1 else batches

    def windows(self, seed):
        """Top left corners in the crop, by tile and channel: (grid * grid, 3, 2) int32."""
        return windows(self.crop // self.grid, self.grid, self.tile, self.channel_jitter, seed)

    def picture(self, x, y, y_pred=None):
        """The tiles as shown, in their true arrangement, and as the network arranges them."""
        shades = x * color.PIXEL_STD + color.PIXEL_MEAN if self.normalize else x
        tiles = pictures.enlarge(pictures.to_uint8(shades), 64)
        panels, right = {"puzzle": tiles, "truth": _arrange(tiles, self.permutations[int(y)])}, None
        if y_pred is not None:
            k = int(np.argmax(y_pred))
            panels["answer"], right = _arrange(tiles, self.permutations[k]), k == int(y)
        panels = {name: pictures.mosaic(part, self.grid) for name, part in panels.items()}
        return pictures.row(panels, right)


def windows(cell, grid, tile, jitter, seed):
    """A tile at random in each cell: its top left corner by channel, (grid * grid, 3, 2) int32.

    Channels are shifted by up to `jitter` pixels, and stay in the cell of `cell` pixels.
    """
    base_seed, channel_seed = images.split_seed(seed, 2)
    n = grid * grid
    room = cell - tile - 2 * jitter  # the base offset is uniform on 0..room
    base = tf.random.stateless_uniform((n, 1, 2), base_seed, 0, room + 1, tf.int32)
    shift = tf.random.stateless_uniform((n, 3, 2), channel_seed, 0, 2 * jitter + 1, tf.int32)
    corners = [[(i // grid * cell, i % grid * cell)] for i in range(n)]  # (n, 1, 2)
    return tf.constant(corners) + base + shift


def _check_geometry(crop, grid, tile, channel_jitter):
    if grid not in (2, 3, 4):
        raise UserError(f"--grid: expected 2, 3 or 4 tiles per side. Received: {grid}")
    if crop % grid:
        raise UserError(f"--crop: expected a multiple of --grid={grid} pixels. Received: {crop}")
    largest = crop // grid - 2 * channel_jitter
    if not 1 <= tile <= largest:
        raise UserError(
            f"--tile: expected 1 to {largest} pixels, so that a tile with --channel_jitter="
            f"{channel_jitter} stays in its cell of {crop // grid} (--crop / --grid). "
            f"Received: {tile}"
        )


def _tower(encoder, tile, normalize, fc6, dropout, batch_norm):
    """The shared column: one tile (B, tile, tile, 3), standardised if `normalize` -> (B, fc6)."""
    x = tile_input = keras.Input((tile, tile, 3))
    if normalize:
        x = keras.layers.Rescaling(color.PIXEL_STD, color.PIXEL_MEAN)(x)
    x = keras.layers.Flatten()(encoder(x))
    return keras.Model(tile_input, _dense(x, fc6, dropout, batch_norm, name="fc6"), name="column")


def _dense(x, units, dropout, batch_norm, name):
    x = keras.layers.Dense(units, use_bias=not batch_norm, name=name)(x)
    if batch_norm:
        x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
    return ReplicaDropout(dropout)(keras.layers.ReLU()(x))


def _arrange(tiles, permutation):
    """Undoes `permutation`: the tile shown at place i belongs at place permutation[i]."""
    arranged = np.empty_like(tiles)
    arranged[permutation] = tiles
    return arranged
