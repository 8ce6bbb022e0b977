"""Exact checkpoints: every variable of a run, written aside and renamed, the last two kept.

A checkpoint is an `.npz` file: zip's CRC of each array tells a damaged one, and it needs no names
that change from process to process, only the order in which the same code makes the same
variables.
"""

import os
import pathlib

import numpy as np
from absl import logging

from sslzoo.errors import UserError, writing

KEPT = 2
KINDS = {"state": "states", "metric": "metrics"}  # of arrays; and what holds their number


def state_variables(pretext):
    """All that a run must find again: weights, memory, random seeds, optimizer states."""
    optimizers = [pretext.optimizer, *pretext.optimizers.values()]
    found = [*pretext.variables, *(v for o in optimizers for v in o.variables)]
    return list({id(v): v for v in found}.values())


class Checkpoints:
    """The checkpoints of one run, in `directory`."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    def save(self, pretext, step):
        """Writes the state after `step` steps. A kill at any moment leaves the one before whole.

        Raises:
            UserError: it cannot be written, on a full disk say.
        """
        state, metrics = state_variables(pretext), pretext.metrics_variables
        arrays = {f"state_{i}": v.numpy() for i, v in enumerate(state)}
        arrays |= {f"metric_{i}": v.numpy() for i, v in enumerate(metrics)}
        temporary = self.directory / "unfinished.tmp"
        with writing(temporary):
            self.directory.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                np.savez(file, step=step, states=len(state), metrics=len(metrics), **arrays)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self.directory / f"step_{step:09d}.npz")
            for old in self.paths()[:-KEPT]:
                old.unlink()

    def paths(self):
        """The checkpoint files, oldest first."""
        return sorted(self.directory.glob("step_*.npz"))

    def load(self, pretext=None, total=None):
        """The arrays of the newest checkpoint that is whole, or None where there is none.

        Args:
            pretext: whose state it must be; None takes any.
            total: steps of the run; None for any number.

        Raises:
            UserError: there are checkpoints and all are damaged or of another model.
        """
        paths, unfit = self.paths(), None
        for path in reversed(paths):
            try:
                arrays = _read(path)
                _check_names(arrays, total)
            # Whatever zip, its codecs or NumPy make of bytes that may be anything.
            except Exception as error:
                logging.warning("%s is damaged (%s); trying the one before", path, error)
                continue
            try:
                if pretext is not None:
                    _check_shapes(state_variables(pretext), arrays, "state")
                return arrays
            except UserError as error:
                logging.warning("%s is not of this model; trying the one before", path)
                unfit = error
        if unfit:
            raise unfit
        if paths:
            raise UserError(
                f"{self.directory}: expected a whole checkpoint to resume from; remove the folder "
                f"to start again. Received: {len(paths)} damaged ones"
            )
        return None


def _read(path):
    """All arrays of a file. NumPy alone stops reading before zip compares the CRCs."""
    with np.load(path) as file:
        if name := file.zip.testzip():
            raise ValueError(f"bad CRC of {name}")
        return {name: file[name] for name in file.files}


def _check_names(arrays, total):
    """Raises a `ValueError` or `KeyError` where something is missing, or the step is impossible."""
    step = arrays["step"]
    if step.shape or step.dtype.kind not in "iu" or not 0 <= step <= (total or step):
        raise ValueError(f"step {step} of {total}")
    expected = {"step", *KINDS.values()}
    expected |= {f"{kind}_{i}" for kind, number in KINDS.items() for i in range(arrays[number])}
    if expected != arrays.keys():
        raise ValueError(f"arrays missing or too many: {sorted(expected ^ arrays.keys())[:3]}")


def restore_state(pretext, arrays):
    """Assigns a checkpoint's weights and optimizer variables; returns the number of steps done."""
    _assign(state_variables(pretext), arrays, "state")
    return int(arrays["step"])


def restore_metrics(pretext, arrays):
    """Assigns the running metrics, so that the epoch's averages go on undisturbed."""
    _assign(pretext.metrics_variables, arrays, "metric")


def _assign(variables, arrays, kind):
    for variable, array in zip(variables, _check_shapes(variables, arrays, kind), strict=True):
        variable.assign(array)


def _check_shapes(variables, arrays, kind):
    """The arrays of these variables, in their order."""
    number = sum(name.startswith(f"{kind}_") for name in arrays)
    saved = [arrays[f"{kind}_{i}"] for i in range(number)]
    expected = [(tuple(v.shape), np.dtype(v.dtype)) for v in variables]
    if expected != [(array.shape, array.dtype) for array in saved]:
        raise UserError(
            f"checkpoint: expected the {len(expected)} {kind} variables of this model. "
            f"Received: {number} that differ in shape, type or number; was the code changed?"
        )
    return saved
