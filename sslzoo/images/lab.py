"""CIE Lab, and colour as one of 313 classes (Zhang, Isola & Efros 2016, arXiv:1603.08511).

RGB is sRGB, float in [0, 1]; L is 0 to 100, a and b about -110 to 110; white point D65. Written in
`keras.ops`, so that the same functions run eagerly, in tf.data, in a training step, and as stock
layers of a functional model. No product of matrices where colours are at stake: GPUs round its
factors to ten bits (TF32).
"""

import functools
import pathlib

import numpy as np
from keras import ops

from sslzoo.errors import UserError

# sRGB primaries -> XYZ and the white point, to the digits of scikit-image.
XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
RGB_FROM_XYZ = tuple(tuple(map(float, row)) for row in np.linalg.inv(XYZ_FROM_RGB))
WHITE = (0.95047, 1.0, 1.08883)

# The authors' bins: cells of 10 x 10, one row of b for each a. They cannot be derived from the sRGB
# gamut: some of the 313 lie 14.9 outside of it.
ROWS = {
    -90: (50, 90),
    -80: (20, 90),
    -70: (0, 90),
    -60: (-20, 90),
    -50: (-30, 100),
    -40: (-40, 100),
    -30: (-50, 100),
    -20: (-50, 100),
    -10: (-60, 100),
    0: (-70, 100),
    10: (-80, 90),
    20: (-80, 90),
    30: (-90, 90),
    40: (-100, 90),
    50: (-100, 80),
    60: (-110, 80),
    70: (-110, 80),
    80: (-110, 70),
    90: (-110, 70),
    100: (-90, 0),
}
BINS = np.array(
    [(a, b) for a, (low, high) in ROWS.items() for b in range(low, high + 1, 10)], np.float32
)  # (313, 2): centres, sorted by a, then b
SIGMA = 5.0  # of the Gaussian over bins, in units of a and b
EDGE = 13  # cells from 0 to an end of the square that holds all colours
SIDE = 2 * EDGE + 1  # of that square
COLORFUL = 5.0  # an image whose |a| and |b| stay below is grey: it teaches no colours


# === Conversion ===


