"""Context prediction: relative patch location (Doersch, Gupta & Efros 2015, arXiv:1505.05192).

Two patches of an image, neighbours on a grid with gaps; the network says in which of the eight
directions the second lies. A shared tower encodes each patch alone, so that it must know which
parts belong where. Gaps, jitter and colour dropping block the ways to solve it without that:
lines that continue, and lens colour fringes that tell where in the photograph a patch was.
"""

from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from sslzoo import images, pictures
from sslzoo.errors import UserError
from sslzoo.flags.ranges import Area, Pad, Pixels, Share, Width
from sslzoo.images import color, geometry
from sslzoo.parts.layers import FoldedTimeDistributed
from sslzoo.pretext import Pretext

# Label -> (rows, columns) from the first patch to the second: row by row, without the centre.
OFFSETS = np.array([(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if r or c], np.int32)
RMS = 50.0  # of a prepared patch, in the authors' code
PIXEL_SCALE = {
    "rms": color.PIXEL_STD / RMS,
    "standardize": color.PIXEL_STD,
}  # back to the range of encoders

# arXiv:1901.09005, arXiv:1905.01235: cells of 85 px, in which a patch has 21 px of room.
MODERN = {
    "crop": 255,
    "patch": 64,
    "gap": 21,
    "jitter": 21,
    "min_area": 1.0,
    "degrade": 0.0,
    "color": "keep",
    "grey": 0.66,
    "normalize": "standardize",
}
# For 32 pixels; for 64 double the four lengths. Such images have been shrunk, colour fringes too,
# and a probe wants an encoder that has seen colours. A pair has no room along its step: who knew
# the place of one patch in the image would give the label 82 % of the time (`MODERN`: 47 %). With
# room, patches of 8 px with gaps of 2 (39 %), the encoder was worse: see recipes/README.md.
SMALL_IMAGES = {**MODERN, "crop": 32, "patch": 12, "gap": 4, "jitter": 4, "grey": 0.3}


@keras.saving.register_keras_serializable("sslzoo")
class RelativePatch(Pretext):
    """In which of the eight directions from the first patch does the second lie?

    The defaults are the authors' geometry and preparation; `MODERN` and `SMALL_IMAGES` are others.
    With the encoder `alexnet_doersch` it is their network of 63,561,096 weights.

    Departures from the paper: one pair per image and step, at a random place, instead of all
    pairs of up to four grids (with as many different images in a batch); a square window of the
    image instead of all of it; the mean loss over a batch, not the sum. Departures from `MODERN`'s
    sources: there all pairs have the centre of one fixed 3 x 3 grid, and the label is the place
    of the other. Convolutions start from He's initialisation, not Xavier's.

    Args:
        encoder: (B, patch, patch, 3) in [0, 1] -> (B, h, w, C).
        crop: side of the square image in pixels.
        patch: side of a patch in pixels.
        gap: pixels between neighbours on the grid.
        jitter: range by which each patch is displaced in x and y, in pixels, 0 to `gap`: 14 is
            the paper's -7..7.
        min_area: the crop is shrunk to a random share of its pixels, from `min_area` to 1; the
            default is the paper's 150,000 to 450,000 pixels.
        degrade: probability that a patch is sampled down, to as little as 100 pixels of 96 x 96,
            and up again.
        color: `"drop"`: one random channel of each patch is kept, the others become faint noise;
            `"project"`: the green-magenta axis, the one of colour fringes, is removed; `"keep"`.
        grey: probability that both patches are grey.
        normalize: `"rms"`: each patch is divided by its root mean square, times 50;
            `"standardize"`: each channel of each patch to mean 0 and deviation 1.
        fc6: width of the fully connected layer of each patch.
        fc7: width of the two fully connected layers over both patches.
        batch_norm: normalise fc6 and fc7 by batch, without scale and shift: the authors found
            that a network that may scale silences its activations.

    Raises:
        UserError: the geometry or an option is impossible; the message names the flag.
    """

    chance_loss = float(np.log(8))

    def __init__(
        self,
        encoder,
        crop: Pixels = 670,
        patch: Pixels = 96,
        gap: Pad = 48,
        jitter: Pad = 14,
        min_area: Area = 1 / 3,
        degrade: Share = 0.33,
        color: Literal["drop", "project", "keep"] = "drop",
        grey: Share = 0.0,
        normalize: Literal["rms", "standardize"] = "rms",
        fc6: Width = 4096,
        fc7: Width = 4096,
        batch_norm=True,
        **kwargs,
    ):
        _check_geometry(crop, patch, gap, jitter, min_area)
        # === Functional model ===
        patches = keras.Input((2, patch, patch, 3), name="patches")
        tower = _tower(encoder, patch, PIXEL_SCALE[normalize], fc6, batch_norm)
        x = FoldedTimeDistributed(tower, name="tower")(patches)  # (B, 2, fc6)
        x = keras.layers.Flatten()(x)
        x = _dense(x, fc7, batch_norm, name="fc7")
        x = _dense(x, fc7, False, name="fc8")
        logits = keras.layers.Dense(8, dtype="float32", name="fc9")(x)
        super().__init__(encoder, patches, logits, **kwargs)

    @property
    def sees(self):
        """Patches, prepared as the options say; the encoder is exported for whole images."""
        prepared = {"keep": "in colour", "drop": "with one colour channel each"}
        colours = prepared.get(self.color, "without green and magenta")
        return f"patches of {self.patch} of {self.crop} pixels, normalised, {colours}"

    def transform(self, example):
        """One image -> (patches (2, patch, patch, 3), where the second lies from the first)."""
        seeds = images.split_seed(example["seed"], 6)
        image = example["image"]
        if self.min_area < 1:
            image = self._shrink(image, seeds[0])
        image = color.random_grey(image, self.grey, seeds[1])
        label = tf.random.stateless_uniform((), seeds[2], 0, 8, tf.int32)
        corners = self.corners(label, tf.shape(image)[0], seeds[3])
        size = [self.patch, self.patch, 3]
        patches = [tf.slice(image, tf.concat([corners[i], [0]], 0), size) for i in range(2)]
        return tf.stack([self.prepare(patches[i], seeds[4 + i]) for i in range(2)]), label

    def corners(self, label, side, seed):
        """Top left corners of both patches in a square of `side` pixels: (2, 2) int32."""
        place_seed, jitter_seed = images.split_seed(seed, 2)
        jitter = tf.random.stateless_uniform((2, 2), jitter_seed, 0, self.jitter + 1, tf.int32)
        step = tf.constant((self.patch + self.gap) * OFFSETS)[label]  # (2,)
        room = side - self.patch - self.jitter - tf.abs(step)  # (2,)
        place = tf.random.stateless_uniform((2,), place_seed) * tf.cast(room + 1, tf.float32)
        first = tf.minimum(tf.cast(place, tf.int32), room) + tf.maximum(-step, 0)
        return tf.stack([first, first + step]) + jitter

    def prepare(self, patch, seed):
        """One patch (patch, patch, 3) in [0, 1] -> the same shape, as the tower takes it."""
        degrade_seed, color_seed = images.split_seed(seed, 2)
        if self.degrade:
            patch = geometry.random_degrade(patch, self.degrade, degrade_seed)
        if self.color == "project":
            patch = color.without_green_magenta(patch)
        if self.normalize == "standardize":
            patch = color.standardize(patch)
        if self.color == "drop":
            patch = color.drop_colors(patch, color_seed)
        return color.scale_to_rms(patch, RMS) if self.normalize == "rms" else patch

    def _shrink(self, image, seed):
        """To a random number of pixels; never too small for a pair."""
        share = tf.random.stateless_uniform((), seed, self.min_area, 1.0)
        side = tf.cast(self.crop * tf.sqrt(share), tf.int32)
        side = tf.maximum(side, 2 * self.patch + self.gap + self.jitter)
        return tf.image.resize(image, [side, side], antialias=True)

    def picture(self, x, y, y_pred=None):
        """The second patch around the first: where it was, and where the network puts it."""
        patches = pictures.enlarge(
            pictures.to_uint8(x * PIXEL_SCALE[self.normalize] + color.PIXEL_MEAN), 48
        )
        labels, right = {"truth": int(y)}, None
        if y_pred is not None:
            labels["answer"] = int(np.argmax(y_pred))
            right = labels["answer"] == labels["truth"]
        boards = {name: _board(patches, label) for name, label in labels.items()}
        return pictures.row(boards, right)


def _check_geometry(crop, patch, gap, jitter, min_area):
    if not 0 <= jitter <= gap:
        raise UserError(
            f"--jitter: expected 0 to --gap={gap} pixels, so that patches never overlap. "
            f"Received: {jitter}"
        )
    least = 2 * patch + gap + jitter
    if patch < 2 or int(crop * min_area**0.5) < least:
        raise UserError(
            f"--patch: expected at least 2 pixels, and 2 * patch + gap + jitter = {least} of them "
            f"within the crop of {crop} shrunk by --min_area to {int(crop * min_area**0.5)}. "
            f"Received: {patch}"
        )


def _tower(encoder, patch, scale, fc6, batch_norm):
    """The shared column: one prepared patch (B, patch, patch, 3) -> (B, fc6)."""
    patch_input = keras.Input((patch, patch, 3))
    x = keras.layers.Rescaling(scale, color.PIXEL_MEAN)(patch_input)
    x = keras.layers.Flatten()(encoder(x))
    return keras.Model(patch_input, _dense(x, fc6, batch_norm, name="fc6"), name="column")


def _dense(x, units, batch_norm, name):
    """With a bias even before batch norm, which has no shift: the authors' parameters."""
    x = keras.layers.Dense(units, name=name)(x)
    if batch_norm:
        x = keras.layers.BatchNormalization(
            momentum=0.9, epsilon=1e-5, center=False, scale=False, name=f"{name}_bn"
        )(x)
    return keras.layers.ReLU()(x)


def _board(patches, label):
    """(2, h, w, 3) uint8 on a 3 x 3 grid: the first in the middle, the second by the label."""
    board = np.full((9, *patches.shape[1:]), 224, np.uint8)
    row, column = OFFSETS[label] + 1
    board[4], board[3 * row + column] = patches
    return pictures.mosaic(board, 3)
