"""What `sslzoo probe` judges: an encoder of any kind, its random twin, labelled images."""

import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from sslzoo import data, encoders, export, pictures, probes, zoo
from sslzoo.data import order
from sslzoo.data.arrays import Arrays
from sslzoo.data.folder import Folder
from sslzoo.errors import UserError
from sslzoo.pictures import retrieved
from sslzoo.probes import saved
from sslzoo.probes.cache import Cached, Images
from sslzoo.probes.classifier import check_head_labels
from sslzoo.probes.features import FEATURES, Embedder
from sslzoo.probes.retrieval import images_at
from sslzoo.training import workdir


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
        return model

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
    def opened(self) -> dict[int, dict[str, dict[str, data.Source]]]:
        """What `sources` is, by `size`."""
        return {}

    @functools.cached_property
    def digests(self) -> dict[tuple[str, str, int], str]:
        """Of sources, by data set, split and `size`."""
        return {}

    @functools.cached_property
    def fitted(self) -> dict[Any, Any]:
        """What planes were found, for `probes.beside`."""
        return {}

    @property
    def sources(self: Any) -> dict[str, dict[str, data.Source]]:
        """{spec: {"train", "test"}}: labelled sources."""
        if self.size not in self.opened:
            self.opened[self.size] = self._open()
        return self.opened[self.size]

    def _open(self: Any) -> dict[str, dict[str, data.Source]]:
        load = functools.partial(data.load, data_dir=self.data_dir, resize=self.size, labels=True)
        # What follows a `single:`, files and options, is its own.
        others, *singles = re.split(r"(?:^|,)\s*(?=single:)", self.dataset)
        specs = [*(others.split(",") if others or not singles else []), *singles]
        specs = [spec.strip() for spec in specs]
        return {spec: {split: load(spec, split) for split in ("train", "test")} for spec in specs}

    def images(self: Any, spec: str, split: str, seed: int | None = None) -> Images:
        """All of a split, in its order; or by a seed as many as are wanted."""
        source = self.sources[spec][split]
        stop = source.size if seed is None else min(self.train_images, source.size)
        key = spec, split, self.size
        if key not in self.digests:
            self.digests[key] = _digest(source)
        return Images(source, self.digests[key], self.size, stop, seed)

    def label_draws(self: Any, spec: str) -> list[Images]:
        """One where all labels are wanted."""
        source = self.sources[spec]["train"]
        draws = self.draws if self.train_images < source.size else 1
        seeds = probes.seeds_of_draws(self.seed, draws)
        return [self.images(spec, "train", seed) for seed in seeds]

    def drawn(self: Any, images: Images) -> np.ndarray:
        """The indices (n,) that a draw has."""
        return order.drawn(images.stop, images.seed, images.source.size)

    def tables(self: Any, spec: str, share: float) -> list[tuple[np.ndarray, int]]:
        """The draws of a share of the labels: indices (n,), and the seed of all that they train."""
        size = self.sources[spec]["train"].size
        stop = max(1, round(share * size))
        seeds = probes.seeds_of_draws(self.seed, self.draws)
        return [(order.drawn(stop, seed, size), seed) for seed in seeds]

    def check_shares(self: Any, spec: str) -> None:
        """Sees that each table has what a head needs."""
        source = self.sources[spec]["train"]
        for share in self.shares:
            for table, _ in self.tables(spec, share):
                try:
                    check_head_labels(np.asarray(source.labels)[table], source.class_names)
                except UserError as error:
                    raise UserError(f"--shares: {share:g} of {spec}: {error}") from None

    def draw(self: Any, spec: str, answers: np.ndarray, indices: np.ndarray) -> None:
        """Eight random queries and the training images `indices[answers]`, wrong ones in red."""
        train, test = self.sources[spec].values()
        rng = np.random.default_rng(self.seed)
        chosen = np.sort(rng.choice(test.size, min(8, test.size), replace=False))
        found = indices[answers[chosen]]  # (8, k)
        queries = [row[0] for row in images_at(test, chosen[:, None], self.size)]
        rows = images_at(train, found, self.size)
        right = np.asarray(train.labels)[found] == np.asarray(test.labels)[chosen][:, None]
        self.keep_picture(spec, retrieved.picture(queries, rows, right))

    def keep_picture(self: Any, spec: str, picture: np.ndarray) -> None:
        """(H, W, 3) uint8 as KIND_DATASET.png."""
        name = re.sub(r"\W+", "_", pathlib.Path(spec).stem)
        path = pathlib.Path(self.workdir, f"{self.kind}_{name}.png")
        pictures.save_png(path, picture)
        logging.info("%s: %s", spec, path)


def _digest(source: data.Source) -> str:
    """Of what it was asked for, its labels, the bytes of some images, and the dates of all files.

    Views of one image are told apart by the first: `fetch` knows of no flip, say.
    """
    asked = [source.spec, source.split, source.resize, _files(source)]
    seen = json.dumps([asked, workdir.fingerprint(source)]).encode()
    labels = np.asarray(source.labels).tobytes()
    return hashlib.sha256(seen + labels).hexdigest()


def _files(source: data.Source) -> list[tuple[str, int, int]]:
    """Path, bytes and nanosecond of the last change of each file of a folder, or of an .npz."""
    paths = [source.spec] if isinstance(source, Arrays) else []
    if isinstance(source, Folder):
        paths = [os.fsdecode(path) for path in source.fetch(tf.range(source.size)).numpy()]
    found = ((path, pathlib.Path(path).expanduser().stat()) for path in paths)
    return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in found]


def _opened(spec: str, shape: tuple[int, int, int], max_features: int) -> saved.SavedEmbedder:
    """A SavedModel, held to the operations that exports have."""
    folder = pathlib.Path(spec).expanduser()
    digest = hashlib.sha256(json.dumps(export.sha256(folder)).encode()).hexdigest()
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
    name = _argument(signature, shape)

    def answer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return signature(**{name: images})

    answer.model = model  # type: ignore[attr-defined]  # TensorFlow frees the weights with it
    return saved.SavedEmbedder(answer, digest, shape, max_features)


def _argument(signature: Any, shape: tuple[int, int, int]) -> str:
    """The name of the one that takes images of that shape.

    Raises:
        UserError: there is none, or there are more.
    """
    inputs = signature.structured_input_signature[1]
    wrong = len(inputs) != 1
    for spec in inputs.values():
        wrong |= spec.dtype != tf.float32
        wrong |= not all(spec.shape.is_compatible_with((n, *shape)) for n in (1, 2))
    if wrong:
        side = shape[0]
        received = (f"{name} {x.shape} {x.dtype.name}" for name, x in sorted(inputs.items()))
        raise UserError(
            f"--encoder: expected `features` of one argument, float32 images (N, {side}, {side}, "
            f"3) of any N ({side} is --image_size). Received: {', '.join(received) or 'none'}"
        )
    return next(iter(inputs))
