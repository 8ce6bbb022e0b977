"""Non-parametric instance discrimination, NPID (Wu et al. 2018, arXiv:1805.01978).

Every image is a class of its own. The network maps two different views of an image, one now and
those of earlier epochs that the memory bank averages, to the same point of a sphere, far from
all other images. Nothing but the augmentation says what may be ignored.
"""

from typing import Literal

import keras
import tensorflow as tf

from sslzoo import images, pictures
from sslzoo.flags.ranges import Area, HalfTurn, OptionalCount, Pixels, Positive, Seed, Share, Width
from sslzoo.images import color, geometry
from sslzoo.parts import memory


@keras.saving.register_keras_serializable("sslzoo")
class Npid(memory.MemoryPretext):
    """Which of `num_images` images is this a view of?

    The defaults are the paper's for ImageNet; CIFAR-10 has `crop=32, view=32, negatives=0,
    temperature=0.1, flip=False`.

    Departures from the paper: `parts.memory` names those of the bank and of NCE; views are cut
    from a random square of the resized image; the colour operations have a fixed order.

    Args:
        encoder: (B, view, view, 3) in [0, 1] -> (B, h, w, C).
        num_images: rows of the bank; every example's index is below it.
        seed: of the negatives, with the step.
        crop: side of the square image in pixels, from which the view is cut.
        view: side of the view in pixels.
        min_area: the view is a random share of the crop, from this to 1.
        jitter: strength of the change of brightness, contrast and saturation.
        hue: turn of the hue, at most, as a share of the circle.
        grey: probability of a grey view.
        flip: mirror half of the views.
        head: `"linear"` (the paper) or `"mlp"`, with a hidden layer before the linear one.
        dims: length of the embedding.
        temperature: of the cosines.
        momentum: share of the old row of the bank in the new one.
        negatives: rows drawn in each step; 0 compares with all rows (full softmax), which costs
            little for some 100,000 images.
        estimator: of the loss with drawn negatives: `"nce"` (the paper) or `"infonce"`.

    Raises:
        UserError: an argument is out of range; the message names the flag.
    """

    sees = "random parts of images, their colours changed"

    def __init__(
        self,
        encoder,
        num_images,
        seed: Seed,
        crop: Pixels = 256,
        view: Pixels = 224,
        min_area: Area = 0.2,
        jitter: Share = 0.4,
        hue: HalfTurn = 0.4,
        grey: Share = 0.2,
        flip=True,
        head: Literal["linear", "mlp"] = "linear",
        dims: Width = 128,
        temperature: Positive = 0.07,
        momentum: Share = 0.5,
        negatives: OptionalCount = 4096,
        estimator: Literal["nce", "infonce"] = "nce",
        **kwargs,
    ):
        geometry.check_view(crop, view)
        # === Functional model ===
        image = keras.Input((view, view, 3), name="images")
        x = memory.head(encoder(image), dims, head, "head")
        embedding = keras.layers.UnitNormalization(dtype="float32", name="embedding")(x)
        super().__init__(encoder, image, embedding, **kwargs)
        self.remember()

    def transform(self, example):
        """One image -> (a view of it (view, view, 3), its index ())."""
        return self.augment(example["image"], example["seed"]), example["index"]

    def augment(self, image, seed):
        """A random view of (crop, crop, 3): (view, view, 3)."""
        seeds = images.split_seed(seed, 4)
        image = geometry.random_resized_crop(image, self.view, self.min_area, seeds[0])
        image = color.jitter(image, self.jitter, self.hue, seeds[1])
        image = color.random_grey(image, self.grey, seeds[2])
        return tf.image.stateless_random_flip_left_right(image, seeds[3]) if self.flip else image

    def embed(self, pixels):
        """Whole images (B, H, W, 3) in [0, 1] -> (B, dims), without augmentation."""
        return self(tf.image.resize(pixels, (self.view, self.view)), training=False)

    def content_loss(self, x, y, y_pred, sample_weight=None):
        """The contrast of the embeddings with the bank: a mean over the images ()."""
        return tf.reduce_mean(self.contrast(y_pred, y))

    def picture(self, x, y, y_pred=None):
        """The view, its row of the bank, and the embedding, numbers as shades of grey."""
        vectors = {"row in the bank": self.memory.gather(y).numpy()}
        if y_pred is not None:
            vectors["embedding"] = y_pred
        shades = {name: pictures.shades(vector, 96) for name, vector in vectors.items()}
        return pictures.row({"view": x, **shades})
