"""Linear probe: how much of the labels can a plane read off each stage of a frozen encoder?

Departures from the protocols of the papers (Zhang et al. 2016, arXiv:1603.08511; Goyal et al. 2019,
arXiv:1905.01235), which train linear layers by SGD on augmented crops of ImageNet: here one convex
problem (scikit-learn's multinomial logistic regression with an L2 penalty) is solved on one view of
each image, so that the number depends on no learning rate. Features are pooled to at most 9,600
dimensions by the *average* (as DeepCluster and Goyal; Asano and RotNet take the maximum): it is
linear, so the plane over the pooled map is still a plane over the stage.

Beside it stands the vote of the nearest training images (`knn`), which fits nothing: cosines of a
stage averaged over space.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from sslzoo import encoders, precision
from sslzoo.errors import UserError
from sslzoo.probes.nearest import knn

# The penalty is |w|^2 / 2C against the *sum* of the losses, as scikit-learn has it. Features are
# standardised, so a plane's reach grows with their number: the path is C x dims. On CIFAR-10 and
# 3,000 labels the optimum lay at 3 to 10 for every stage.
PATH = (0.25, 1.0, 4.0, 16.0, 64.0)
# Of L-BFGS. A tenth of it moved test accuracies by at most 0.6 points (one sigma is 1.1) and took
# three times as long (CIFAR-10, 5,000 training labels).
TOLERANCE = 1e-2


@dataclasses.dataclass(frozen=True)
class Scores:
    """Rows of a linear probe: dicts of stage, dims, accuracy, C, knn and the twin's `random_`."""

    rows: list[dict[str, Any]]
    train_labels: int
    test_labels: int
    classes: int
    chance: float  # accuracy of always answering the commonest training label
    seed: int

    @property
    def best(self) -> dict[str, Any]:
        """The row with the highest accuracy."""
        return max(self.rows, key=lambda row: row["accuracy"])

    def __str__(self) -> str:
        lines = ["stage      dims  accuracy  random init         C     kNN  random init"]
        for row in self.rows:
            random, random_knn = (
                f"{row[name]:11.2%}" if name in row else "          -"
                for name in ("random_accuracy", "random_knn")
            )
            mark = "  <- best" if row is self.best else ""
            start = f"{row['stage']:<8} {row['dims']:6d} {row['accuracy']:9.2%}  {random}"
            lines.append(f"{start} {row['C']:9.2g} {row['knn']:7.2%}  {random_knn}{mark}")
        lines.append(
            f"linear probe: {self.train_labels:,} train and {self.test_labels:,} test labels, "
            f"{self.classes} classes, chance {self.chance:.2%}, seed {self.seed}"
        )
        return "\n".join(lines)


def linear(
    encoder: keras.Model,
    train: tf.data.Dataset | tuple[np.ndarray, np.ndarray],
    test: tf.data.Dataset | tuple[np.ndarray, np.ndarray],
    *,
    seed: int = 0,
    random_init: bool = True,
    max_features: int = 9600,
    batch_size: int = 256,
) -> Scores:
    """Probe every stage of `encoder`, and of the same architecture at random init.

    Args:
        encoder: functional model, (B, H, W, 3) in [0, 1] -> (B, h, w, C); it is not changed.
        train, test: finite `tf.data.Dataset`s of {"image": (H, W, 3), "label": ()}, all images of
            one size; or pairs of arrays: (N, H, W, 3) uint8 or float in [0, 1], labels (N,).
        seed: of the random twin, and of the split that chooses C among the training labels.
    """
    train, test = dataset(train, "train"), dataset(test, "test")
    encoder = precision.in_policy(encoder, "float32")
    models = [encoder, random_twin(encoder, seed)] if random_init else [encoder]
    fits: list[dict[str, dict[str, Any]]] = []
    for model in models:
        read = reader(model, train.element_spec["image"].shape, max_features)
        x, y = features(read, train, batch_size)
        x_test, y_test = features(read, test, batch_size)
        check_labels(y, y_test)
        fits.append({})
        for stage in [*x]:
            part = x.pop(stage), y, x_test.pop(stage), y_test
            vote = _vote(*part, channels=encoder.get_layer(stage).output.shape[-1])
            fits[-1][stage] = _fit(stage, *part, seed) | {"knn": vote}
    rows = [
        row | {f"random_{k}": twin[k] for twin in others for k in ("accuracy", "C", "knn")}
        for row, *others in zip(*(fit.values() for fit in fits), strict=True)
    ]
    classes, counts = np.unique(y, return_counts=True)
    chance = float(np.mean(y_test == classes[counts.argmax()]))
    return Scores(rows, len(y), len(y_test), len({*y, *y_test}), chance, seed)


def random_twin(encoder: keras.Model, seed: int) -> keras.Model:
    """The same architecture with weights drawn anew from its own initializers, by `seed`."""
    seeds = itertools.count(1_000_003 * (seed + 1) % (2**31 - 2**20))  # room for a million layers

    def reseed(config: Any) -> Any:
        if isinstance(config, dict):
            return {k: next(seeds) if k == "seed" else reseed(v) for k, v in config.items()}
        return [reseed(v) for v in config] if isinstance(config, list) else config

    return encoder.__class__.from_config(reseed(encoder.get_config()))


# === Features ===


