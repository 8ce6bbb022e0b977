"""Few labels: the plane over k images of each class, by k (Goyal et al. 2019, arXiv:1905.01235).

As there k labels are drawn several times and the mean and the deviation reported. Departures: one
plane for all classes in place of an SVM for each, since the data sets here have one label an image;
and one stage of an encoder, the one that does best on a held-out fifth of the largest k, by which
no test label is used. Features are standardised by all training images at hand, which needs no
label.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from sslzoo.pictures import chart
from sslzoo.probes import softmax
from sslzoo.probes.results import deviation

CURVES = {  # name: what its keys in a row begin with
    "frozen": "",
    "fine-tuned": "finetuned_",
    "from scratch": "scratch_",
    "random init, frozen": "random_",
}
STRENGTH = 4.0  # C x dims where no label can be held out, see `softmax.PATH`


def low_shot(
    embedders: Sequence[Any],
    pool: Any,
    test: Any,
    shots: Sequence[int],
    draws: int = 5,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """A row for each k: shots, labels, stage, accuracies, their mean and std, and `random_` ones.

    Args:
        embedders: of the encoder and of its random twin, see `linear_probe.beside`.
        pool: what they read of the training images that are drawn from.
        test: what they read of the test images.
        shots: labels of each class; those of which a class has fewer in the pool are left out.
        draws: how often they are drawn.
        seed: of the draws and of the splits that choose stage and C.
    """
    rows: list[dict[str, Any]] = []
    for whose, embed in zip(("", "random_"), embedders, strict=False):
        (x, y), (x_test, y_test) = embed(pool), embed(test)
        possible = _possible(y, shots)
        stage = _stage(x, y, max(possible), seed)
        fits = _Fits(x[stage], y, x_test[stage], y_test)
        for i, k in enumerate(possible):
            found = [fits.accuracy(per_class(y, k, (seed, j)), seed + j) for j in range(draws)]
            row = {"stage": stage, "accuracy": float(np.mean(found)), "std": deviation(found)}
            row["accuracies"] = found
            if not whose:
                rows.append({"shots": k, "labels": k * len({*y})})
            rows[i] |= {f"{whose}{key}": value for key, value in row.items()}
    return rows


def by_shots(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Rows as curves of accuracy by labels a class: (H, W, 3) uint8."""
    curves: dict[str, dict[str, Sequence[float]]] = {}
    for row in rows:
        for name, key in CURVES.items():
            if f"{key}accuracy" in row:
                values = row.get(f"{key}accuracies", [row[f"{key}accuracy"]])
                place = f"{row['shots']:,}"
                curves.setdefault(name, {})[place] = [100 * value for value in values]
    return chart.lines(curves, "accuracy, %", "labels a class", dashed=["random init, frozen"])


def per_class(y: np.ndarray, k: int, seed: int | tuple[int, ...]) -> np.ndarray:
    """Indices (k * classes,) of k random examples of each class of the labels (N,)."""
    order = np.random.default_rng(seed).permutation(len(y))
    return np.concatenate([order[y[order] == label][:k] for label in np.unique(y)])


def _possible(y: np.ndarray, shots: Sequence[int]) -> list[int]:
    fewest = int(np.unique(y, return_counts=True)[1].min())
    if left_out := [k for k in shots if k > fewest]:
        logging.info("a class has %d images: no %s labels of each", fewest, left_out)
    return [k for k in shots if k <= fewest] or [fewest]


def _stage(x: dict[str, np.ndarray], y: np.ndarray, k: int, seed: int) -> str:
    """The best on held-out labels; the last one where none can be held out."""
    if k == 1:
        return [*x][-1]
    some, accuracies = per_class(y, k, (seed, 0)), {}
    for stage, rows in x.items():
        part, _ = softmax.span(*softmax.standardised(rows, rows[some], rows[:0]))
        accuracies[stage] = softmax.best(part, y[some], rows.shape[1], seed)[2]
    return max(accuracies, key=lambda stage: accuracies[stage])


class _Fits:
    """Planes over few rows of a stage, (N, D), asked about all test rows."""

    def __init__(
        self, x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray
    ) -> None:
        self.x, self.x_test = softmax.standardised(x, x, x_test)
        self.y, self.y_test = y, y_test

    def accuracy(self, some: np.ndarray, seed: int) -> float:
        """Of the plane over the rows at those indices."""
        dims, y = self.x.shape[1], self.y[some]
        x, x_test = softmax.span(self.x[some], self.x_test)
        if len(y) == len({*y}):
            return softmax.fit(x, y, STRENGTH / dims).accuracy(x_test, self.y_test)
        return softmax.best(x, y, dims, seed)[0].accuracy(x_test, self.y_test)
