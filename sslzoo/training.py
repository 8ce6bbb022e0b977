"""Training a pretext: one `fit` that can be killed at any moment and goes on where it stopped."""

import pathlib
import sys

import keras
import tensorflow as tf
from absl import logging

from sslzoo import callbacks, checkpoints

PICTURED = 8  # puzzles on the contact sheet


def pretrain(pretext, run, extra=(), table=None):
    """Trains a compiled pretext on unlabelled images, from wherever the last attempt stopped.

    Leaves in `run.workdir`: `log.csv` (one row an epoch), `tensorboard/`, `puzzles.png` (puzzles,
    solutions and the network's answers), `checkpoints/`.

    Every element of the data is a function of `(seed, epoch, index)` and the state holds every
    variable, so on a CPU the final weights are the same bits whether or not a run was interrupted.

    Args:
        pretext: a compiled `Pretext`, made under `run.scope()`.
        run: a `Run`: gives the images, the budget and the folder.
        extra: more callbacks; what they add to the logs of an epoch is logged with the rest.
        table: function that is called before every epoch with its number, and returns the
            indices to draw from in it, see `data.Source.examples`. It may change the model.

    Raises:
        UserError: the loss is no longer finite (named with its step), too many images cannot be
            decoded, or an image is too small for the puzzle.
    """
    workdir, per_epoch = pathlib.Path(run.workdir), run.steps_per_epoch
    store = checkpoints.Checkpoints(workdir / "checkpoints")
    arrays = store.load()
    step = checkpoints.restore_state(pretext, arrays) if arrays else 0
    progress = callbacks.Progress(step, per_epoch, run.epochs)
    if step:
        logging.info("resuming after step %d of %d", step, progress.total)
    backup = callbacks.Backup(progress, store, run.backup_minutes)
    reporters = [
        *extra,
        callbacks.Guard(progress),
        callbacks.RestoreMetrics(progress, arrays),
        callbacks.Rows(progress, workdir / "log.csv"),
        callbacks.Pictures(progress, workdir, pretext.puzzles(_preview(pretext, run), PICTURED)),
        backup,
    ]
    with backup.watching_for_interrupts():
        while progress.step < progress.total:  # twice from inside an epoch; with a table for each
            _fit(pretext, run, progress, reporters, table)
    store.save(pretext, progress.step)


def _fit(pretext, run, progress, reporters, table):
    """From where the run is to the end of it, or of the epoch where it must stop there."""
    per_epoch = progress.per_epoch
    epoch, done = divmod(progress.step, per_epoch)
    last = epoch + 1 if done or table else run.epochs

    def stop(epoch, logs):
        pretext.stop_training = epoch + 1 == last

    examples = run.train_source.examples(
        seed=run.seed,
        crop=pretext.crop,
        start=progress.step * run.batch_size,
        stop=last * per_epoch * run.batch_size,
        epoch_size=per_epoch * run.batch_size,
        table=table(epoch) if table else None,
    )
    try:
        pretext.fit(
            pretext.puzzles(examples, run.batch_size),
            initial_epoch=epoch,
            epochs=run.epochs,  # what the progress bar shows
            steps_per_epoch=per_epoch - done,
            callbacks=[*reporters, keras.callbacks.LambdaCallback(on_epoch_end=stop)],
            verbose=1 if sys.stdout.isatty() else 2,
            shuffle=False,
        )
    except tf.errors.OpError:
        if run.train_source.failure:
            raise run.train_source.failure from None
        raise


@keras.saving.register_keras_serializable("sslzoo")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule, reached linearly over the first `steps` steps (arXiv:1706.02677)."""

    def __init__(self, schedule, steps):
        self.schedule = schedule
        self.steps = steps

    def __call__(self, step):
        """The learning rate at `step`."""
        fraction = (tf.cast(step, tf.float32) + 1) / max(self.steps, 1)
        return self.schedule(step) * tf.minimum(fraction, 1)

    def get_config(self):
        """Serialised with its inner schedule."""
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "steps": self.steps}

    @classmethod
    def from_config(cls, config):
        """Deserialises the inner schedule too."""
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["steps"])


def schedule(kind, learning_rate, total_steps, warmup_steps=0, drops=(), factor=0.1):
    """A learning rate by steps.

    Args:
        kind: `"constant"`, `"cosine"` (to 0 at the end) or `"step"` (times `factor` at each drop).
        learning_rate: the highest one.
        total_steps: of the whole run.
        warmup_steps: linear rise at the start.
        drops: steps at which `"step"` drops.
        factor: of each drop.
    """
    if kind == "cosine":
        body = keras.optimizers.schedules.CosineDecay(learning_rate, total_steps)
    else:
        drops = [int(drop) for drop in drops] if kind == "step" else []
        rates = [learning_rate * factor**i for i in range(len(drops) + 1)]
        # One boundary past the end, because Keras wants at least one.
        body = keras.optimizers.schedules.PiecewiseConstantDecay(
            [*drops, max([total_steps, *drops]) + 1], [*rates, rates[-1]]
        )
    return WarmUp(body, int(warmup_steps)) if warmup_steps else body


def _preview(pretext, run):
    """A few images in an order that training does not use: for the contact sheet."""
    return run.train_source.examples(seed=run.seed + 1, crop=pretext.crop, stop=PICTURED)
