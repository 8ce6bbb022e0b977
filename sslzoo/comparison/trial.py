"""How long does a step of a recipe take here? So a budget in minutes becomes a number of epochs.

python -m sslzoo.comparison.trial jigsaw cpu --dataset=FILE.npz  # a line of JSON
"""

import dataclasses
import functools
import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras

from sslzoo.comparison import child
from sslzoo.flags import signature
from sslzoo.pretext import Pretext
from sslzoo.training.run import Run

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
STEPS = 30
FIRST = 10  # steps of it that trace, allocate and warm up


@dataclasses.dataclass(frozen=True)
class Speed:
    """Of a recipe with its flags, on this machine.

    Attributes:
        step: seconds, of the wall clock or of all cores together.
        between: seconds before an epoch, of clustering, say.
        steps_per_epoch: of the whole run.
    """

    step: float
    between: float
    steps_per_epoch: int

    def epochs(self, minutes: float) -> int:
        """How many fit into that time, at least one."""
        return max(1, int(minutes * 60 / (self.steps_per_epoch * self.step + self.between)))


class Measured(Exception):
    """Ends a trial with its `Speed`."""


class Stopwatch(keras.callbacks.Callback):
    """Times the steps of a `fit`, and ends it by raising `Measured`.

    What comes at the end of an epoch, its pictures and the vote of a monitor, is not timed.
    """

    def __init__(self, steps_per_epoch: int, clock: str) -> None:
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self.now = CLOCKS[clock]
        self.made = self.now()
        self.ends: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """What was done since the stopwatch was made is done before each epoch."""
        self.ends.append(self.now())
        self.between = self.ends[0] - self.made

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """By then Keras has waited for the loss."""
        self.ends.append(self.now())

    def on_train_end(self, logs: Any = None) -> None:
        """The mean of the later steps, if there are any: they wait for data now and then."""
        ends = self.ends[FIRST:] if len(self.ends) > FIRST + 1 else self.ends
        step = (ends[-1] - ends[0]) / (len(ends) - 1)
        raise Measured(Speed(step, self.between, self.steps_per_epoch))


@dataclasses.dataclass
class Trial(Run):
    """A `Run` of few steps, timed by one of the `CLOCKS`."""

    clock: str = "wall"

    @functools.cached_property
    def steps_per_epoch(self) -> int:
        """Few, whatever the source holds."""
        return min(STEPS, self._all_steps())

    def _all_steps(self) -> int:
        return self.train_source.size // self.batch_size

    def monitors(self, pretext: Pretext) -> list[keras.callbacks.Callback]:
        """A stopwatch. `pretrain` asks when all is ready but the data of an epoch."""
        return [Stopwatch(self._all_steps(), self.clock)]


def measure(main: Callable[..., Any], given: dict[str, Any], clock: str) -> Speed:
    """Trains a recipe, `main(**given)`, for some steps, in a folder that is gone afterwards."""
    fields = {f.name: getattr(given["run"], f.name) for f in dataclasses.fields(Run) if f.init}
    with tempfile.TemporaryDirectory() as folder:
        changes = {"workdir": folder, "epochs": 1, "probe_images": 0, "warmup_epochs": 0.0}
        changes["clock"] = clock
        try:
            main(**{**given, "run": Trial(**{**fields, **changes})})
        except Measured as done:
            return done.args[0]
    raise AssertionError("it has trained nothing")


def speed_of(recipe: str, clock: str, flags: list[str]) -> Speed:
    """How fast a recipe is with these flags; it leaves much behind in this process."""
    main = importlib.import_module(f"sslzoo.recipes.{recipe}").main
    return measure(main, signature.parse(main, [recipe, *flags]), clock)


if __name__ == "__main__":
    child.tell(lambda: dataclasses.asdict(speed_of(sys.argv[1], sys.argv[2], sys.argv[3:])))
