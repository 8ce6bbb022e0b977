"""a classifier from an encoder and labelled images, with its accuracy and an export

sslzoo classify --encoder=rotation --dataset=FOLDER              # a head on the frozen encoder
sslzoo classify --encoder=rotation --dataset=FOLDER --finetune   # goes on through the encoder
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from sslzoo import data, encoders, export, pictures, probes, zoo
from sslzoo.data import order
from sslzoo.errors import UserError, writable_folder
from sslzoo.export import model_card
from sslzoo.flags import ranges, signature
from sslzoo.flags.ranges import Count, OptionalCount, Pad, Positive, Seed
from sslzoo.pictures import confusion
from sslzoo.probes.classifier import check_head_labels
from sslzoo.probes.finetuning import RATE, ROUNDS, SCRATCH_RATE, STEP
from sslzoo.probes.linear_probe import majority

EPOCHS = 5
STEPS = 4000  # of fine-tuning, at least: few labels want many epochs


@dataclasses.dataclass
class Classify:
    """Trains a classifier, scores it beside one from random init, and exports it.

    Args:
        encoder: a name in the zoo, an exported folder, or an encoder.keras; alexnet:FOLDER is the
            AlexNet with the weights of an exported alexnet_cfn.
        dataset: labelled images: a folder of class folders, a .npz file, tfds:NAME,
            rendered:FOLDER, photos or scenes.
        data_dir: where TensorFlow Datasets keeps prepared datasets.
        image_size: side of the square that images are brought to, in pixels; 0 takes the one in
            the encoder's card.
        train_images: labelled images that a linear head is fitted to, at most; other heads and
            --finetune see all.
        stage: the encoder's stage that the head reads; empty takes the one that does best on a
            fifth of the training labels, or with --finetune the last one.
        head: linear, or RotNet's on a whole feature map (arXiv:1803.07728): mlp, with two hidden
            layers, or conv, a block of NIN; a linear one finds the stage for them.
        top_k: classes in an answer, at most.
        finetune: train encoder and head together, from the fitted head on, on padded crops; a tenth
            of the labels is held out and chooses among the weights, where every class has ten. With
            a linear head it stands beside the same network, trained as long from scratch.
        epochs: of --finetune, and of a head that is not linear; 0 takes five, and for a linear head
            with --finetune more where these have fewer than 4,000 steps of 64 images.
        learning_rate: the highest one of these epochs; RotNet's heads had 0.1.
        scratch_rate: the highest one from scratch.
        flip: mirror half of the images in these epochs.
        seed: of the random encoder, the order and the crops.
        workdir: folder for confusion.png and exported/classifier.
    """

    encoder: str = ""
    dataset: str = "photos"
    data_dir: str = ""
    image_size: Pad = 0
    train_images: Count = 10000
    stage: str = ""
    head: Literal["linear", "mlp", "conv"] = "linear"
    top_k: Count = 5
    finetune: bool = False
    epochs: OptionalCount = 0
    learning_rate: Positive = RATE
    scratch_rate: Positive = SCRATCH_RATE
    flip: bool = True
    seed: Seed = 0
    workdir: str = "runs/classifier"

    def run(self) -> list[dict[str, Any]]:
        """Does it all; returns the rows of scores that the card holds."""
        started = time.time()
        self._check()
        keras.utils.set_random_seed(self.seed)
        encoder, made = self.given
        logging.info("what it will stand beside: from random init ...")
        random = self._untaught(encoder).accuracy(self._test)
        logging.info("a head on the encoder ...")
        head = self._trained(encoder)
        labels, answers = head.predict(self._test)
        row = {
            "stage": head.stage,
            "accuracy": float(np.mean(labels == answers)),
            "random_accuracy": random,
            "majority_accuracy": majority(np.asarray(self.sources[0].labels), labels),
        }
        minutes = round((time.time() - started) / 60, 1)
        card = {"minutes": minutes, "encoder": made, "scores": [row], **self._about(len(labels))}
        self._publish(head, card, tf.math.confusion_matrix(labels, answers, len(self.classes)))
        return card["scores"]

    # === What it is given ===

    @functools.cached_property
    def given(self) -> tuple[keras.Model, dict[str, Any]]:
        """The encoder and its card; the card is empty for a bare file."""
        try:
            return zoo.open_encoder(self.encoder)
        except UserError as error:
            raise UserError(f"--encoder: expected {error}") from None

    @functools.cached_property
    def size(self) -> int:
        """Side of the square images in pixels."""
        return self.image_size or self.given[1].get("image_size", 0)

    @functools.cached_property
    def sources(self) -> list[data.Source]:
        """The labelled train and test sources."""
        load = functools.partial(data.load, self.dataset, data_dir=self.data_dir, labels=True)
        return [load(split, resize=self.size) for split in ("train", "test")]

    @property
    def classes(self) -> list[str]:
        """Names, by label."""
        return self.sources[0].class_names or []

    def _check(self) -> None:
        """Looks at everything that can be wrong, before the long work."""
        ranges.check(type(self).__init__, vars(self))
        encoder, _ = self.given
        if self.size < 1:
            raise UserError(
                "--image_size: expected a side in pixels, since the encoder has no card. "
                f"Received: {self.size}"
            )
        export.check(encoder, self.size)
        names = encoders.stages(encoder)
        if self.stage and self.stage not in names:
            raise UserError(f"--stage: expected one of {', '.join(names)}. Received: {self.stage}")
        train = self.sources[0]
        check_head_labels(np.asarray(train.labels)[self._few], self.classes)
        writable_folder(self.workdir)

    @property
    def _few(self) -> np.ndarray:
        """Indices of the training images that the plane is fitted to."""
        size = self.sources[0].size
        return order.drawn(min(self.train_images, size), self.seed, size)

    # === Work ===

    def _trained(self, encoder: keras.Model) -> probes.Head:
        """A head on the encoder, and the encoder with it if that is asked for."""
        train = self.sources[0]
        stage = self.stage or (encoders.stages(encoder)[-1] if self.finetune else "")
        few = train.examples(crop=self.size, table=self._few, shuffle=False)
        head = probes.fit_head(encoder, few, self.classes, stage=stage, seed=self.seed)
        schedule = {"learning_rate": self.learning_rate, **self._schedule}
        if self.head != "linear":
            head = probes.nonlinear(head, self.head)
            probes.finetune(head, train, frozen=True, **schedule)
        if self.finetune:
            probes.finetune(head, train, **schedule)
        return head

    def _untaught(self, encoder: keras.Model) -> probes.Head:
        """What stands beside it: the same on a random encoder, or the network from scratch."""
        if not self._through:
            return self._trained(probes.random_twin(encoder, self.seed))
        given = encoder, self.sources[0], len(self.classes), self.size
        settings = {"stage": self.stage, "learning_rate": self.scratch_rate, **self._schedule}
        return probes.scratch(*given, **settings)

    @property
    def _through(self) -> bool:
        """Whether a plane is trained together with the encoder."""
        return self.finetune and self.head == "linear"

    @property
    def _schedule(self) -> dict[str, Any]:
        """What `probes.finetune` takes, but for the rate."""
        shared = {"flip": self.flip, "seed": self.seed}
        if self.epochs or not self._through:
            return {"epochs": self.epochs or EPOCHS, **shared}
        steps = max(STEPS, EPOCHS * self.sources[0].size // STEP)
        return {"epochs": ROUNDS, "steps": steps, **shared}

    @property
    def _test(self) -> tf.data.Dataset:
        """The test split."""
        return self.sources[1].examples(crop=self.size, shuffle=False)

    def _about(self, tested: int) -> dict[str, Any]:
        """What made it, for the card."""
        flags = signature.texts(signature.flags_of(main, {"classify": self}))
        defaults = signature.texts(signature.flags_of(main))
        all_seen = self.finetune or self.head != "linear"
        size = self.sources[0].size
        dataset = {"name": self.dataset, "images": size, "test_images": tested}
        about = {"flags": flags, "dataset": dataset, "seed": self.seed, "classes": self.classes}
        about["labels"] = size if all_seen else min(self.train_images, size)
        about["command"] = model_card.command(["sslzoo", "classify"], flags, defaults)
        return {"recipe": "classify", **about}

    # === What comes out ===

    def _publish(self, head: probes.Head, card: dict[str, Any], counts: tf.Tensor) -> None:
        row, path = card["scores"][0], pathlib.Path(self.workdir, "exported", "classifier")
        path.mkdir(parents=True, exist_ok=True)
        sheet = pathlib.Path(self.workdir, "confusion.png")
        pictures.save_png(sheet, confusion.picture(counts, self.classes))
        answer = _ranked(head, self.classes, self.top_k)
        card = model_card.of_classifier(card, self.size)
        export.save(head.encoder, path, card=card, image_size=self.size, classify=answer)
        logging.info(
            "held-out accuracy %.2f%% (%s); from random init %.2f%%, majority class %.2f%%",
            100 * row["accuracy"],
            head.stage,
            100 * row["random_accuracy"],
            100 * row["majority_accuracy"],
        )
        logging.info("confusion matrix in %s, exported to %s", sheet, path)


def main(classify: Classify = Classify()) -> list[dict[str, Any]]:  # noqa: B008 - a copy of it runs
    """Makes a classifier of an encoder."""
    return dataclasses.replace(classify).run()


def _ranked(
    head: probes.Head, classes: list[str], top_k: int
) -> Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """What `export.save` takes as `classify`: the `top_k` best classes with their scores."""

    def classify(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        maps = tf.ensure_shape(features[head.stage], (None, *head.network.input_shape[1:]))
        scores = tf.nn.softmax(head.network(maps, training=False))  # (N, K)
        scores, order = tf.math.top_k(scores, min(top_k, len(classes)))
        return {"scores": scores, "classes": tf.gather(tf.constant(classes), order)}

    return classify