def rgb_to_lab(rgb):
    """(..., 3) in [0, 1] -> (..., 3): L, a, b."""
    x, y, z = (
        _curve(channel / white)
        for channel, white in zip(_mix(XYZ_FROM_RGB, _linear(rgb)), WHITE, strict=True)
    )
    return ops.concatenate([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def lab_to_rgb(lab):
    """(..., 3): L, a, b -> (..., 3) in [0, 1]; colours that sRGB does not have are clipped."""
    lightness, a, b = ops.split(lab, 3, axis=-1)
    y = (lightness + 16) / 116
    curves = (y + a / 500, y, ops.maximum(y - b / 200, 0.0))
    xyz = [_uncurve(curve) * white for curve, white in zip(curves, WHITE, strict=True)]
    return _gamma(ops.concatenate(_mix(RGB_FROM_XYZ, ops.concatenate(xyz, -1)), -1))


def lightness(rgb):
    """(..., 3) in [0, 1] -> (..., 1): the L of `rgb_to_lab`, 0 to 100."""
    (luminance,) = _mix(XYZ_FROM_RGB[1:2], _linear(rgb))
    return 116 * _curve(luminance) - 16


def grey(rgb):
    """(..., 3) in [0, 1] -> (..., 3): the grey of the same lightness, in three equal channels.

    Not `color.grey`, whose luma has another lightness for saturated colours.
    """
    (luminance,) = _mix(XYZ_FROM_RGB[1:2], _linear(rgb))
    return ops.repeat(_gamma(luminance), 3, axis=-1)


def _mix(matrix, colors):
    """The rows of `matrix` (n, 3) times colours (..., 3): a list of n arrays (..., 1)."""
    x, y, z = ops.split(colors, 3, axis=-1)
    return [row[0] * x + row[1] * y + row[2] * z for row in matrix]


def _linear(rgb):
    """sRGB to linear light. The maximum keeps the branch that is not taken free of NaN."""
    power = ops.power((ops.maximum(rgb, 0.04045) + 0.055) / 1.055, 2.4)
    return ops.where(rgb > 0.04045, power, rgb / 12.92)


def _gamma(linear):
    """Linear light to sRGB, clipped to [0, 1]."""
    linear = ops.clip(linear, 0.0, 1.0)
    power = 1.055 * ops.power(ops.maximum(linear, 0.0031308), 1 / 2.4) - 0.055
    return ops.where(linear > 0.0031308, power, linear * 12.92)


def _curve(t):
    """CIE's f: a cube root with a linear foot."""
    root = ops.power(ops.maximum(t, 0.008856), 1 / 3)
    return ops.where(t > 0.008856, root, 7.787 * t + 16 / 116)


def _uncurve(f):
    return ops.where(f > 0.2068966, f * f * f, (f - 16 / 116) / 7.787)


def subsampled_ab(image):
    """(H, W, 3) -> (H / 4, W / 4, 2): the ab of every fourth pixel, not an average.

    The third of four, half a pixel from their middle.
    """
    return rgb_to_lab(image[2::4, 2::4])[..., 1:]


def is_colorful(ab):
    """(..., h, w, 2) -> (...) bool: whether a or b exceeds 5 anywhere, up or down."""
    return ops.max(ops.abs(ab), axis=(-3, -2, -1)) > COLORFUL


# === Colours as classes ===


def nearest_bins(ab, count):
    """The `count` bins nearest to each colour (..., 2), to +-135, and their shares.

    Shares are Gaussian in the distance, exp(-d^2 / (2 SIGMA^2)), and sum to 1. They are the paper's
    soft encoding, with a count of 5; the authors' code takes 10.

    Returns:
        Indices (..., count) int32 and shares (..., count), nearest first.
    """
    nearby = _nearby(count)
    far = [[1e4, 1e4]]  # "no bin", from all colours
    centres = np.append(BINS, far, 0).astype(np.float32)[nearby]  # (cells, M, 2)
    rows, columns = ops.split(ops.cast(ops.round(ops.clip(ab / 10, -EDGE, EDGE)), "int32"), 2, -1)
    cell = ops.squeeze((rows + EDGE) * SIDE + columns + EDGE, -1)  # (...)
    a, b = (ops.take(centres[..., i], cell, axis=0) - ab[..., i : i + 1] for i in range(2))
    closeness, place = ops.top_k(-(a * a + b * b) / (2 * SIGMA**2), count)  # sorted
    index = ops.take_along_axis(ops.take(nearby, cell, axis=0), place, -1)
    return index, ops.softmax(closeness)


@functools.cache
def _nearby(count):
    """Bins that can be among the `count` nearest to a colour of a cell, 10 x 10 around a centre.

    To look among some twenty of them is six times as fast as among all.

    Returns:
        (SIDE * SIDE, M) int32, row by row; short rows end with 313, which is no bin.
    """
    centres = 10 * (np.indices((SIDE, SIDE)).reshape(2, -1, 1) - EDGE)  # (2, cells, 1)
    offset = np.abs(centres - BINS.T[:, None])  # (2, cells, 313)
    least, most = ((np.maximum(offset + by, 0) ** 2).sum(0) for by in (-5, 5))
    possible = least <= np.sort(most, 1)[:, count - 1 : count]
    order = np.argsort(~possible, 1, kind="stable")[:, : possible.sum(1).max()]
    return np.where(np.take_along_axis(possible, order, 1), order, len(BINS)).astype(np.int32)


def annealed_mean(logits, temperature=0.38):
    """(..., 313) -> (..., 2): the mean of the bins under softmax(logits / temperature).

    Between the mean of the distribution (1: dull colours) and its mode (0: patches of colour).
    """
    return ops.matmul(ops.softmax(logits / temperature), BINS)


def class_weights(prior, uniform=0.5):
    """Weights (313,) that make rare colours count, w ~ 1 / ((1 - uniform) p + uniform / 313).

    Args:
        prior: (313,), the distribution p.
        uniform: how much of the uniform distribution is mixed in (the paper: 0.5); 1 gives
            weights of 1.

    Returns:
        (313,) float32, scaled such that the mean weight, sum of p w, is 1.
    """
    prior = np.asarray(prior, np.float64)
    weights = 1 / ((1 - uniform) * prior + uniform / len(BINS))
    return np.float32(weights / (prior @ weights))


# === The empirical prior ===


def measure_prior(examples):
    """How often each bin occurs in the images of a dataset: (313,) float64, sum 1.

    Every fourth pixel counts for its nearest bin, as in training; grey images are left out.

    Args:
        examples: dataset of dicts with `image` (H, W, 3) float32 in [0, 1], of any sizes.

    Raises:
        UserError: there is no colour in them.
    """
    each = examples.map(lambda example: bin_counts(subsampled_ab(example["image"])))
    counts = sum(map(ops.convert_to_numpy, each))
    if not counts.any():
        raise UserError("--dataset: expected colour images, to learn colours from. Received: grey")
    return smoothed(counts)


def bin_counts(ab):
    """How many of the colours (h, w, 2) are nearest to each bin: (313,); none in a grey image."""
    nearest = ops.reshape(nearest_bins(ab, 1)[0], (-1,))
    return ops.bincount(nearest, minlength=len(BINS)) * ops.cast(is_colorful(ab), "int32")


def smoothed(counts):
    """Counts (313,) -> a distribution (313,), smoothed by a Gaussian of `SIGMA` as in the paper."""
    distance2 = ((BINS[:, None] - BINS) ** 2).sum(-1)
    kernel = np.exp(-distance2 / (2 * SIGMA**2))
    spread = counts @ (kernel / kernel.sum(1, keepdims=True))
    return spread / spread.sum()


def load_prior(path):
    """Reads a prior (313,) from the .npy file that `tools/colour_prior.py` writes.

    Raises:
        UserError: it is another file.
    """
    expected = f"--prior: expected a .npy file of {len(BINS)} probabilities (tools/colour_prior.py)"
    if not pathlib.Path(path).is_file():
        raise UserError(f"{expected}. Received: {path}, not there")
    try:
        prior = np.load(path, allow_pickle=False)
        valid = prior.shape == (len(BINS),) and np.all(prior >= 0) and abs(prior.sum() - 1) < 1e-3
    except (ValueError, OSError, EOFError, TypeError, AttributeError):
        raise UserError(f"{expected}. Received: {path}, another kind of file") from None
    if not valid:
        raise UserError(
            f"{expected}, not negative, of sum 1. Received: {path}, {prior.dtype} of shape "
            f"{prior.shape} and sum {prior.sum():.4g}"
        )
    return prior
