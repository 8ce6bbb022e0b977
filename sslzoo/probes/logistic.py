"""Multinomial logistic regression with an L2 penalty, for few examples of many dimensions.

The problem and its optimum are those of scikit-learn's `LogisticRegression` (but for two classes:
there one plane, here two), which is the reference in the tests. Its L-BFGS needs 50 to 150 passes
over standardised features, so ill-conditioned are they, of 80 ms each for (2000, 9000), where the
two products of a pass take 15. Here L-BFGS starts from Böhning's bound of the Hessian (1992,
doi:10.1007/BF00048682), X'X / 2 + I / C, which one Cholesky factorisation inverts, and works in the
smaller of two spaces: weights (d, K), or, where n < d, their coordinates (n, K) in the rows of X.
"""

import numpy as np
import scipy.linalg

# Expected decrease of the objective, relative. A tenth of it moved no test accuracy by more than
# 0.3 points (CIFAR-10, 1,500 training labels, 2,000 test labels: one sigma is 1.1).
TOLERANCE = 1e-4
MEMORY, STEPS = 10, 200


def gram(x):
    """The smaller Gram matrix of x (n, d): (n, n) where n < d, else (d, d)."""
    return x @ x.T if len(x) < x.shape[1] else x.T @ x


def weights(x, gram, targets, strength, start=None):
    """Solve once: weights (d, K) for x (n, d), and the solution in the space it was found in."""
    rows = len(x) < x.shape[1]
    space = Rows(gram) if rows else Columns(x, gram)
    found = minimise(space, targets, strength, start)
    return (x.T @ found if rows else found), found


class Rows:
    """Weights x' a, written as their coordinates a (n, K) in the rows of x; needs x x' alone."""

    def __init__(self, gram):
        self.gram = gram

    def scores(self, a):
        """Scores (n, K) of the rows."""
        return self.gram @ a

    def pull(self, residual):
        """The gradient (as coordinates) that belongs to the scores' gradient (n, K)."""
        return residual

    def pair(self, a, scores):
        """What to multiply a gradient with and sum, for its inner product with `a`."""
        return scores


class Columns:
    """Weights (d, K) as they are; `gram` may be that of more rows than x, as a safer bound."""

    def __init__(self, x, gram):
        self.x, self.gram = x, gram

    def scores(self, w):
        """Scores (n, K) of the rows."""
        return self.x @ w

    def pull(self, residual):
        """The gradient (d, K) that belongs to the scores' gradient (n, K)."""
        return self.x.T @ residual

    def pair(self, w, scores):
        """What to multiply a gradient with and sum, for its inner product with `w`."""
        return w


def minimise(space, targets, strength, start=None):
    """Solve for C = `strength`.

    Args:
        space: `Rows` or `Columns`, float32.
        targets: (n, K) float32, one-hot.
        start: a solution for another C, to begin from.

    Returns:
        Coordinates or weights, float32, as `space` has it.
    """
    inverse = _inverse_bound(space.gram, strength)
    at = np.zeros((len(inverse), targets.shape[1]), np.float32) if start is None else start
    scores = space.scores(at)
    value, residual = _objective(space, at, scores, targets, strength)
    gradient, history = space.pull(residual) + at / strength, []
    for _ in range(STEPS):
        step, change = _direction(space, inverse, gradient, history[-MEMORY:])
        slope = np.vdot(space.pair(step, change), gradient)
        if -slope <= TOLERANCE * value:
            break
        before = value, gradient
        for shrink in 0.5 ** np.arange(20, dtype=np.float32):
            trial, moved = at + shrink * step, scores + shrink * change
            value, residual = _objective(space, trial, moved, targets, strength)
            if value <= before[0] + 1e-4 * shrink * slope:
                break
        else:
            break  # float32 sees no descent any more
        at, scores = trial, moved
        gradient = space.pull(residual) + at / strength
        history.append((shrink * step, shrink * change, gradient - before[1]))
    return at


def _inverse_bound(gram, strength):
    # Explicit: LAPACK's triangular solves of ten columns take ten times as long as this product.
    bound = 0.5 * gram.T  # (Fortran order, so that LAPACK works in place)
    bound[np.diag_indices(len(bound))] += 1 / strength
    factor, _ = scipy.linalg.lapack.spotrf(bound, lower=1, overwrite_a=1)
    inverse, _ = scipy.linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    lower = np.tril(inverse)
    return lower + np.tril(inverse, -1).T


def _objective(space, at, scores, targets, strength):
    """The penalised loss, and the loss's gradient with respect to the scores."""
    top = scores.max(1, keepdims=True)
    exponents = np.exp(scores - top)
    total = exponents.sum(1, keepdims=True)
    losses = np.log(total) + top - (scores * targets).sum(1, keepdims=True)
    penalty = np.vdot(space.pair(at, scores), at) / (2 * strength)
    return float(losses.sum(dtype=np.float64)) + float(penalty), exponents / total - targets


def _direction(space, inverse, gradient, history):
    """L-BFGS's two loops around the inverse bound: the step, and the scores' change by it."""
    rest, scales = gradient.copy(), []
    for step, change, difference in reversed(history):
        pair = space.pair(step, change)
        curvature = np.vdot(pair, difference)
        scales.append((np.vdot(pair, rest) / curvature, curvature))
        rest -= scales[-1][0] * difference
    step = inverse @ rest
    change = space.scores(step)
    for (past, moved, difference), (scale, curvature) in zip(
        history, reversed(scales), strict=True
    ):
        scale -= np.vdot(space.pair(step, change), difference) / curvature
        step += scale * past
        change += scale * moved
    return -step, -change
