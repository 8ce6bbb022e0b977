"""Multinomial logistic regression with an L2 penalty, its C chosen on held-out labels.

The problem is scikit-learn's, the mean cross-entropy plus |w|^2 / 2Cn, for two classes too; SciPy's
L-BFGS solves it. scikit-learn itself multiplies float32 features by float64 weights, and stops by
the largest entry of the gradient, which depends on the basis. `tools/bench_probe.py` compares them.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from sslzoo.errors import UserError

# The penalty is |w|^2 / 2C against the *sum* of the losses, as scikit-learn has it. Features are
# standardised, so a plane's reach grows with their number: the path is C x dims.
PATH = (0.25, 1.0, 4.0, 16.0, 64.0)
TOLERANCE = 5e-4  # three steps of L-BFGS that lower the loss by less each are the last ones
COARSE = 2e-3  # while C is looked for
PATIENCE = 3  # not one: the first step's length is a guess, and may gain next to nothing


@dataclasses.dataclass(frozen=True)
class Plane:
    """Logits x @ kernel + bias of the K classes: kernel (D, K), bias (K,), classes (K,)."""

    kernel: np.ndarray
    bias: np.ndarray
    classes: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N, D) -> labels (N,)."""
        return self.classes[(x @ self.kernel + self.bias).argmax(1)]

    def accuracy(self, x: np.ndarray, y: np.ndarray) -> float:
        """Share of (N, D) whose label is that in (N,)."""
        return float(np.mean(self.predict(x) == y))


def fit(
    x: np.ndarray,
    y: np.ndarray,
    strength: float,
    start: Plane | None = None,
    tolerance: float = TOLERANCE,
) -> Plane:
    """The plane for C = `strength`.

    Args:
        x, y: (N, D) float32, labels (N,).
        strength: C.
        start: a plane of the same classes to begin with; default: zeros, and the classes' shares.
        tolerance: nats of an example; where `PATIENCE` steps gain less each, they are the last.
    """
    import scipy.optimize  # at the top it would slow every start

    classes, counts = np.unique(y, return_counts=True)
    loss = _Loss(x, np.searchsorted(classes, y), len(classes), strength)
    if start is None:
        start = Plane(np.zeros((x.shape[1], len(classes))), np.log(counts / len(y)), classes)
    losses: list[float] = []

    def enough(intermediate_result: Any) -> None:
        losses.append(intermediate_result.fun)
        if len(losses) > PATIENCE and losses[-1 - PATIENCE] - losses[-1] < PATIENCE * tolerance:
            raise StopIteration

    options = {"ftol": 0.0, "gtol": 0.0}
    found = scipy.optimize.minimize(
        loss, loss.flat(start), jac=True, method="L-BFGS-B", callback=enough, options=options
    )
    return Plane(*loss.parts(found.x), classes)


class _Loss:
    """Flat weights (D * K + K,) float64 -> mean loss, its gradient.

    The bias has no penalty; scaled, its curvature, about 1 / K, is no less than that of the kernel.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, classes: int, strength: float) -> None:
        self.x, self.y = tf.constant(x, tf.float32), tf.constant(y)
        self.shape, self.size = (x.shape[1], classes), x.shape[1] * classes
        self.decay = 1 / (strength * len(x))
        self.scale = np.sqrt(1 + classes * self.decay, dtype=np.float32)  # of the bias

    def flat(self, plane: Plane) -> np.ndarray:
        return np.concatenate([plane.kernel.ravel(), plane.bias / self.scale]).astype(np.float64)

    def parts(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kernel, bias = np.float32(weights[: self.size]), np.float32(weights[self.size :])
        return kernel.reshape(self.shape), bias * self.scale

    def __call__(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        kernel, bias = self.parts(weights)
        logits = tf.matmul(self.x, kernel) + bias  # (N, K)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(self.y, logits)
        count = self.x.shape[0]
        off = (tf.nn.softmax(logits) - tf.one_hot(self.y, self.shape[1])) / count
        of_kernel = tf.matmul(off, self.x, transpose_a=True).numpy().T + self.decay * kernel
        of_bias = self.scale * tf.reduce_sum(off, 0).numpy()
        gradient = np.concatenate([of_kernel.ravel(), of_bias]).astype(np.float64)
        penalty = self.decay / 2 * float(np.vdot(kernel, kernel))
        return float(tf.reduce_mean(losses)) + penalty, gradient


def best(x: np.ndarray, y: np.ndarray, dims: int, seed: int) -> tuple[Plane, float, float]:
    """(plane over all labels, its C, its accuracy on held-out ones).

    C is the one that does best on a fifth of every class that is held out of the fit. It grows
    along the path, each fit starts from the one before, and the path ends where the accuracy falls
    by more than its standard error: the planes beyond are the slow ones.

    Args:
        x, y: (N, D) float32, labels (N,).
        dims: number of features, which may have become fewer by a rotation.
        seed: of the split.
    """
    held = held_out(y, seed)
    few, asked = (x[~held], y[~held]), (x[held], y[held])
    chosen, chosen_c, accuracy, plane = None, 0.0, -1.0, None
    for strength in (c / dims for c in PATH):
        plane = fit(*few, strength, plane, COARSE)
        right = plane.accuracy(*asked)
        if right < accuracy - (max(accuracy * (1 - accuracy), 0) / len(asked[1])) ** 0.5:
            break
        if right > accuracy:
            chosen, chosen_c, accuracy = plane, strength, right
    return fit(x, y, chosen_c, chosen), chosen_c, accuracy


def held_out(y: np.ndarray, seed: int, every: int = 5) -> np.ndarray:
    """Mask (N,): every fifth example of each class, from its second on, in a random order."""
    order = np.random.default_rng(seed).permutation(len(y))
    held = np.zeros(len(y), bool)
    for label in np.unique(y):
        held[order[y[order] == label][1::every]] = True
    if not held.any():
        raise UserError("A probe needs a class with two training labels. Received: one of each")
    return held


def standardised(rows: np.ndarray, *parts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Each of `parts` (M, D), every column less its mean in `rows` (N, D), over its deviation."""
    mean, std = rows.mean(0), rows.std(0)
    std[std == 0] = 1  # a dead channel
    return tuple((part - mean) / std for part in parts)


def span(x: np.ndarray, x_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of both in the space that the rows of x span, where those are fewer than dims.

    The penalised optimum lies in that space, and an orthonormal basis changes no length: the same
    problem in n dimensions. With x = L Q, Q orthonormal, L is the Cholesky factor of x x'.
    """
    import scipy.linalg

    if len(x) >= x.shape[1]:
        return x, x_test
    try:
        basis = _cholesky(x)
    except scipy.linalg.LinAlgError:  # float32 rounds by more than the jitter where rows are alike
        basis = _cholesky(x.astype(np.float64)).astype(x.dtype)
    unchecked = {"lower": True, "overwrite_b": True, "check_finite": False}
    return basis, scipy.linalg.solve_triangular(basis, x @ x_test.T, **unchecked).T


def _cholesky(x: np.ndarray) -> np.ndarray:
    """L (N, N) with x x' = L L', all but for a jitter."""
    import scipy.linalg

    gram = x @ x.T
    gram[np.diag_indices_from(gram)] += 1e-4 * x.shape[1]  # centred rows are dependent
    return scipy.linalg.cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
