"""Weighted k nearest neighbours, as NPID judges embeddings (Wu et al. 2018, arXiv:1805.01978)."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sslzoo.errors import UserError

BATCH = 256  # images of a pass
TESTED = 5000  # test images that `Monitor` asks about, at most


def knn(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    neighbors: int = 200,
    temperature: float = 0.1,
) -> float:
    """Accuracy of the vote of the nearest training rows, each weighing exp(cosine / temperature).

    Args:
        features, labels: (N, D), (N,).
        test_features, test_labels: (M, D), (M,).
        neighbors: that vote, at most N.
        temperature: 0.07 in the paper for ImageNet, 0.1 for CIFAR-10.
    """
    if len(features) != len(labels):
        raise UserError(
            f"kNN: expected a label for each of the {len(features)} rows. Received: {len(labels)}"
        )
    names, labels = np.unique(labels, return_inverse=True)
    answers = []
    for cosines, found in nearest(features, test_features, neighbors):
        weights = np.exp(cosines / temperature - 1 / temperature)
        votes = np.zeros((len(weights), len(names)))
        np.add.at(votes, (np.arange(len(weights))[:, None], labels[found]), weights)
        answers.append(names[votes.argmax(1)])
    return float(np.mean(np.concatenate(answers) == test_labels))


def nearest(
    features: np.ndarray, queries: np.ndarray, k: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cosines and indices (B, min(k, N)) of the rows of (N, D) nearest to a block of queries."""
    rows, asked = unit(features), unit(queries)
    for i in range(0, len(asked), BATCH):  # not all M x N cosines at once
        cosines = tf.matmul(asked[i : i + BATCH], rows, transpose_b=True)
        found = tf.math.top_k(cosines, min(k, len(rows)))
        yield found.values.numpy(), found.indices.numpy()


def unit(rows: np.ndarray) -> np.ndarray:
    """Of length 1, but for zeros: (N, D) float32."""
    rows = np.asarray(rows, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


class Monitor(keras.callbacks.Callback):
    """`knn` after each epoch, logged as `knn`. Nothing of it feeds training.

    The rows that vote are those of the memory bank; without one the images are embedded anew.

    Args:
        pretext: a `Pretext`: has `embed` and `crop`.
        train, test: labelled sources.
        images: training images that vote, at most; of test images at most `TESTED` are asked.
        seed: chooses them.
        memory: the bank of the training images, or None.
    """

    def __init__(
        self, pretext: Any, train: Any, test: Any, images: int, seed: int = 0, memory: Any = None
    ) -> None:
        super().__init__()
        self.pretext = pretext
        self.train = train
        self.memory = memory
        draw = np.random.default_rng(seed).permutation
        self.voters = np.sort(draw(train.size)[:images])
        asked = np.sort(draw(test.size)[:TESTED])
        options = {"crop": pretext.crop, "shuffle": False, "stop": len(asked)}
        self.test = test.examples(table=asked, **options).batch(BATCH)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds the accuracy to the logs."""
        if self.memory is not None:
            rows = self.memory.gather(self.voters).numpy()
            labels = np.asarray(self.train.labels)[self.voters]
        else:
            options = {"crop": self.pretext.crop, "shuffle": False, "stop": len(self.voters)}
            rows, labels = self._embedded(
                self.train.examples(table=self.voters, **options).batch(BATCH)
            )
        logs["knn"] = knn(rows, labels, *self._embedded(self.test))

    def _embedded(self, batches: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
        embed = self.pretext.embed
        pairs = [(np.asarray(embed(b["image"])), b["label"].numpy()) for b in batches]
        rows, labels = zip(*pairs, strict=True)
        return np.concatenate(rows), np.concatenate(labels)
