"""A classifier head on one stage of an encoder: the plane of the linear probe, ready to be shipped.

Frozen, it is logistic regression on pooled features, which needs no learning rate. Fine-tuning,
`finetuning`, goes on from that plane.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from sslzoo import encoders
from sslzoo.errors import UserError
from sslzoo.probes import softmax
from sslzoo.probes.features import BATCH, Embedder, dataset, pooled

FEATURES = 2048  # of a stage, pooled: on CIFAR-10 a 4x4 grid of 128 channels
EPSILON = 1e-5  # added to variances


@dataclasses.dataclass(frozen=True)
class Head:
    """Logits of K classes from one stage.

    Attributes:
        encoder: the encoder it belongs to.
        stage: name of the stage that it reads.
        network: `keras.Model`, (B, h, w, C) -> (B, K).
        images: shape of the images it is for, (H, W, 3).
    """

    encoder: keras.Model
    stage: str
    network: keras.Model
    images: tuple[int, int, int]

    @property
    def body(self) -> keras.Model:
        """The encoder up to the stage, (B, H, W, 3) in [0, 1] -> (B, h, w, C)."""
        return keras.Model(self.encoder.input, self.encoder.get_layer(self.stage).output)

    def model(self) -> keras.Model:
        """Encoder and head as one `keras.Model`, (B, H, W, 3) in [0, 1] -> logits (B, K)."""
        images = keras.Input(self.images)
        return keras.Model(images, self.network(self.body(images)))

    def maps(self, batches: tf.data.Dataset) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """What the stage makes of batches of images and labels, at inference."""
        body = self.body
        call = tf.function(lambda images: body(images, training=False), autograph=False)
        for images, labels in batches:
            yield call(images), labels

    def predict(self, test: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Labels (N,) and predicted labels (N,) of a dataset of `image` and `label`."""
        model = self.model()
        call = tf.function(lambda images: tf.argmax(model(images, training=False), axis=-1))
        batches = test.batch(BATCH).prefetch(1)
        pairs = [(b["label"].numpy(), call(b["image"]).numpy()) for b in batches]
        labels, answers = zip(*pairs, strict=True)
        return np.concatenate(labels), np.concatenate(answers)

    def accuracy(self, test: tf.data.Dataset) -> float:
        """The share of the images of such a dataset that `predict` gives their label."""
        return float(np.mean(np.equal(*self.predict(test))))


def fit_head(
    encoder: keras.Model,
    train: tf.data.Dataset | tuple[np.ndarray, np.ndarray],
    classes: Sequence[str],
    *,
    stage: str = "",
    seed: int = 0,
) -> Head:
    """Fits a plane to the frozen features of a stage. The encoder is not changed.

    Args:
        encoder: functional model, (B, H, W, 3) in [0, 1] -> (B, h, w, C).
        train: finite dataset of `image` (H, W, 3), all of one size, and `label` ().
        classes: list of K names; label i is classes[i].
        stage: the stage to read; empty takes the one that does best on a fifth of the labels,
            held out of the fit.
        seed: of that split.
    """
    names = encoders.stages(encoder)
    if stage and stage not in names:
        raise UserError(f"--stage: expected one of {', '.join(names)}. Received: {stage}")
    train = dataset(train, "train")
    x, y = Embedder(encoder, train.element_spec["image"].shape, FEATURES)(train)
    check_head_labels(y, classes)
    planes = {}
    for name in [stage] if stage else names:
        planes[name] = _plane(x[name], y, seed)
        logging.info("%s: %.1f%% of the training labels held out", name, 100 * planes[name][0])
    best = max(planes, key=lambda name: planes[name][0])
    head = untrained(encoder, len(classes), train.element_spec["image"].shape[0], best)
    head.network.get_layer("norm").set_weights(planes[best][1])
    head.network.get_layer("logits").set_weights(planes[best][2])
    return head


def untrained(encoder: keras.Model, classes: int, side: int, stage: str = "") -> Head:
    """A head with random weights for K classes on a stage, by default the last one.

    `side` is that of the square images that it is for, in pixels.
    """
    stage, shape = stage or encoders.stages(encoder)[-1], (side, side, 3)
    body = keras.Model(encoder.input, encoder.get_layer(stage).output)
    maps = keras.Input(body.compute_output_shape((None, *shape))[1:])
    return Head(encoder, stage, _network(maps, classes), shape)


def check_head_labels(y: np.ndarray, classes: Sequence[str]) -> None:
    """Raises a `UserError` where `fit_head` can make none of labels (N,)."""
    counts = np.bincount(y, minlength=len(classes))
    if len(classes) < 2 or counts.min() < 2:
        few = classes[int(counts.argmin())]
        raise UserError(
            "A head needs two classes and two training images of each. "
            f"Received: {len(classes)} classes, {counts.min()} training images of {few}"
        )


def _network(maps: keras.KerasTensor, classes: int) -> keras.Model:
    """Keras tensor (B, h, w, C) -> model with logits (B, K); its weights are to come from `_plane`.

    Features are divided by the root of their number, so that one learning rate does for all.
    """
    x = pooled(maps, FEATURES)  # (B, D)
    norm = keras.layers.BatchNormalization(
        momentum=0.9, epsilon=EPSILON, center=False, scale=False, name="norm"
    )
    x = keras.layers.Rescaling(x.shape[1] ** -0.5)(norm(x))
    return keras.Model(maps, keras.layers.Dense(classes, name="logits")(x), name="head")


def _plane(
    x: np.ndarray, y: np.ndarray, seed: int
) -> tuple[float, list[np.ndarray], list[np.ndarray]]:
    """Features (N, D), labels (N,) -> accuracy on held-out labels, weights of norm and logits."""
    mean, variance = x.mean(0), x.var(0)
    x = (x - mean) / np.sqrt(variance + EPSILON)
    plane, _, accuracy = softmax.best(x, y, x.shape[1], seed)
    return accuracy, [mean, variance], [plane.kernel * len(plane.kernel) ** 0.5, plane.bias]
