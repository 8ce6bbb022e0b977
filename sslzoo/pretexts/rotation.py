"""Image rotations, RotNet (Gidaris, Singh & Komodakis 2018, arXiv:1803.07728).

Each image is shown turned by every multiple of 90 degrees, and the network says by how much.
To know which way is up it must recognise what is in the picture. The turns are transposes and
flips: no pixel is interpolated, so nothing at the level of pixels betrays the angle.
"""

import keras
import numpy as np
import tensorflow as tf

from sslzoo import images, pictures
from sslzoo.errors import UserError
from sslzoo.flags.ranges import Count, OptionalWidth, Pad, Pixels
from sslzoo.images import geometry
from sslzoo.pretext import Pretext, unfold


@keras.saving.register_keras_serializable("sslzoo")
class Rotation(Pretext):
    """By how many steps of 360 / `num_rotations` degrees, counter-clockwise, is the image turned?

    An image without an up (a constant, seen from above, symmetric) has no answer better than
    chance. The defaults are the paper's ImageNet network; CIFAR-10 has `crop=32, pad=4, fc=0`.

    Departures from the paper: one scale (a square window of the resized image) instead of
    crops of random size and aspect; pixels are normalised by the encoder, with ImageNet's means
    and deviations for every data set.

    Args:
        encoder: (B, side, side, 3) in [0, 1] -> (B, h, w, C).
        crop: side in pixels of the square that is turned; `side` is the same, but for eight
            rotations.
        num_rotations: 4; 2 (0 and 180 degrees); or 8, an ablation of the paper: the odd multiples
            of 45 degrees are interpolated, which leaves a trace that tells them from the even
            ones, and all eight keep only the middle square of about `crop` / sqrt(2) that no turn
            leaves, without black corners.
        all_at_once: every image gives all its rotations, in the same batch (the paper found this
            much better); else one rotation drawn at random, as VISSL does.
        flip: mirror half of the images before the turn.
        pad: zeros around the image, in pixels, from which a window of `crop` is cut at random
            (the paper: 4 on CIFAR-10). A border may lie on any side, so it tells nothing.
        fc: width of two fully connected layers with batch norm (the paper's AlexNet: 4096); 0 is
            global average pooling and a linear layer (its NIN).

    Raises:
        UserError: the number of rotations or the crop is impossible; the message names the flag.
    """

    def __init__(
        self,
        encoder,
        crop: Pixels = 224,
        num_rotations: Count = 4,
        all_at_once=True,
        flip=True,
        pad: Pad = 0,
        fc: OptionalWidth = 4096,
        **kwargs,
    ):
        if num_rotations not in (2, 4, 8):
            raise UserError(f"--num_rotations: expected 2, 4 or 8. Received: {num_rotations}")
        if crop < 4:
            raise UserError(
                f"--crop: expected at least 4 pixels; only a square can be turned by 90 degrees, "
                f"so 0 (whole images) will not do. Received: {crop}"
            )
        # === Functional model ===
        side = _middle(crop) if num_rotations == 8 else crop
        image = keras.Input((side, side, 3), name="images")
        logits = keras.layers.Dense(num_rotations, dtype="float32", name="logits")
        logits = logits(_head(encoder(image), fc))
        super().__init__(encoder, image, logits, **kwargs)
        self.side = side
        self.chance_loss = float(np.log(num_rotations))

    @property
    def sees(self):
        """Whole squares, or what is left of them when they are turned by 45 degrees."""
        part = "the middle of images" if self.num_rotations == 8 else "whole images"
        return f"{part} in colour, turned"

    def transform(self, example):
        """One image -> its rotations (R, side, side, 3) and their labels 0..R-1 (R,).

        Unless `all_at_once`: -> one rotation (side, side, 3) and its label ().
        """
        seeds = images.split_seed(example["seed"], 3)
        image = example["image"]
        if self.pad:
            image = tf.pad(image, [[self.pad, self.pad], [self.pad, self.pad], [0, 0]])
            image = geometry.random_crop(image, self.crop, seeds[0])
        if self.flip:
            image = tf.image.stateless_random_flip_left_right(image, seeds[1])
        turned = self.rotations(image)
        if self.all_at_once:
            return turned, tf.range(self.num_rotations)
        k = tf.random.stateless_uniform((), seeds[2], 0, self.num_rotations, tf.int32)
        return turned[k], k

    def rotations(self, image):
        """A square (crop, crop, 3) turned by 0..R-1 steps: (R, side, side, 3).

        Raises:
            UserError: the image is not `crop` x `crop`.
        """
        if tuple(image.shape[:2]) != (self.crop, self.crop):
            raise UserError(
                f"--crop: expected a square image of {self.crop} pixels. "
                f"Received: {image.shape[0]} x {image.shape[1]}"
            )
        turned = tf.stack([_turn(image, k / self.num_rotations) for k in range(self.num_rotations)])
        margin = (self.crop - self.side) // 2
        return turned[:, margin : margin + self.side, margin : margin + self.side]

    def puzzles(self, examples, batch_size):
        """Batches of `batch_size` images: R * `batch_size` rotated ones, an image's R in a row."""
        batches = super().puzzles(examples, batch_size)
        return batches.map(unfold) if self.all_at_once else batches

    def picture(self, x, y, y_pred=None):
        """The image as shown, turned back by the truth, and turned back by the network."""
        turns, right = {"puzzle": 0, "truth": int(y)}, None
        if y_pred is not None:
            turns["answer"] = int(np.argmax(y_pred))
            right = turns["answer"] == turns["truth"]
        x = tf.convert_to_tensor(x)
        back = {name: _turn(x, -k / self.num_rotations) for name, k in turns.items()}
        return pictures.row(back, right)


def _head(x, fc):
    """Feature maps (B, h, w, C) -> a vector per image, (B, C) or (B, fc)."""
    if not fc:
        return keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Flatten()(x)
    for name in ("fc6", "fc7"):
        x = keras.layers.Dense(fc, use_bias=False, name=name)(x)
        x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
        x = keras.layers.ReLU()(x)
    return x


def _turn(image, circle):
    """A square (S, S, 3) turned counter-clockwise by a fraction of the circle, about its middle.

    Quarters of it are exact. Eighths are bilinear, with black corners.
    """
    quarters, rest = divmod(round(circle * 8), 2)
    image = tf.image.rot90(image, quarters % 4)
    if not rest:
        return image
    c, middle = 0.5**0.5, (image.shape[0] - 1) / 2
    # Output pixel (x, y) reads input (c x - c y + a, c x + c y + b), with the middle fixed.
    a, b = middle, middle * (1 - 2 * c)
    return keras.ops.image.affine_transform(image, tf.constant([c, -c, a, c, c, b, 0.0, 0.0]))


def _middle(crop):
    """Side of the square that stays inside when one of `crop` pixels turns by 45 degrees."""
    side = int((crop - 1) / 2**0.5)
    return side - (crop - side) % 2  # the same margin on all four sides
