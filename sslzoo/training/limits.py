"""The ranges of the flags of a `Run`."""

import math

import numpy as np

from sslzoo.errors import UserError
from sslzoo.images import headers

MORE_THAN_0 = ("epochs", "batch_size", "learning_rate", "backup_minutes")
NOT_NEGATIVE = ("seed", "probe_images", "resize", "probe_resize", "monitor_images")
NOT_NEGATIVE += ("warmup_epochs", "decay_factor", "weight_decay")
SIDE = math.isqrt(headers.MAX_PIXELS)  # in pixels
AT_MOST = {
    "seed": 2**32 - 1,  # NumPy's
    "resize": SIDE,
    "probe_resize": SIDE,
    "warmup_epochs": 10**6,
    "decay_epochs": 10**6,
    "decay_factor": 1,
}
FLOAT32 = float(np.finfo(np.float32).max)
STEPS = 10**9 - 1  # checkpoints are sorted by names of nine digits


def check(run):
    """Raises a `UserError` that names the first flag that is out of its range."""
    if not run.workdir.strip():
        raise UserError(f"--workdir: expected a folder. Received: {run.workdir!r}")
    for name in (*MORE_THAN_0, *NOT_NEGATIVE, "decay_epochs"):
        value = getattr(run, name)
        for number in value if isinstance(value, tuple) else [value]:
            _check(name, number, AT_MOST.get(name, FLOAT32))


def _check(name, number, most):
    if name in MORE_THAN_0 and not number > 0:
        raise UserError(f"--{name}: expected more than 0. Received: {number}")
    if not number >= 0:  # nor NaN
        raise UserError(f"--{name}: expected 0 or more. Received: {number}")
    if number > most:
        raise UserError(f"--{name}: expected at most {most:,}. Received: {number}")


def check_steps(epochs, per_epoch):
    """Raises a `UserError` for a run of too many steps."""
    if epochs * per_epoch > STEPS:
        raise UserError(
            f"--epochs: expected at most {STEPS // per_epoch:,}, {STEPS:,} steps. "
            f"Received: {epochs}"
        )
