"""DeepCluster (Caron, Bojanowski, Joulin & Douze 2018, arXiv:1807.05520).

Before each epoch the network's features of all images are clustered, and during the epoch it
learns to say each image's cluster. What the clusters have in common changes with the network.
"""

import time

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from sslzoo import images, pictures
from sslzoo.errors import UserError
from sslzoo.flags.ranges import Area, Count, Fraction, OptionalWidth, Pixels, Width
from sslzoo.images import geometry
from sslzoo.parts import clusters, tables
from sslzoo.parts.layers import ReplicaDropout
from sslzoo.precision import in_float32
from sslzoo.pretext import Pretext

BATCH = 256  # images of a pass for their features
HALF = 0.01  # a share of the clusters; where so few hold half of the images, they have collapsed


@keras.saving.register_keras_serializable("sslzoo")
class DeepCluster(Pretext):
    """In which of `k` clusters is this image?

    The assignment is a weight, so it is saved and a killed run goes on with it. `Recluster` makes
    it; without, it is `index % k`. The defaults are the paper's for ImageNet.

    Departures from the paper: the crops come from a square of the resized image; clusters that
    would be empty are repaired, so labels need no renumbering; see also `parts.clusters`. The
    Sobel filters are part of the encoder (`alexnet_sobel`, `small_sobel`).

    Args:
        encoder: (B, view, view, 3) in [0, 1] -> (B, h, w, C).
        num_images: every example's index is below it.
        k: number of clusters.
        crop: side of the square image in pixels, from which the view is cut.
        view: side of the view in pixels; features are of the middle of the crop.
        min_area: the view is a random share of the crop, from this to 1.
        flip: mirror half of the views.
        fc: width of two fully connected layers, whose second gives the features before its ReLU
            (the paper's AlexNet: 4096); 0 takes the encoder's maps, averaged.
        dropout: rate before each fully connected layer.
        pca: dimensions of the features that are clustered, at most.

    Raises:
        UserError: an argument is out of range; the message names the flag.
    """

    sees = "random parts of images in colour"

    def __init__(
        self,
        encoder,
        num_images,
        k: Count = 10_000,
        crop: Pixels = 256,
        view: Pixels = 224,
        min_area: Area = 0.08,
        flip=True,
        fc: OptionalWidth = 4096,
        dropout: Fraction = 0.5,
        pca: Width = 256,
        **kwargs,
    ):
        geometry.check_view(crop, view)
        _check(num_images, k)
        # === Functional model ===
        image = keras.Input((view, view, 3), name="images")
        features = _features(encoder(image), fc, dropout)
        top = keras.layers.Dense(k, kernel_initializer=_new_kernel(), dtype="float32", name="top")
        x = keras.layers.ReLU()(features) if fc else features
        super().__init__(encoder, image, top(x), **kwargs)
        self.top = top
        self.features = keras.Model(image, features, name="features")
        self.chance_loss = float(np.log(k))
        self.assignments = self._state("assignments", np.arange(num_images) % k)
        self.previous = self._state("previous", np.arange(num_images) % k)
        self.clustered = self._state("clustered", -1)  # the epoch that the assignment is for

    def _state(self, name, start):
        def initializer(shape, dtype=None):
            return tf.constant(start, dtype)

        return self.add_weight(np.shape(start), initializer, "int32", trainable=False, name=name)

    def transform(self, example):
        """One image -> (a view of it (view, view, 3), its index ())."""
        seeds = images.split_seed(example["seed"], 2)
        image = geometry.random_resized_crop(example["image"], self.view, self.min_area, seeds[0])
        if self.flip:
            image = tf.image.stateless_random_flip_left_right(image, seeds[1])
        return image, example["index"]

    # === Training ===

    @property
    def parameter_groups(self):
        """The last layer has an optimizer of its own, `top` (the paper: no momentum)."""
        return {"top": self.top.trainable_variables}

    def train_step(self, data):
        """The label is the image's cluster."""
        return super().train_step(self._labelled(data))

    def test_step(self, data):
        """The label is the image's cluster."""
        return super().test_step(self._labelled(data))

    def _labelled(self, data):
        x, index, weight = keras.utils.unpack_x_y_sample_weight(data)
        labels = tables.gather(self.assignments, index)
        return keras.utils.pack_x_y_sample_weight(x, labels, weight)

    def reset_top(self, seed):
        """New weights and momenta of the last layer, whose outputs mean other clusters now."""
        kernel, bias = self.top.kernel, self.top.bias
        kernel.assign(_new_kernel(seed)(kernel.shape))
        bias.assign(tf.zeros_like(bias))
        for slot in self.optimizers["top"].variables:
            if slot.shape:  # not the step or the rate
                slot.assign(tf.zeros_like(slot))

    def picture(self, x, y, y_pred=None):
        """The view; with an answer, in a green frame where it names the cluster, else in red."""
        if y_pred is None:
            return pictures.row({"view": x})
        return pictures.row(
            {"answer": x}, int(np.argmax(y_pred)) == int(self.assignments.numpy()[int(y)])
        )


