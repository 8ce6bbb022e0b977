"""Non-parametric instance discrimination, NPID (Wu et al. 2018, arXiv:1805.01978).

Every image is a class of its own. The network maps two different views of an image, one now and
those of earlier epochs that the memory bank averages, to the same point of a sphere, far from
all other images. Nothing but the augmentation says what may be ignored.
"""

import keras
import tensorflow as tf

from sslzoo import images
from sslzoo.errors import UserError
from sslzoo.memory import MemoryPretext
from sslzoo.pretext import replica_count


@keras.saving.register_keras_serializable("sslzoo")
class Npid(MemoryPretext):
    """Which of `num_images` images is this a view of?

    The defaults are the paper's for ImageNet; CIFAR-10 has `crop=32, view=32, negatives=0,
    temperature=0.1, flip=False`.

    Departures from the paper: `sslzoo.memory` names those of the bank and of NCE; views are cut
    from a random square of the resized image; the colour operations have a fixed order.

    Args:
        encoder: (B, view, view, 3) in [0, 1] -> (B, h, w, C).
        num_images: rows of the bank; every example's index is below it.
        crop: side of the square image in pixels, from which the view is cut.
        view: side of the view in pixels.
        min_area: the view is a random share of the crop, from this to 1.
        jitter: strength of the change of brightness, contrast and saturation.
        hue: turn of the hue, at most, as a share of the circle.
        grey: probability of a grey view.
        flip: mirror half of the views.
        dims: length of the embedding.
        temperature: of the cosines.
        momentum: share of the old row of the bank in the new one.
        negatives: rows drawn in each step; 0 compares with all rows (full softmax), which costs
            little for some 100,000 images.
        estimator: of the loss with drawn negatives: `"nce"` (the paper) or `"infonce"`.

    Raises:
        UserError: an argument is out of range; the message names the flag.
    """

    def __init__(
        self,
        encoder,
        num_images,
        crop=256,
        view=224,
        min_area=0.2,
        jitter=0.4,
        hue=0.4,
        grey=0.2,
        flip=True,
        dims=128,
        temperature=0.07,
        momentum=0.5,
        negatives=4096,
        estimator="nce",
        **kwargs,
    ):
        _check(crop, view, min_area, jitter, hue)
        # === Functional model ===
        image = keras.Input((view, view, 3), name="images")
        x = keras.layers.GlobalAveragePooling2D()(encoder(image))
        x = keras.layers.Dense(dims, name="head")(x)
        embedding = keras.layers.UnitNormalization(name="embedding")(x)
        super().__init__(encoder, image, embedding, **kwargs)

        # === Config ===
        self.crop = crop
        self.view = view
        self.min_area = min_area
        self.jitter = jitter
        self.hue = hue
        self.grey = grey
        self.flip = flip
        self.remember(num_images, dims, momentum, temperature, negatives, estimator)

    def transform(self, example):
        """One image -> (a view of it (view, view, 3), its index ())."""
        crop_seed, view_seed = images.split_seed(example["seed"], 2)
        image = images.random_crop(example["image"], self.crop, crop_seed)
        return self.augment(image, view_seed), example["index"]

    def augment(self, image, seed):
        """A random view of (crop, crop, 3): (view, view, 3)."""
        seeds = images.split_seed(seed, 4)
        image = images.random_resized_crop(image, self.view, self.min_area, seeds[0])
        image = images.jitter_color(image, self.jitter, self.hue, seeds[1])
        image = images.random_grey(image, self.grey, seeds[2])
        return tf.image.stateless_random_flip_left_right(image, seeds[3]) if self.flip else image

    def embed(self, pixels):
        """Whole images (B, H, W, 3) in [0, 1] -> (B, dims), without augmentation."""
        return self(tf.image.resize(pixels, (self.view, self.view)), training=False)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean over the images (), divided by the number of replicas."""
        return tf.reduce_mean(self.contrast(y_pred, y)) / replica_count()

    def picture(self, x, y, y_pred=None):
        """The view, its row of the bank, and the embedding, numbers as shades of grey."""
        vectors = [self.memory.gather(y).numpy()] + ([] if y_pred is None else [y_pred])
        panels = [images.enlarge(images.to_uint8(x), 96)]
        panels += [images.shades(vector, panels[0].shape[0]) for vector in vectors]
        return images.mosaic(panels, len(panels), gap=8)


def _check(crop, view, min_area, jitter, hue):
    if not 1 <= view <= crop:
        raise UserError(f"--view: expected 1 to --crop={crop} pixels. Received: {view}")
    if not 0 < min_area <= 1:
        raise UserError(f"--min_area: expected more than 0, at most 1. Received: {min_area}")
    if not 0 <= jitter <= 1:
        raise UserError(f"--jitter: expected 0 to 1. Received: {jitter}")
    if not 0 <= hue <= 0.5:
        raise UserError(f"--hue: expected 0 to 0.5 circles. Received: {hue}")
