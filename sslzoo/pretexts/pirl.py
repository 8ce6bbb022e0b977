"""Pretext-invariant representations, PIRL (Misra & van der Maaten 2020, arXiv:1912.01991).

Instance discrimination in which the other view is a puzzle: the embedding of an image's shuffled
patches (or of the rotated image) must lie near that image's row of the memory bank. Where the
jigsaw asks which puzzle it is, PIRL asks for an answer that does not depend on it.
"""

from functools import partial
from typing import Literal

import keras
import tensorflow as tf

from sslzoo import images, pictures
from sslzoo.errors import UserError
from sslzoo.flags.ranges import (
    Area,
    Count,
    HalfTurn,
    OptionalCount,
    Pixels,
    Positive,
    Seed,
    Share,
    Width,
)
from sslzoo.images import color, geometry, permutations
from sslzoo.parts import memory
from sslzoo.parts.layers import FoldedTimeDistributed
from sslzoo.pretexts import jigsaw


@keras.saving.register_keras_serializable("sslzoo")
class Pirl(memory.MemoryPretext):
    """Which of `num_images` images is this, and of which are these the patches?

    The defaults are the paper's. Its loss is `weight` * contrast(g(patches)) + (1 - `weight`) *
    contrast(f(image)), both with the bank, into which only f goes; `weight=0` is NPID.

    Departures from the paper: `parts.memory` names those of the bank and of NCE; image and patches
    are cut from a random square of the resized image; the colours of patches change as those of
    the image do. With both tasks the image is turned before it is cut.

    Args:
        encoder: (B, H, W, 3) in [0, 1] of any size -> (B, h, w, C).
        num_images: rows of the bank; every example's index is below it.
        seed: of the negatives, with the step.
        task: what is done to the image: `"jigsaw"`, `"rotation"` or `"jigsaw+rotation"`.
        crop: side of the square image in pixels, from which views and puzzles are cut.
        view: side of the image's view, and of the rotated one, in pixels.
        puzzle: side of the square that is cut into cells, in pixels, a multiple of `grid`.
        grid: patches per side.
        tile: side of a patch in pixels, at a random place of its cell.
        num_permutations: orders of the patches; 0 means all.
        min_area: the view is a random share of the crop, from this to 1.
        puzzle_area: the puzzle is a random share of the crop, from this to 1.
        jitter: strength of the change of brightness, contrast and saturation, for each patch.
        hue: turn of the hue, at most, as a share of the circle.
        grey: probability of a grey view or patch.
        weight: lambda, of the puzzle's part of the loss.
        head: of the view, and of each patch: `"linear"` (the paper) or `"mlp"`, with a hidden
            layer before the linear one.
        dims: length of the embeddings.
        temperature: of the cosines.
        momentum: share of the old row of the bank in the new one.
        negatives: rows drawn in each step; 0 compares with all rows.
        estimator: of the loss with drawn negatives: `"nce"` (the paper) or `"infonce"`.

    Raises:
        UserError: an argument is out of range; the message names the flag.
    """

    def __init__(
        self,
        encoder,
        num_images,
        seed: Seed,
        task: Literal["jigsaw", "rotation", "jigsaw+rotation"] = "jigsaw",
        crop: Pixels = 256,
        view: Pixels = 224,
        puzzle: Pixels = 255,
        grid: Count = 3,
        tile: Pixels = 64,
        num_permutations: OptionalCount = 0,
        min_area: Area = 0.08,
        puzzle_area: Area = 0.6,
        jitter: Share = 0.4,
        hue: HalfTurn = 0.2,
        grey: Share = 0.2,
        weight: Share = 0.5,
        head: Literal["linear", "mlp"] = "linear",
        dims: Width = 128,
        temperature: Positive = 0.07,
        momentum: Share = 0.5,
        negatives: OptionalCount = 32_000,
        estimator: Literal["nce", "infonce"] = "nce",
        **kwargs,
    ):
        geometry.check_view(crop, view)
        if "jigsaw" in task:
            geometry.check_view(crop, puzzle, "puzzle")
            _check(puzzle, grid, tile)
        # === Functional model ===
        image = keras.Input((view, view, 3), name="image")
        f = memory.head(encoder(image), dims, head, "f")
        shape = (grid * grid, tile, tile, 3) if "jigsaw" in task else (view, view, 3)
        other = keras.Input(shape, name="other")
        g = (
            _patches_head(encoder, other, dims, head)
            if "jigsaw" in task
            else memory.head(encoder(other), dims, head, "g")
        )
        unit = partial(keras.layers.UnitNormalization, dtype="float32")
        outputs = [unit(name="image_embedding")(f), unit(name="other_embedding")(g)]
        super().__init__(encoder, {"image": image, "other": other}, outputs, **kwargs)
        self.remember()
        self.image_side = keras.Model(image, outputs[0], name="image_side")
        self.orders = None  # or (N, grid * grid)
        if num_permutations:
            self.orders = permutations.permutation_set(num_permutations, grid * grid)

    @property
    def sees(self):
        """Views, and what the task makes of images."""
        patches = f" and patches of {self.tile} of {self.puzzle} pixels"
        patches = patches if "jigsaw" in self.task else ""
        turned = ", turned too" if "rotation" in self.task else ""
        return f"random parts of images{patches}{turned}, their colours changed"

    # === The puzzle ===

    def transform(self, example):
        """One image -> (dict of its view and of its patches, or of it rotated; its index ()).

        `image` (view, view, 3), `other` (grid * grid, tile, tile, 3) or (view, view, 3).
        """
        seeds, square = images.split_seed(example["seed"], 3), example["image"]
        view = geometry.random_resized_crop(square, self.view, self.min_area, seeds[0])
        view = self.change_colors(view[None], seeds[1])[0]
        return {"image": view, "other": self.other(square, seeds[2])}, example["index"]

    def other(self, square, seed):
        """(crop, crop, 3) -> what g sees."""
        seeds = images.split_seed(seed, 5)
        if self.task == "rotation":
            view = geometry.random_resized_crop(square, self.view, self.min_area, seeds[0])
            return _turn(self.change_colors(view[None], seeds[1])[0], seeds[2])
        puzzle = geometry.random_resized_crop(square, self.puzzle, self.puzzle_area, seeds[0])
        if self.task == "jigsaw+rotation":
            puzzle = _turn(puzzle, seeds[2])
        patches = self.change_colors(self.cut(puzzle, seeds[3]), seeds[1])
        return tf.gather(patches, self.order(seeds[4]))

    def cut(self, puzzle, seed):
        """(puzzle, puzzle, 3) -> its patches, row by row: (grid * grid, tile, tile, 3)."""
        cell = self.puzzle // self.grid
        corners = jigsaw.windows(cell, self.grid, self.tile, 0, seed)[:, 0]  # (n, 2)
        shape = (self.tile, self.tile, 3)
        return tf.stack(
            [
                tf.slice(puzzle, [corners[i, 0], corners[i, 1], 0], shape)
                for i in range(self.grid**2)
            ]
        )

    def order(self, seed):
        """A random order of the patches: (grid * grid,) int32."""
        if self.orders is None:
            return tf.random.experimental.stateless_shuffle(tf.range(self.grid**2), seed)
        chosen = tf.random.stateless_uniform((), seed, 0, len(self.orders), tf.int32)
        return tf.constant(self.orders)[chosen]

    def change_colors(self, parts, seed):
        """Jitter, grey and mirror, for each of (n, H, W, 3) by itself."""
        seeds = images.split_seed(seed, 3)
        parts = color.jitter(parts, self.jitter, self.hue, seeds[0])
        draws = [tf.random.stateless_uniform(parts.shape[:1], s) for s in seeds[1:]]
        parts = images.where(draws[0] < self.grey, color.grey(parts), parts)
        return images.where(draws[1] < 0.5, tf.reverse(parts, [2]), parts)

    # === Training ===

    def content_loss(self, x, y, y_pred, sample_weight=None):
        """The contrasts of both embeddings with the bank: a mean over the images ()."""
        both = self.contrast(tf.concat(y_pred, 0), tf.concat([y, y], 0))  # one look at the bank
        image, other = tf.split(both, 2)
        return tf.reduce_mean(self.weight * other + (1 - self.weight) * image)

    def embed(self, pixels):
        """Whole images (B, H, W, 3) in [0, 1] -> f of them (B, dims), without augmentation."""
        return self.image_side(tf.image.resize(pixels, (self.view, self.view)), training=False)

    def picture(self, x, y, y_pred=None):
        """The view, the patches; then numbers as greys: the image's row of the bank, f, g."""
        other = pictures.to_uint8(x["other"])
        other = pictures.mosaic(other, self.grid) if other.ndim == 4 else other
        vectors = {"row in the bank": self.memory.gather(y).numpy()}
        if y_pred is not None:
            vectors |= {"f(view)": y_pred[0], "g(puzzle)": y_pred[1]}
        shades = {name: pictures.shades(vector, 96) for name, vector in vectors.items()}
        return pictures.row({"view": x["image"], "puzzle": other, **shades})


# === Network ===


def _patches_head(encoder, patches, dims, kind):
    """Patches (B, n, tile, tile, 3) -> (B, dims), through a vector of each (B, n, dims)."""
    patch = keras.Input(patches.shape[2:])
    column = keras.Model(patch, memory.head(encoder(patch), dims, kind, "g_patch"), name="g_column")
    x = FoldedTimeDistributed(column, name="g_patches")(patches)  # (B, n, dims)
    return keras.layers.Dense(dims, dtype="float32", name="g")(keras.layers.Flatten()(x))


def _turn(image, seed):
    """A square turned by 0, 90, 180 or 270 degrees."""
    turned = tf.stack([tf.image.rot90(image, k) for k in range(4)])
    return turned[tf.random.stateless_uniform((), seed, 0, 4, tf.int32)]


def _check(puzzle, grid, tile):
    if grid < 2 or puzzle % grid:
        raise UserError(
            f"--grid: expected at least 2, a divisor of --puzzle={puzzle}. Received: {grid}"
        )
    if not 1 <= tile <= puzzle // grid:
        raise UserError(
            f"--tile: expected 1 to {puzzle // grid} pixels, a cell (--puzzle / --grid). "
            f"Received: {tile}"
        )