def dataset(data: tf.data.Dataset | tuple[np.ndarray, np.ndarray], name: str) -> tf.data.Dataset:
    """`data` as a finite dataset of {"image", "label"}; `name` is what an error calls it."""
    if isinstance(data, tuple):
        images, labels = np.asarray(data[0]), np.asarray(data[1])
        data = tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})
    spec = getattr(data, "element_spec", None)
    if not isinstance(spec, dict) or not {"image", "label"} <= spec.keys():
        raise UserError(f"{name}: a probe needs examples with image and label. Received: {spec}")
    shape = spec["image"].shape
    if shape.rank != 3 or not shape.is_fully_defined() or shape[-1] != 3:
        raise UserError(f"{name}: images must have one shape (H, W, 3). Received: {shape}")
    if data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise UserError(f"{name}: a probe needs a finite dataset. Received: an endless one")
    return data


def reader(
    encoder: keras.Model, shape: tf.TensorShape, max_features: int
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Images (B, *shape) float32 -> {stage: (B, dims)}, pooled in the graph to bound the memory.

    Traced here, once for batches of any size.
    """
    names = encoders.stages(encoder)
    inside = keras.Model(encoder.input, {name: encoder.get_layer(name).output for name in names})
    images = keras.Input(shape)
    maps = inside(images, training=False)
    model = keras.Model(images, {name: pooled(maps[name], max_features) for name in names})
    call = tf.function(lambda images: model(images, training=False), autograph=False)
    return call.get_concrete_function(tf.TensorSpec((None, *shape), tf.float32))


def features(
    read: Callable[[tf.Tensor], dict[str, tf.Tensor]], data: tf.data.Dataset, batch_size: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """All stages in one pass of a `reader`: ({stage: (N, dims) float32}, labels (N,))."""
    parts: dict[str, list[np.ndarray]] = {}
    labels: list[np.ndarray] = []
    for batch in data.batch(batch_size).prefetch(1):
        images = tf.image.convert_image_dtype(batch["image"], tf.float32)
        for stage, value in read(images).items():
            parts.setdefault(stage, []).append(value.numpy())
        labels.append(batch["label"].numpy())
    if not labels:
        raise UserError("A probe needs examples. Received: an empty dataset")
    # Popped, so that at most one stage is held twice.
    arrays = {stage: np.concatenate(parts.pop(stage)) for stage in [*parts]}
    for stage, value in arrays.items():
        if not np.isfinite(value).all():
            raise UserError(f"Features must be finite. Received: NaN or infinity in {stage}")
    return arrays, np.concatenate(labels)


def pooled(maps: keras.KerasTensor, max_features: int) -> keras.KerasTensor:
    """Keras tensor (B, h, w, C) -> (B, g * g * C), averaged to at most `max_features`."""
    _, height, width, channels = maps.shape
    grid = max(1, min(height, width, int((max_features / channels) ** 0.5)))
    if (height, width) != (grid, grid):
        maps = keras.layers.AdaptiveAveragePooling2D(grid)(maps)  # (B, g, g, C)
    return keras.layers.Flatten()(maps)


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
    x, x_test = (part.reshape(len(part), -1, channels).mean(1) for part in (x, x_test))
    return knn(x, y, x_test, y_test)


def _fit(
    stage: str, x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, seed: int
) -> dict[str, Any]:
    """One row: C by a split of the training labels, then the plane over all of them."""
    from sklearn.linear_model import LogisticRegression  # at the top it would slow every start

    dims = x.shape[1]
    mean, std = x.mean(0), x.std(0)
    std[std == 0] = 1  # a dead channel
    x, x_test = _span((x - mean) / std, (x_test - mean) / std)
    plane = LogisticRegression(tol=TOLERANCE, max_iter=1000, warm_start=True)
    strength, _ = choose(plane, x, y, dims, seed)
    accuracy = plane.set_params(C=strength).fit(x, y).score(x_test, y_test)
    logging.info("%s: accuracy %.4f with C %.2g", stage, accuracy, strength)
    return {"stage": stage, "dims": dims, "accuracy": float(accuracy), "C": strength}


def _span(x: np.ndarray, x_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of both in the space that the rows of x span, where those are fewer than dims.

    The penalised optimum lies in that space, and an orthonormal basis changes no length: the same
    problem in n dimensions. With x = L Q, Q orthonormal, L is the Cholesky factor of x x'.
    """
    import scipy.linalg

    if len(x) >= x.shape[1]:
        return x, x_test
    gram = x @ x.T
    gram[np.diag_indices_from(gram)] += 1e-4 * x.shape[1]  # centred rows are dependent
    basis = scipy.linalg.cholesky(gram, lower=True, overwrite_a=True)
    return basis, scipy.linalg.solve_triangular(basis, x @ x_test.T, lower=True).T


def choose(plane: Any, x: np.ndarray, y: np.ndarray, dims: int, seed: int) -> tuple[float, float]:
    """The C that does best on a fifth of every class that is held out of the fit, and how well.

    C grows along the path, each fit starts from the one before, and the path ends where the
    accuracy falls: the planes beyond are the slow ones.
    """
    held = _held_out(y, seed)
    best, best_accuracy = PATH[0] / dims, -1.0
    for strength in (c / dims for c in PATH):
        accuracy = plane.set_params(C=strength).fit(x[~held], y[~held]).score(x[held], y[held])
        if accuracy < best_accuracy:
            break
        if accuracy > best_accuracy:
            best, best_accuracy = strength, accuracy
    return best, best_accuracy


def _held_out(y: np.ndarray, seed: int) -> np.ndarray:
    """Mask (N,): every fifth example of each class, from its second on, in a random order."""
    order = np.random.default_rng(seed).permutation(len(y))
    held = np.zeros(len(y), bool)
    for label in np.unique(y):
        held[order[y[order] == label][1::5]] = True
    if not held.any():
        raise UserError("A probe needs a class with two training labels. Received: one of each")
    return held
