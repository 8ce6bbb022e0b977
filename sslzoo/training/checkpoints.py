"""Exact checkpoints: every variable of a run, written aside and renamed, the last two kept.

A checkpoint is an `.npz` file: its own CRC of each array tells a damaged one, and it needs no
names that change from process to process, only the order in which the same code makes the same
variables.
"""

import os
import pathlib
import zipfile

import numpy as np
from absl import logging

from sslzoo.errors import UserError

KEPT = 2


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
        """Writes the state after `step` steps. A kill at any moment leaves the one before whole."""
        self.directory.mkdir(parents=True, exist_ok=True)
        arrays = {f"state_{i}": v.numpy() for i, v in enumerate(state_variables(pretext))}
        arrays |= {f"metric_{i}": v.numpy() for i, v in enumerate(pretext.metrics_variables)}
        temporary = self.directory / "unfinished.tmp"
        with open(temporary, "wb") as file:
            np.savez(file, step=step, **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.directory / f"step_{step:09d}.npz")
        for old in self.paths()[:-KEPT]:
            old.unlink()

    def paths(self):
        """The checkpoint files, oldest first."""
        return sorted(self.directory.glob("step_*.npz"))

    def load(self):
        """The arrays of the newest checkpoint that is whole, or None where there is none.

        Raises:
            UserError: there are checkpoints and all are damaged.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                with np.load(path) as file:
                    return {name: file[name] for name in file.files}
            except (zipfile.BadZipFile, EOFError, ValueError, OSError, KeyError) as error:
                logging.warning("%s is damaged (%s); trying the one before", path, error)
        if paths:
            raise UserError(
                f"{self.directory}: expected a whole checkpoint to resume from; remove the folder "
                f"to start again. Received: {len(paths)} damaged ones"
            )
        return None


def restore_state(pretext, arrays):
    """Assigns a checkpoint's weights and optimizer variables; returns the number of steps done."""
    _assign(state_variables(pretext), arrays, "state")
    return int(arrays["step"])


def restore_metrics(pretext, arrays):
    """Assigns the running metrics, so that the epoch's averages go on undisturbed."""
    _assign(pretext.metrics_variables, arrays, "metric")


def _assign(variables, arrays, kind):
    saved = [arrays[f"{kind}_{i}"] for i in range(sum(name.startswith(kind) for name in arrays))]
    expected, received = [tuple(v.shape) for v in variables], [array.shape for array in saved]
    if expected != received:
        raise UserError(
            f"checkpoint: expected the {len(expected)} {kind} variables of this model. "
            f"Received: {len(received)} that differ in shape or number; was the code changed?"
        )
    for variable, array in zip(variables, saved, strict=True):
        variable.assign(array)
