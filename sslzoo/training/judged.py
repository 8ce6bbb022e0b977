"""What `sslzoo probe` judges: an encoder of any kind, its random twin, labelled images."""

import functools
import hashlib
import json
import pathlib
import re
import shutil
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from sslzoo import data, encoders, export, pictures, precision, probes, zoo
from sslzoo.data.order import keys
from sslzoo.errors import UserError
from sslzoo.pictures import retrieved
from sslzoo.probes import saved
from sslzoo.probes.cache import Cached, Images
from sslzoo.probes.features import FEATURES, Embedder
from sslzoo.training import workdir

DRAW = 1_000_003  # between the seeds of draws, far from other runs' seeds


class Judged:
    """`self` has the flags of `sslzoo probe`, which a type checker cannot see."""

    @functools.cached_property
    def model(self: Any) -> keras.Model | None:
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
    def _foreign(self: Any) -> bool:
        folder = pathlib.Path(self.encoder).expanduser()
        return (folder / "saved_model.pb").is_file() and not (folder / "card.json").is_file()

    @functools.cached_property
    def twin(self: Any) -> keras.Model:
        """The encoder at random init; of a SavedModel that has no twin, `small` at random init."""
        return probes.random_twin(self.model or encoders.get("small"), self.seed)

    @property
    def twin_name(self: Any) -> str:
        """What stands beside it."""
        if self.model:
            return "random init: the same network, untrained"
        stage = "last" if self.kind in ("retrieval", "invariance") else "best"
        return f"random init: `small`, untrained, its {stage} stage; a SavedModel has no twin"

    @functools.cached_property
    def embedders(self: Any) -> list[Cached]:
        """Of the encoder, and of its twin."""
        return self.read_by(FEATURES)

    def read_by(self: Any, max_features: int) -> list[Cached]:
        """`embedders` of stages that are pooled to at most so many features, or averages."""
        settings = (self.size, self.size, 3), max_features
        own = Embedder(self.model, *settings) if self.model else _opened(self.encoder, *settings)
        found = [own, Embedder(self.twin, *settings)]
        folder = pathlib.Path(self.cache).expanduser() if self.cache else None
        return [Cached(embed, folder) for embed in found]

    @functools.cached_property
    def size(self: Any) -> int:
        """Side of the square images in pixels."""
        _ = self.model
        return self.image_size or getattr(self, "card", {}).get("image_size") or 0

    @functools.cached_property
    def sources(self: Any) -> dict[str, dict[str, data.Source]]:
        """{spec: {"train", "test"}}: labelled sources."""
        load = functools.partial(data.load, data_dir=self.data_dir, resize=self.size, labels=True)
        specs = [spec.strip() for spec in self.dataset.split(",")]
        return {spec: {split: load(spec, split) for split in ("train", "test")} for spec in specs}

    def images(self: Any, spec: str, split: str, seed: int | None = None) -> Images:
        """All of a split, in its order; or by a seed as many as are wanted."""
        source = self.sources[spec][split]
        stop = source.size if seed is None else min(self.train_images, source.size)
        return Images(source, _digest(source), self.size, stop, seed)

    def label_draws(self: Any, spec: str) -> list[Images]:
        """One where all labels are wanted."""
        source = self.sources[spec]["train"]
        draws = self.draws if self.train_images < source.size else 1
        seeds = [(self.seed + DRAW * i) % 2**32 for i in range(draws)]
        return [self.images(spec, "train", seed) for seed in seeds]

    def drawn(self: Any, images: Images) -> np.ndarray:
        """The indices (n,) that a draw has."""
        size, position = images.source.size, tf.range(images.stop)
        return keys(position, images.seed, size, size, shuffle=True)["index"].numpy()

    def draw(self: Any, spec: str, answers: np.ndarray, indices: np.ndarray) -> None:
        """Eight random queries and the training images `indices[answers]`, wrong ones in red."""
        train, test = self.sources[spec].values()
        rng = np.random.default_rng(self.seed)
        chosen = np.sort(rng.choice(test.size, min(8, test.size), replace=False))
        found = indices[answers[chosen]]  # (8, k)
        sizes = {"crop": self.size, "shuffle": False}
        queries = [e["image"].numpy() for e in test.examples(table=chosen, **sizes)]
        images = [e["image"].numpy() for e in train.examples(table=found.ravel(), **sizes)]
        rows = [images[i : i + found.shape[1]] for i in range(0, len(images), found.shape[1])]
        right = np.asarray(train.labels)[found] == np.asarray(test.labels)[chosen][:, None]
        self.keep_picture(spec, retrieved.picture(queries, rows, right))

    def keep_picture(self: Any, spec: str, picture: np.ndarray) -> None:
        """(H, W, 3) uint8 as KIND_DATASET.png."""
        name = re.sub(r"\W+", "_", pathlib.Path(spec).stem)
        path = pathlib.Path(self.workdir, f"{self.kind}_{name}.png")
        pictures.save_png(path, picture)
        logging.info("%s: %s", spec, path)


def _digest(source: data.Source) -> str:
    """Of its labels and of the bytes of some images."""
    seen = json.dumps(workdir.fingerprint(source)).encode()
    labels = np.asarray(source.labels).tobytes()
    return hashlib.sha256(seen + labels).hexdigest()


def _opened(spec: str, shape: tuple[int, int, int], max_features: int) -> saved.SavedEmbedder:
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
    return saved.SavedEmbedder(answer, digest, shape, max_features)
