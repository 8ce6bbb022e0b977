"""Training through an encoder on labels: on from a trained one, or from scratch.

Fine-tuning goes on from the plane of `classifier.fit_head`: a random head would first wreck the
features (Kumar et al. 2022, arXiv:2202.10054). Images are padded by their reflection, cut at
random and mirrored; SGD with momentum warms up over a tenth of its steps and falls as a cosine; of
the weights after each round those are kept that do best on a tenth of the labels, held out; where a
class has fewer than ten none are held out, and the last ones are kept.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from sslzoo import encoders, images
from sslzoo.errors import UserError
from sslzoo.images import geometry
from sslzoo.probes.classifier import BATCH, Head, untrained
from sslzoo.probes.linear_probe import random_twin
from sslzoo.probes.softmax import held_out

STEP = 64  # images a step
HELD = 10  # of so many labels of a class one is held out, of fewer none
ROUNDS = 10  # after each the labels held out say how good the weights are
DECAY = 5e-4  # L2, of kernels
MOMENTUM = 0.9
# The highest rates. On 4,500 labels of CIFAR-10, `rotation`, 4,000 steps: 75.4 % and 73.6 %.
RATE, SCRATCH_RATE = 0.05, 0.1


def finetune(
    head: Head,
    source: Any,
    *,
    epochs: int = 5,
    learning_rate: float = RATE,
    flip: bool = True,
    seed: int = 0,
    frozen: bool = False,
    frozen_below: str = "",
    table: Sequence[int] | np.ndarray | None = None,
    steps: int = 0,
    pad: int | None = None,
    choose: bool = True,
    watched_by: Sequence[keras.callbacks.Callback] = (),
    flag: str = "--learning_rate",
) -> None:
    """Trains a head and its encoder, in place.

    Args:
        head: a `Head`; its images are square.
        source: has `size`, `labels`, and `examples` with `image`, `label` and `seed` (see
            `sslzoo.data`).
        epochs: passes over the images, and rounds after which the weights are looked at; with
            `steps` rounds alone.
        learning_rate: the highest one.
        flip: whether half of the images are mirrored.
        seed: of order, crops, flips and the labels held out.
        frozen: train the head alone; it sees the stage as it is at inference.
        frozen_below: a stage: the layers before the one that it follows on stay as they are.
        table: indices of the images to train on; default: all.
        steps: in all, whatever the number of images; 0 is what the epochs take.
        pad: pixels around the image; default: an eighth of its side.
        choose: whether labels are held out to choose the weights.
        watched_by: more callbacks.
        flag: what an error calls the learning rate.
    """
    side = head.images[0]
    train, held = _split(source, table, seed, choose)
    batch = min(STEP, len(train))
    per_epoch = len(train) // batch
    per_round = -(-steps // epochs) if steps else per_epoch
    options = {"seed": seed, "crop": side, "epoch_size": per_epoch * batch, "table": train}
    examples = source.examples(stop=epochs * per_round * batch, **options)
    vary = _variation(side, side // 8 if pad is None else pad, flip)
    batches = examples.map(vary, num_parallel_calls=tf.data.AUTOTUNE).batch(batch).prefetch(2)
    asked = None
    if len(held):
        asked = source.examples(crop=side, table=held, shuffle=False)
        asked = asked.map(lambda e: (e["image"], e["label"])).batch(BATCH).prefetch(1)
    if frozen:
        batches, asked = head.maps(batches), asked and _materialised(head.maps(asked))
    logging.info("%d steps of %d images ...", epochs * per_round, batch)
    with _held_still(head.encoder, frozen_below):
        model = head.network if frozen else head.model()
        _compile(model, learning_rate, epochs * per_round)
        done = _fit(model, batches, asked, epochs, per_round, watched_by)
    if not np.isfinite(done.history["loss"][-1]):
        raise UserError(
            f"{flag}: expected a rate at which the loss stays finite. Received: {learning_rate}"
        )


def scratch(
    encoder: keras.Model,
    source: Any,
    classes: int,
    side: int,
    seed: int = 0,
    *,
    stage: str = "",
    learning_rate: float = SCRATCH_RATE,
    **settings: Any,
) -> Head:
    """The architecture of `encoder`, up to a stage, by default the last, from random init.

    The other `settings` are `finetune`'s.
    """
    head = untrained(random_twin(encoder, seed), classes, side, stage)
    head = dataclasses.replace(head, network=random_twin(head.network, seed + 1))
    settings |= {"learning_rate": learning_rate, "flag": "--scratch_rate"}
    finetune(head, source, seed=seed, **settings)
    return head


def _split(
    source: Any, table: Sequence[int] | np.ndarray | None, seed: int, choose: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(indices to train on, indices held out)."""
    table = np.arange(source.size) if table is None else np.asarray(table)
    if choose:
        y = np.asarray(source.labels)[table]
        if np.unique(y, return_counts=True)[1].min() >= HELD:
            held = held_out(y, seed, HELD)
            return table[~held], table[held]
    return table, table[:0]


