"""Linear probe: how much of the labels can a plane read off each stage of a frozen encoder?

Departures from the protocols of the papers (Zhang et al. 2016, arXiv:1603.08511; Goyal et al. 2019,
arXiv:1905.01235), which train linear layers by SGD on augmented crops of ImageNet: here one convex
problem (`softmax`) is solved on one view of each image, so that the number depends on no learning
rate. Features are pooled to at most 9,600 dimensions by the *average* (as DeepCluster and Goyal;
Asano and RotNet take the maximum): it is linear, so the plane over the pooled map is still a plane
over the stage.

Beside it stands the vote of the nearest training images (`knn`), which fits nothing: cosines of a
stage averaged over space.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from sslzoo import precision
from sslzoo.errors import UserError
from sslzoo.probes import results, softmax
from sslzoo.probes.features import Embedder, averaged, dataset
from sslzoo.probes.nearest import knn

COLUMNS = {  # of a row: its title
    "stage": "stage",
    "dims": "dims",
    "accuracy": "accuracy",
    "random_accuracy": "random init",
    "C": "C",
    "knn": "kNN",
    "random_knn": "random init",
    "mark": "",
}


@dataclasses.dataclass(frozen=True)
class Scores:
    """Rows of a linear probe: dicts of stage, dims, C, accuracy, std, knn and the twin's `random_`.

    Over several draws of labels accuracy and knn are means, std is the standard deviation of the
    accuracy (None for one draw), and C is chosen on labels held out of the first draw.
    """

    rows: list[dict[str, Any]]
    train_labels: int
    test_labels: int
    classes: int
    majority: float  # accuracy of always answering the commonest training label
    seed: int
    draws: int = 1

    @property
    def best(self) -> dict[str, Any]:
        """The row with the highest accuracy."""
        return max(self.rows, key=lambda row: row["accuracy"])

    def __str__(self) -> str:
        marks = ["<- best" if row is self.best else "" for row in self.rows]
        rows = [
            {**row, "C": f"{row['C']:.2g}", "mark": mark}
            for row, mark in zip(self.rows, marks, strict=True)
        ]
        draws = f" in each of {self.draws} draws (mean ± std)" if self.draws > 1 else ""
        return (
            f"{results.table(rows, COLUMNS)}\n"
            f"linear probe: {self.train_labels:,} train{draws} and {self.test_labels:,} test "
            f"labels, {self.classes} classes, chance {self.majority:.2%}, seed {self.seed}"
        )


def linear(
    encoder: keras.Model,
    train: tf.data.Dataset | tuple[np.ndarray, np.ndarray] | list[Any],
    test: tf.data.Dataset | tuple[np.ndarray, np.ndarray],
    *,
    seed: int = 0,
    random_init: bool = True,
) -> Scores:
    """Probe every stage of `encoder`, and of the same architecture at random init.

    Args:
        encoder: functional model, (B, H, W, 3) in [0, 1] -> (B, h, w, C); it is not changed.
        train, test: finite `tf.data.Dataset`s of {"image": (H, W, 3), "label": ()}, all images of
            one size; or pairs of arrays: (N, H, W, 3) uint8 or float in [0, 1], labels (N,).
            A list of train datasets is several draws of labels: each is fitted and tested alone.
        seed: of the random twin, and of the splits that choose C among the training labels.
    """
    draws = [dataset(data, "train") for data in (train if isinstance(train, list) else [train])]
    test = dataset(test, "test")
    encoder = precision.in_policy(encoder, "float32")
    models = [encoder, random_twin(encoder, seed)] if random_init else [encoder]
    shape = draws[0].element_spec["image"].shape
    return beside([Embedder(m, shape) for m in models], draws, test, seed)


def beside(
    embedders: Sequence[Any],
    draws: Sequence[Any],
    test: Any,
    seed: int,
    fitted: dict[Any, Any] | None = None,
) -> Scores:
    """The scores of the first embedder, beside those of the second, if there is one.

    Args:
        embedders: `Embedder`s, or whatever else has `channels` and reads as they do.
        draws: what they read of training images, one or more times.
        test: what they read of test images, once each.
        seed: of the splits that choose C.
        fitted: what earlier calls found, by the digest of a `Cached` and the names of its
            `Images`: encoders of one architecture have the same twin, which is fitted once.
    """
    fits, y, y_test = [], np.array([]), np.array([])
    for embed in embedders:
        known, key = {}, ()
        if fitted is not None:
            known, key = fitted, (seed, embed.digest, test.name, *(draw.name for draw in draws))
        if key not in known:
            x_test, y_test = embed(test)
            known[key] = *_over_draws(embed, draws, x_test, y_test, seed), y_test
        rows_of, y, y_test = known[key]
        fits.append(rows_of)
    rows = [
        row | {f"random_{k}": twin[k] for twin in others for k in ("accuracy", "std", "C", "knn")}
        for row, *others in zip(*_rows(fits), strict=True)
    ]
    chance, number = majority(y, y_test), len({*y, *y_test})
    return Scores(rows, len(y) // len(draws), len(y_test), number, chance, seed, len(draws))


def majority(y: np.ndarray, y_test: np.ndarray) -> float:
    """Accuracy on the labels (M,) of always answering the commonest one of (N,)."""
    classes, counts = np.unique(y, return_counts=True)
    return float(np.mean(y_test == classes[counts.argmax()]))


def _rows(fits: list[dict[str, dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """Stage by stage; of another encoder than a twin the best stage, for all of them."""
    first = [*fits[0].values()]
    return [first] + [
        [*fit.values()]
        if fit.keys() == fits[0].keys()
        else [max(fit.values(), key=lambda row: row["accuracy"])] * len(first)
        for fit in fits[1:]
    ]


def _over_draws(
    embed: Any, draws: Sequence[Any], x_test: dict[str, np.ndarray], y_test: np.ndarray, seed: int
) -> tuple[dict[str, dict[str, Any]], np.ndarray]:
    """({stage: its row}, labels of all draws). Empties `x_test`: a stage is held while needed."""
    rows: dict[str, list[dict[str, Any]]] = {}
    labels: list[np.ndarray] = []
    for i, draw in enumerate(draws):
        x, y = embed(draw)
        check_labels(y, y_test)
        labels.append(y)
        for stage in [*x]:
            asked = x_test.pop(stage) if i == len(draws) - 1 else x_test[stage]
            part = x.pop(stage), y, asked, y_test
            found = rows[stage][0]["C"] if i else 0.0
            row = _fit(stage, *part, seed, found) | {"knn": _vote(*part, embed.channels[stage])}
            rows.setdefault(stage, []).append(row)
    return {stage: _mean(of_draws) for stage, of_draws in rows.items()}, np.concatenate(labels)


def _mean(fits: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of a stage from those of all draws."""
    accuracies = [fit["accuracy"] for fit in fits]
    return {
        "stage": fits[0]["stage"],
        "dims": fits[0]["dims"],
        "accuracy": float(np.mean(accuracies)),
        "std": results.deviation(accuracies),
        "C": fits[0]["C"],
        "knn": float(np.mean([fit["knn"] for fit in fits])),
    }


