"""Training a pretext: one `fit` that can be killed at any moment and goes on where it stopped."""

import contextlib
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from sslzoo import pictures
from sslzoo.data import Paired, Source
from sslzoo.errors import UserError
from sslzoo.pretext import Pretext
from sslzoo.training import callbacks, checkpoints, workdir
from sslzoo.training.run import Run

PICTURED = 8  # puzzles on the contact sheet
SHEET, THUMBNAIL = 64, 96  # images in `source.png`; pixels of their sides, at most


def pretrain(
    pretext: Pretext,
    run: Run,
    extra: Iterable[keras.callbacks.Callback] = (),
    table: Callable[[int], Sequence[int] | np.ndarray] | None = None,
    source: Source | None = None,
) -> None:
    """Trains a compiled pretext on unlabelled images, from wherever the last attempt stopped.

    Leaves in `run.workdir`: `log.csv` (one row an epoch), `tensorboard/`, `puzzles.png` (puzzles,
    solutions and the network's answers), `source.png` (images as the puzzles start from them),
    `checkpoints/`.

    Every element of the data is a function of `(seed, epoch, index)` and the state holds every
    variable, so on a CPU the final weights are the same bits whether or not a run was interrupted.

    Args:
        pretext: a compiled `Pretext`, made under `run.scope()`.
        run: a `Run`: gives the images, the budget and the folder.
        extra: more callbacks; what they add to the logs of an epoch is logged with the rest.
        source: what to train on, as many images as `run.train_source`, the default: for these the
            learning rate is scheduled.
        table: function that is called before every epoch with its number, and returns the
            indices to draw from in it, see `data.Source.examples`. It may change the model.

    Raises:
        UserError: the loss is no longer finite (named with its step), too many images cannot be
            decoded, or an image is too small for the puzzle.
    """
    folder, per_epoch = pathlib.Path(run.workdir), run.steps_per_epoch
    if source is None:
        source = run.train_source
    else:
        _check_source(source, run)
        run.second = source.second if isinstance(source, Paired) else None
    run.look_at_probe(pretext.crop)
    preview = _preview(pretext, run, source)
    _draw_source(folder / "source.png", preview, source, pretext.crop)
    store = checkpoints.Checkpoints(folder / "checkpoints")
    arrays = store.load(pretext, run.epochs * per_epoch)
    step = checkpoints.restore_state(pretext, arrays) if arrays else 0
    progress = callbacks.Progress(step, per_epoch, run.epochs)
    if step:
        logging.info("resuming after step %d of %d", step, progress.total)
    backup = callbacks.Backup(progress, store, run.backup_minutes)
    reporters = [
        callbacks.DataWait(),  # the first: what the others do is no part of a step
        *extra,
        *run.monitors(pretext),
        callbacks.Guard(progress, run.warmup_epochs * per_epoch),
        callbacks.RestoreMetrics(progress, arrays),
        callbacks.Rows(progress, folder / "log.csv"),
        callbacks.Pictures(progress, folder, pretext.puzzles(preview.take(PICTURED), PICTURED)),
        backup,
    ]
    with backup.watching_for_signals():
        while progress.step < progress.total:  # twice from inside an epoch; with a table for each
            _fit(pretext, run, source, progress, reporters, table)
        if progress.step > step:  # else the metrics that the file has are not there to be saved
            store.save(pretext, progress.step)


def _fit(
    pretext: Pretext,
    run: Run,
    source: Source,
    progress: callbacks.Progress,
    reporters: Sequence[keras.callbacks.Callback],
    table: Callable[[int], Any] | None,
) -> None:
    """From where the run is to the end of it, or of the epoch where it must stop there."""
    per_epoch = progress.per_epoch
    epoch, done = divmod(progress.step, per_epoch)
    last = epoch + 1 if done or table else run.epochs

    def stop(epoch: int, logs: Any) -> None:
        pretext.stop_training = epoch + 1 == last

    examples = source.examples(
        seed=run.seed,
        crop=pretext.crop,
        centered=pretext.centered,
        start=progress.step * run.batch_size,
        stop=last * per_epoch * run.batch_size,
        epoch_size=per_epoch * run.batch_size,
        table=table(epoch) if table else None,
    )
    with _failures_of(source):
        pretext.fit(
            pretext.puzzles(examples, run.batch_size),
            initial_epoch=epoch,
            epochs=run.epochs,  # what the progress bar shows
            steps_per_epoch=per_epoch - done,
            callbacks=[*reporters, keras.callbacks.LambdaCallback(on_epoch_end=stop)],
            verbose=1 if sys.stdout.isatty() else 2,
            shuffle=False,
        )


@contextlib.contextmanager
def _failures_of(source: Source) -> Iterator[None]:
    """tf.data raises the text of a source's `UserError`; this raises the error."""
    try:
        yield
    except tf.errors.OpError:
        if source.failure:
            raise source.failure from None
        raise


def _preview(pretext: Pretext, run: Run, source: Source) -> tf.data.Dataset:
    """A few images in an order that training does not use: for pictures."""
    options = {"crop": pretext.crop, "centered": pretext.centered}
    return source.examples(seed=run.seed + 1, stop=SHEET, **options)


def _draw_source(path: pathlib.Path, preview: tf.data.Dataset, source: Source, crop: int) -> None:
    """A sheet of images, small, where there is none yet."""
    if path.exists():
        return
    size = [min(crop or THUMBNAIL, THUMBNAIL)] * 2
    small = preview.map(lambda e: tf.image.resize(e["image"], size, antialias=True))
    with _failures_of(source):
        tiles = [pictures.to_uint8(tile) for tile in small.as_numpy_iterator()]
    sheet = pictures.mosaic([pictures.enlarge(tile, THUMBNAIL) for tile in tiles], columns=8)
    pictures.save_png(path, sheet)


def _check_source(source: Source, run: Run) -> None:
    if source.size != run.train_source.size:
        raise UserError(
            f"source: expected {run.train_source.size} images, as in --dataset={run.dataset}. "
            f"Received: {source.size}"
        )
    workdir.claim_images(pathlib.Path(run.workdir), source)
