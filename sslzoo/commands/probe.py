"""what any encoder is worth on labelled images, beside random init and blind guess

sslzoo probe --encoder=rotation --dataset=FOLDER
sslzoo probe --encoder=MobileNetV2:imagenet --dataset=a.npz,FOLDER --image_size=64
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import shutil
import sys
import tempfile
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from sslzoo import data, encoders, export, precision, probes, ranges, zoo
from sslzoo.errors import UserError, writable_folder
from sslzoo.probes import results, saved
from sslzoo.probes.cache import Cached, Images
from sslzoo.probes.features import Embedder
from sslzoo.ranges import Count, Pad, Seed
from sslzoo.training import workdir as folders

CACHE = "~/.cache/sslzoo"
DRAW = 1_000_003  # between the seeds of draws
COLUMNS = {
    "dataset": "dataset",
    "stage": "stage",
    "labels": "labels",
    "accuracy": "accuracy",
    "random_accuracy": "random init",
    "majority": "blind guess",
}


@dataclasses.dataclass
class Probe:
    """Judges an encoder.

    Args:
        encoder: a name in the zoo, an exported folder, an encoder.keras, a SavedModel with a
            signature `features`, or a backbone, NAME[:imagenet|:FILE]: with the weights that are
            named, or random ones.
        dataset: labelled images: a folder of class folders, a .npz file, tfds:NAME, or photos; more
            than one with commas between them.
        kind: what is asked. linear: how much of the labels a plane reads off each stage.
        data_dir: where TensorFlow Datasets keeps prepared datasets.
        image_size: side of the square that images are brought to, in pixels; 0 takes the one in
            the encoder's card.
        train_images: labelled training images of a draw, at most.
        draws: how often they are drawn anew; scores are mean ± standard deviation.
        cache: folder in which features are kept, by hash of weights and images, so that a second
            probe is quick; empty keeps none.
        seed: of the random encoder, the draws and the splits of labels.
        workdir: folder for probe.json and probe.csv.
    """

    encoder: str = ""
    dataset: str = "photos"
    kind: Literal["linear"] = "linear"
    data_dir: str = ""
    image_size: Pad = 0
    train_images: Count = 5000
    draws: Count = 3
    cache: str = CACHE
    seed: Seed = 0
    workdir: str = "runs/probe"

    def run(self) -> list[dict[str, Any]]:
        """Does it all; returns the rows of `probe.json`."""
        self._check()
        keras.utils.set_random_seed(self.seed)
        rows = [row for spec in self.sources for row in getattr(self, f"_{self.kind}")(spec)]
        about = {"encoder": self.encoder, "kind": self.kind, "beside": self.twin_name}
        flags = {key: str(value) for key, value in dataclasses.asdict(self).items()}
        results.write(self.workdir, rows, {**about, "flags": flags})
        sys.stdout.write(f"\n{self.encoder}\n{results.table(rows, COLUMNS)}\n{self.twin_name}\n")
        return rows

    # === What it is given ===

    @functools.cached_property
    def model(self) -> keras.Model | None:
        """The encoder, or None where it is a SavedModel that Keras does not know."""
        if encoders.known(self.encoder):
            return encoders.get(self.encoder)
        if self._foreign:
            return None
        try:
            model, self.card = zoo.open_encoder(self.encoder)
        except UserError as error:
            raise UserError(f"--encoder: expected {error}") from None
        return precision.in_policy(model, "float32")

    @property
    def _foreign(self) -> bool:
        folder = pathlib.Path(self.encoder).expanduser()
        return (folder / "saved_model.pb").is_file() and not (folder / "card.json").is_file()

    @functools.cached_property
    def twin(self) -> keras.Model:
        """The encoder at random init; of a SavedModel that has no twin, `small` at random init."""
        return probes.random_twin(self.model or encoders.get("small"), self.seed)

    @property
    def twin_name(self) -> str:
        """What stands beside it."""
        if self.model:
            return "random init: the same network, untrained"
        return "random init: `small`, untrained, its best stage; a SavedModel has no twin"

    @functools.cached_property
    def embedders(self) -> list[Cached]:
        """Of the encoder, and of its twin."""
        shape = (self.size, self.size, 3)
        own = Embedder(self.model, shape) if self.model else _opened(self.encoder, shape)
        found = [own, Embedder(self.twin, shape)]
        folder = pathlib.Path(self.cache).expanduser() if self.cache else None
        return [Cached(embed, folder) for embed in found]

    @functools.cached_property
    def size(self) -> int:
        """Side of the square images in pixels."""
        _ = self.model
        return self.image_size or getattr(self, "card", {}).get("image_size") or 0

    @functools.cached_property
    def sources(self) -> dict[str, dict[str, data.Source]]:
        """{spec: {"train", "test"}}: labelled sources."""
        load = functools.partial(data.load, data_dir=self.data_dir, resize=self.size, labels=True)
        specs = [spec.strip() for spec in self.dataset.split(",")]
        return {spec: {split: load(spec, split) for split in ("train", "test")} for spec in specs}

    def _check(self) -> None:
        """Looks at everything that can be wrong, before the long work."""
        ranges.check(type(self).__init__, vars(self))
        if not self.workdir.strip():
            raise UserError(f"--workdir: expected a folder. Received: {self.workdir!r}")
        if not self.encoder:
            names = ", ".join(entry.name for entry in zoo.list()) or "none yet"
            raise UserError(
                f"--encoder: expected a name in the zoo ({names}), an exported folder, an "
                "encoder.keras, a SavedModel, or the name of a backbone. Received: ''"
            )
        if self.model and not encoders.stages(self.model):
            raise UserError(
                "--encoder: expected a network with layers named stage1, stage2, ... "
                f"Received: {', '.join(layer.name for layer in self.model.layers):.200}"
            )
        if self.size < 1:
            raise UserError(
                "--image_size: expected a side in pixels, since the encoder has no card. "
                f"Received: {self.size}"
            )
        _ = self.sources
        writable_folder(pathlib.Path(self.workdir))

    # === What is read ===

    def _images(self, spec: str, split: str, seed: int | None = None) -> Images:
        """All of a split, in its order; or by a seed as many as are wanted."""
        source = self.sources[spec][split]
        stop = source.size if seed is None else min(self.train_images, source.size)
        return Images(source, _digest(source), self.size, stop, seed)

    def _draws(self, spec: str) -> list[Images]:
        """One where all labels are wanted."""
        source = self.sources[spec]["train"]
        draws = self.draws if self.train_images < source.size else 1
        seeds = [(self.seed + DRAW * i) % 2**32 for i in range(draws)]
        return [self._images(spec, "train", seed) for seed in seeds]

    # === The kinds ===

    def _linear(self, spec: str) -> list[dict[str, Any]]:
        """One row, of the best stage; the others in it."""
        draws, test = self._draws(spec), self._images(spec, "test")
        scores = probes.beside(self.embedders, draws, test, self.seed)
        sys.stdout.write(f"\n{spec}\n{scores}\n")
        kept = ("stage", "accuracy", "std")
        best = {key: scores.best[key] for key in kept}
        # Of the twin its own best stage, not the one that the encoder does best in.
        other = max(scores.rows, key=lambda row: row["random_accuracy"])
        best |= {key: other[key] for key in ("random_accuracy", "random_std")}
        size = {"labels": scores.train_labels, "test_labels": scores.test_labels}
        size |= {"draws": scores.draws}
        row = {"dataset": spec, **best, **size, "majority": scores.chance}
        return [{**row, "stages": scores.rows}]


def main(probe: Probe = Probe()) -> list[dict[str, Any]]:  # noqa: B008 - never changed, `cli.parse` copies it
    """Judges an encoder."""
    return probe.run()


def _digest(source: data.Source) -> str:
    """Of its labels and of the bytes of some images."""
    seen = json.dumps(folders.fingerprint(source)).encode()
    labels = np.asarray(source.labels).tobytes()
    return hashlib.sha256(seen + labels).hexdigest()


def _opened(spec: str, shape: tuple[int, int, int]) -> saved.SavedEmbedder:
    """A SavedModel, held to the operations that exports have."""
    folder = pathlib.Path(spec).expanduser()
    digest = saved.digest(folder)
    with tempfile.TemporaryDirectory(prefix="sslzoo-") as private:
        copy = pathlib.Path(private, "model")
        shutil.copytree(folder, copy)
        export.keep_allowed(copy, spec)
        model = tf.saved_model.load(str(copy))
    if "features" not in model.signatures:
        raise UserError(
            f"--encoder: expected a signature `features`. Received: {spec} with "
            f"{', '.join(model.signatures) or 'none'}"
        )
    logging.info("%s: a SavedModel, with operations that exports have", spec)
    signature = model.signatures["features"]
    (name,) = signature.structured_input_signature[1]

    def answer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return signature(**{name: images})

    answer.model = model  # type: ignore[attr-defined]  # TensorFlow frees the weights with it
    return saved.SavedEmbedder(answer, digest, shape)