def _variation(side: int, pad: int, flip: bool) -> Any:
    def pair(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        cut, mirror = images.split_seed(example["seed"], 2)
        image = example["image"]
        if pad:
            image = tf.pad(image, [[pad, pad], [pad, pad], [0, 0]], "REFLECT")
            image = geometry.random_crop(image, side, cut)
        if flip:
            image = tf.image.stateless_random_flip_left_right(image, mirror)
        return image, example["label"]

    return pair


def _materialised(pairs: Iterator[tuple[tf.Tensor, tf.Tensor]]) -> tf.data.Dataset:
    """A dataset of batches that can be read each round."""
    maps, labels = zip(*pairs, strict=True)
    return tf.data.Dataset.from_tensor_slices((tf.concat(maps, 0), tf.concat(labels, 0))).batch(
        BATCH
    )


@contextlib.contextmanager
def _held_still(encoder: keras.Model, below: str) -> Iterator[None]:
    """The layers up to the stage before `below` learn nothing, and are as at inference."""
    names = encoders.stages(encoder)
    if below and below not in names:
        raise UserError(f"--frozen_below: expected one of {', '.join(names)}. Received: {below}")
    still = []
    if below and below != names[0]:
        last = encoder.get_layer(names[names.index(below) - 1]).output
        still = [x for x in keras.Model(encoder.input, last).layers if x.trainable]
    for layer in still:
        layer.trainable = False
    try:
        yield
    finally:
        for layer in still:
            layer.trainable = True


def _compile(model: keras.Model, learning_rate: float, steps: int) -> None:
    """SGD; Keras' decay acts on the weights alone, so it is divided by 1 - momentum."""
    warm = steps // 10
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warm else learning_rate,
        steps - warm,
        warmup_target=learning_rate if warm else None,
        warmup_steps=warm,
    )
    optimizer = keras.optimizers.SGD(
        rate, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY / (1 - MOMENTUM)
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])


class _Best(keras.callbacks.Callback):
    """Ends with the weights of the best round; of equals with the later, as the rate falls.

    `keras.callbacks.EarlyStopping` would keep the earlier.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        """Nothing is best."""
        self.accuracy, self.weights = -1.0, self.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keeps them."""
        if logs["val_accuracy"] >= self.accuracy:
            self.accuracy, self.weights = logs["val_accuracy"], self.model.get_weights()

    def on_train_end(self, logs: Any = None) -> None:
        """Brings them back."""
        self.model.set_weights(self.weights)


def _fit(
    model: keras.Model,
    batches: Any,
    asked: Any,
    epochs: int,
    steps: int,
    watched_by: Sequence[keras.callbacks.Callback] = (),
) -> Any:
    callbacks = [keras.callbacks.TerminateOnNaN(), *watched_by]
    if asked is not None:
        callbacks.append(_Best())
    quiet = {"verbose": 2, "shuffle": False, "callbacks": callbacks}
    return model.fit(batches, epochs=epochs, steps_per_epoch=steps, validation_data=asked, **quiet)