def seeds_of_draws(seed: int, draws: int) -> list[int]:
    """One for each draw of labels, far from those of runs with other seeds."""
    return [(seed + 1_000_003 * i) % 2**32 for i in range(draws)]


def random_twin(encoder: keras.Model, seed: int) -> keras.Model:
    """The same architecture with weights drawn anew from its own initializers, by `seed`."""
    seeds = itertools.count(1_000_003 * (seed + 1) % (2**31 - 2**20))  # room for a million layers

    def reseed(config: Any) -> Any:
        if isinstance(config, dict):
            return {k: next(seeds) if k == "seed" else reseed(v) for k, v in config.items()}
        return [reseed(v) for v in config] if isinstance(config, list) else config

    return encoder.__class__.from_config(reseed(encoder.get_config()))


# === Labels and the plane ===


def check_labels(y: np.ndarray, y_test: np.ndarray) -> None:
    """Raises a `UserError` where no probe can be made of training (N,) and test labels (M,)."""
    classes = {*y, *y_test}
    if len({*y}) < 2:
        raise UserError(f"A probe needs two classes to tell apart. Received only: {y[0]}")
    if len(y) < len(classes):
        raise UserError(
            f"A probe needs a training label per class at least. Received: {len(y)} labels "
            f"for {len(classes)} classes"
        )
    if len(y) == len({*y}):
        raise UserError("A probe needs a class with two training labels. Received: one of each")


def _vote(
    x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, channels: int
) -> float:
    """`knn` of the stage's cells (N, g * g * C), averaged."""
    return knn(averaged(x, channels), y, averaged(x_test, channels), y_test)


def _fit(
    stage: str,
    x: np.ndarray,
    y: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    seed: int,
    strength: float = 0.0,
) -> dict[str, Any]:
    """One row: a plane over all labels, with C = `strength`, or found by a split of them."""
    dims = x.shape[1]
    x, x_test = softmax.span(*softmax.standardised(x, x, x_test))
    if strength:
        plane = softmax.fit(x, y, strength)
    else:
        plane, strength, _ = softmax.best(x, y, dims, seed)
    accuracy = plane.accuracy(x_test, y_test)
    logging.info("%s: accuracy %.4f with C %.2g", stage, accuracy, strength)
    return {"stage": stage, "dims": dims, "accuracy": accuracy, "C": strength}