class Recluster(keras.callbacks.Callback):
    """The work before each epoch: `table(epoch)` clusters the images and gives the ones to draw.

    An epoch that a killed run had begun keeps its assignment, which was saved with it. Logged with
    the epoch: `nmi` with the assignment before, `largest_cluster` and `smallest_cluster` (images),
    and `clusters_of_half`, how many of the largest hold half of all images.

    Args:
        pretext: the `DeepCluster`.
        examples: function of `crop` that gives all images, in the order of their indices.
        seed: of k-means and of the draws, with the epoch.
        every: epochs between two assignments.
    """

    def __init__(self, pretext, examples, seed=0, every=1):
        super().__init__()
        self.pretext = pretext
        self.examples = examples
        self.seed = seed
        self.every = every

    def table(self, epoch):
        """(num_images,) int64: the images of the epoch, clusters equally often."""
        pretext, wanted = self.pretext, epoch // self.every * self.every
        if int(pretext.clustered.numpy()) != wanted:
            start = time.monotonic()
            labels = clusters.assign(self.rows(), pretext.k, self.seed + wanted)
            logging.info("clustered %d images in %.1f s", len(labels), time.monotonic() - start)
            pretext.previous.assign(pretext.assignments)
            pretext.assignments.assign(labels)
            pretext.clustered.assign(wanted)
            pretext.reset_top(self.seed + wanted)
            self.warn(epoch)
        return clusters.balanced(pretext.assignments.numpy(), [self.seed, epoch])

    def report(self):
        """What to log of the assignment."""
        labels, previous = self.pretext.assignments.numpy(), self.pretext.previous.numpy()
        return clusters.report(labels, previous, self.pretext.k)

    def rows(self):
        """The features of all images in inference mode, whitened and of length 1: (N, d)."""
        pretext = self.pretext
        call = tf.function(lambda x: pretext.features(x, training=False), autograph=False)
        # One array, made before: a list of parts would be there twice while they are put together.
        features = np.empty((pretext.num_images, pretext.features.output_shape[1]), np.float32)
        batches = self.examples(crop=pretext.crop).batch(BATCH).prefetch(1)
        for i, batch in enumerate(batches):
            middle = tf.image.resize_with_crop_or_pad(batch["image"], pretext.view, pretext.view)
            features[i * BATCH : (i + 1) * BATCH] = in_float32(call(middle))
        return clusters.prepare(features, pretext.pca)

    def warn(self, epoch):
        """Says so where few clusters hold half of the images."""
        few = self.report()["clusters_of_half"]
        if few <= max(1, HALF * self.pretext.k):
            logging.warning(
                "epoch %d: %d of %d clusters hold half of the images; the features have collapsed",
                epoch + 1,
                few,
                self.pretext.k,
            )

    def on_epoch_end(self, epoch, logs=None):
        """Adds the report to the logs."""
        logs.update(self.report())


def _features(x, fc, dropout):
    """Feature maps (B, h, w, C) -> (B, fc) before the last ReLU, or (B, C)."""
    if not fc:
        return keras.layers.GlobalAveragePooling2D(dtype="float32")(x)
    x = ReplicaDropout(dropout)(keras.layers.Flatten()(x))
    x = keras.layers.Dense(fc, activation="relu", kernel_initializer="he_normal", name="fc6")(x)
    x = ReplicaDropout(dropout)(x)
    return keras.layers.Dense(fc, kernel_initializer="he_normal", name="fc7")(x)


def _new_kernel(seed=None):
    return keras.initializers.RandomNormal(stddev=0.01, seed=seed)


def _check(num_images, k):
    if not 2 <= k <= num_images:
        raise UserError(f"--k: expected 2 to {num_images} clusters (images). Received: {k}")
