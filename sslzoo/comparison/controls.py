"""What labels alone give in the time that a pretext had: the same network, trained from scratch.

One of the controls that arXiv:2202.03365 wants beside every score. In a process of its own:

python -m sslzoo.comparison.controls '{"encoder": "rotation", "dataset": "cifar10.npz", ...}'
"""

import functools
import json
import sys
from typing import Any

import keras
import numpy as np
from absl import logging

from sslzoo import data, probes, zoo
from sslzoo.comparison import child, trial
from sslzoo.data.order import drawn
from sslzoo.probes.finetuning import ROUNDS, STEP


def from_scratch(
    encoder: str, dataset: str, data_dir: str, labels: int, minutes: float, clock: str, seed: int
) -> dict[str, Any]:
    """Trains an encoder's architecture anew on labels for some minutes and tests it.

    Args:
        encoder: an exported one, whose card has its `image_size`.
        dataset: labelled images, brought to that size.
        data_dir: where TensorFlow Datasets keeps prepared datasets.
        labels: how many, those of the first draw of `Run.probe` with this seed; 0 takes all.
        minutes: of training.
        clock: one of `trial.CLOCKS`.
        seed: of weights, order, crops and the labels held out.

    Returns:
        labels, epochs, minutes and accuracy.
    """
    keras.utils.set_random_seed(seed)
    model, card = zoo.open_encoder(encoder)
    side = card["image_size"]
    train, test = (
        data.load(dataset, split, data_dir=data_dir, resize=side, labels=True)
        for split in ("train", "test")
    )
    table = np.arange(train.size)
    if 0 < labels < train.size:
        table = drawn(labels, seed, train.size)
    classes = len(train.class_names or [])
    trained = functools.partial(probes.scratch, model, train, classes, side, seed, table=table)
    stopwatch = trial.Stopwatch(0, clock)
    try:
        trained(epochs=1, steps=trial.STEPS, choose=False, watched_by=[stopwatch])
    except trial.Measured as done:
        steps = max(ROUNDS, int(minutes * 60 / done.args[0].step))
    logging.info("%d steps on %d labels ...", steps, len(table))
    started = stopwatch.now()
    head = trained(epochs=ROUNDS, steps=steps)
    took = (stopwatch.now() - started) / 60
    return {
        "labels": len(table),
        "epochs": max(1, round(steps * STEP / len(table))),
        "minutes": took,
        "accuracy": head.accuracy(test.examples(crop=side, shuffle=False)),
    }


if __name__ == "__main__":
    child.tell(lambda: from_scratch(**json.loads(sys.argv[1])))
