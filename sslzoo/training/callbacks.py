"""What watches a run, for `training.pretrain`: guards, log, pictures, TensorBoard, backups."""

import contextlib
import csv
import math
import signal
import threading
import time

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from sslzoo import pictures
from sslzoo.errors import STOPPING, Stopped, UserError, replacing, stop
from sslzoo.pictures import contact_sheet
from sslzoo.training import checkpoints

FEW = 10  # steps that say nothing yet


class Progress:
    """Where the run is; shared by the callbacks."""

    def __init__(self, step, per_epoch, epochs):
        self.step = step
        self.per_epoch = per_epoch
        self.total = epochs * per_epoch


class Guard(keras.callbacks.Callback):
    """Counts the steps; stops a run that has diverged, warns of one that does not learn."""

    def __init__(self, progress, warmup_steps=0):
        super().__init__()
        self.progress = progress
        self.warmup = int(warmup_steps)  # in which a network may well learn nothing
        self.tenth = self.warmup + max(1, progress.total // 10)
        self.total = None  # of this epoch's losses so far
        self.recent = []  # losses in the second half of the first tenth of the run

    def on_train_batch_end(self, batch, logs=None):
        self.progress.step += 1
        step, broken = self.progress.step, [k for k, v in logs.items() if not math.isfinite(v)]
        if broken:
            raise UserError(
                f"step {step}: expected a finite {broken[0]}; a lower --learning_rate or a longer "
                f"--warmup_epochs usually helps. Received: {logs[broken[0]]}"
            )
        if self.model.chance_loss and step <= self.tenth:
            self.compare_with_chance(step, logs["loss"])

    def compare_with_chance(self, step, mean):
        """Keras reports the mean of the epoch so far; this step's loss is a difference of sums."""
        done = (step - 1) % self.progress.per_epoch + 1
        before = 0 if done == 1 else self.total
        self.total = mean * done
        if before is not None and step > (self.warmup + self.tenth) // 2:
            self.recent.append(self.total - before)
        chance = self.model.chance_loss
        known = step == self.tenth >= FEW and self.recent
        if known and np.mean(self.recent) > 0.99 * chance:
            logging.warning(
                "after a tenth of the run the loss is %.4f, still at chance (%.4f): nothing is "
                "learned yet; if the next epochs do not change it, try another --learning_rate",
                np.mean(self.recent),
                chance,
            )


class RestoreMetrics(keras.callbacks.Callback):
    """Puts a checkpoint's running metrics back, after `fit` has reset them at the first epoch."""

    def __init__(self, progress, arrays):
        super().__init__()
        self.progress = progress
        self.arrays = arrays

    def on_epoch_begin(self, epoch, logs=None):
        if self.arrays and self.progress.step % self.progress.per_epoch:
            checkpoints.restore_metrics(self.model, self.arrays)
        self.arrays = None


class DataWait(keras.callbacks.Callback):
    """Logs `data_wait`: the share, 0 to 1, of the time of an epoch's steps spent waiting for data.

    Of a resumed epoch that is the rest of it. Keras takes a batch inside the compiled step, where
    nobody sees for how long. So this takes it before, and hands it over as a list of one, from
    which Keras feeds the same compiled step.
    """

    def on_train_begin(self, logs=None):
        self.step = self.model.train_function
        self.model.train_function = self.timed_step

    def on_train_end(self, logs=None):
        self.model.train_function = self.step

    def timed_step(self, iterator):
        """What `fit` calls for one step in place of `Model.train_function`."""
        begin = time.perf_counter()
        batch = next(iter(iterator))  # a list, where a `fit` that was broken off left its own
        self.waited += time.perf_counter() - begin
        return self.step([batch])

    def on_epoch_begin(self, epoch, logs=None):
        self.waited, self.started = 0.0, time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        logs["data_wait"] = round(self.waited / (time.perf_counter() - self.started), 4)


class Rows(keras.callbacks.Callback):
    """`log.csv`: one row an epoch. On resume, rows past the checkpoint are written again."""

    def __init__(self, progress, path):
        super().__init__()
        self.progress = progress
        self.path = path
        self.rows = []
        if path.exists():
            self.rows = self.read(progress.step // progress.per_epoch)

    def read(self, epochs):
        """The rows of so many epochs."""
        try:
            with open(self.path, newline="") as file:
                return [row for row in csv.DictReader(file) if int(row["epoch"]) <= epochs]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise UserError(
                f"{self.path}: expected the log that this run wrote; remove it to start another. "
                f"Received: {type(error).__name__}: {error}"
            ) from None

    def on_epoch_begin(self, epoch, logs=None):
        self.started, self.first = (time.monotonic(), time.process_time()), self.progress.step

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.monotonic() - self.started[0]
        clocks = {"seconds": seconds, "cpu_seconds": time.process_time() - self.started[1]}
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {"epoch": epoch + 1, "step": self.progress.step, **logs, "learning_rate": rate}
        self.rows.append({**row, **{name: round(value, 2) for name, value in clocks.items()}})
        with replacing(self.path) as aside, aside.open("w", newline="") as file:
            # Older rows may have columns that a resumed run no longer logs, and lack others.
            writer = csv.DictWriter(file, {name: None for row in self.rows for name in row})
            writer.writeheader()
            writer.writerows(self.rows)
        steps = self.progress.step - self.first
        left = (self.progress.total - self.progress.step) * seconds / max(steps, 1)
        if left:
            logging.info("%d:%02d left", left // 60, left % 60)


class Pictures(keras.callbacks.Callback):
    """`puzzles.png` and TensorBoard: scalars, and the same puzzles with today's answers."""

    def __init__(self, progress, workdir, puzzles):
        super().__init__()
        self.progress = progress
        self.workdir = workdir
        self.puzzles = puzzles
        self.batch = None
        self.writer = None

    def on_train_begin(self, logs=None):
        if self.writer is None:  # `fit` may be called once for each epoch
            self.writer = tf.summary.create_file_writer(str(self.workdir / "tensorboard"))

    def on_epoch_end(self, epoch, logs=None):
        if self.batch is None:
            self.batch = next(iter(self.puzzles), None)
        with self.writer.as_default(step=self.progress.step):
            for name, value in logs.items():
                tf.summary.scalar(name, value)
            if self.batch is not None:
                sheet = contact_sheet.draw(self.model, *self.batch[:2])
                tf.summary.image("puzzles", sheet[None])
                pictures.save_png(self.workdir / "puzzles.png", sheet)
        self.writer.flush()


class Backup(keras.callbacks.Callback):
    """Writes a checkpoint every `minutes`, and when a signal asks the run to stop."""

    def __init__(self, progress, store, minutes):
        super().__init__()
        self.progress = progress
        self.store = store
        self.seconds = minutes * 60
        self.saved = time.monotonic()
        self.first = progress.step
        self.usual = {}  # handlers by signal
        self.stopped_by = None

    @contextlib.contextmanager
    def watching_for_signals(self):
        """Ctrl-C, SIGTERM and SIGHUP wait for the end of the step, whose state is saved.

        A second one does not wait. A handler that is somebody else's stays.

        Raises:
            Stopped: there was one.
        """
        known = (signal.default_int_handler, signal.SIG_DFL, stop)
        if threading.current_thread() is threading.main_thread():
            found = {signum: signal.getsignal(signum) for signum in STOPPING}
            self.usual = {signum: usual for signum, usual in found.items() if usual in known}
        for signum in self.usual:
            signal.signal(signum, self.interrupt)
        try:
            yield
        finally:
            self.leave_signals()
        if self.stopped_by:  # after the last step
            raise Stopped(self.stopped_by)

    def leave_signals(self):
        for signum, usual in self.usual.items():
            signal.signal(signum, usual)

    def interrupt(self, signum, frame):
        """Handles the first signal."""
        self.leave_signals()
        if self.progress.step == self.first:  # nothing was done that could be saved
            raise Stopped(signum)
        self.stopped_by = signum

    def on_train_batch_end(self, batch, logs=None):
        # At the end of an epoch its row must be written before the checkpoint that skips it.
        if self.progress.step % self.progress.per_epoch:
            self.save_if_due()

    def on_epoch_end(self, epoch, logs=None):
        self.save_if_due()

    def save_if_due(self):
        if self.stopped_by or time.monotonic() - self.saved >= self.seconds:
            self.store.save(self.model, self.progress.step)
            self.saved = time.monotonic()
        if self.stopped_by:
            logging.info("step %d is saved; the same command goes on", self.progress.step)
            raise Stopped(self.stopped_by)
