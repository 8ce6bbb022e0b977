"""Weighted k nearest neighbours, as NPID judges embeddings (Wu et al. 2018, arXiv:1805.01978)."""

import keras
import numpy as np

from sslzoo.errors import UserError


def knn(features, labels, test_features, test_labels, neighbors=200, temperature=0.1):
    """Accuracy of the vote of the nearest training rows, each weighing exp(cosine / temperature).

    Args:
        features, labels: (N, D), (N,).
        test_features, test_labels: (M, D), (M,).
        neighbors: that vote, at most N.
        temperature: 0.07 in the paper for ImageNet, 0.1 for CIFAR-10.
    """
    from sklearn.neighbors import KNeighborsClassifier  # at the top it would slow every start

    if len(features) != len(labels):
        raise UserError(
            f"kNN: expected a label for each of the {len(features)} rows. Received: {len(labels)}"
        )
    vote = KNeighborsClassifier(
        n_neighbors=min(neighbors, len(features)),
        weights=lambda distance: np.exp(-distance / temperature),  # a cosine is 1 - distance
        algorithm="brute",
        metric="cosine",
    )
    return float(vote.fit(features, labels).score(test_features, test_labels))


class Monitor(keras.callbacks.Callback):
    """`knn` on a memory bank after each epoch, logged as `knn`. Nothing of it feeds training.

    Args:
        embed: function of images (B, H, W, 3), gives (B, D).
        rows: function that returns the bank, (N, D).
        labels: (N,), of the images by index.
        test: dataset of `image` and `label`.
    """

    def __init__(self, embed, rows, labels, test):
        super().__init__()
        self.embed = embed
        self.rows = rows
        self.labels = np.asarray(labels)
        self.test = test

    def on_epoch_end(self, epoch, logs=None):
        """Adds the accuracy to the logs."""
        batches = [(self.embed(b["image"]), b["label"]) for b in self.test.batch(256)]
        embeddings, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
        logs["knn"] = knn(self.rows(), self.labels, embeddings, labels)
