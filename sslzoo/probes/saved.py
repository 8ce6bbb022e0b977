"""A SavedModel as an encoder: what its `features` signature answers, stage by stage."""

import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from sslzoo.errors import UserError
from sslzoo.probes.features import BATCH, FEATURES, features, pooled


class SavedEmbedder:
    """As `Embedder`, of a model that Keras need not know.

    Args:
        answer: images (B, H, W, 3) float32 in [0, 1] -> {stage: (B, h, w, C) or (B, C)}.
        digest: of its files, as hex.
        shape: of the images, (H, W, 3).
    """

    def __init__(
        self,
        answer: Callable[[tf.Tensor], dict[str, tf.Tensor]],
        digest: str,
        shape: tuple[int, int, int],
        max_features: int = FEATURES,
    ) -> None:
        self.answer, self.max_features = answer, max_features
        self.digest = f"{digest} {shape} {max_features}"
        once = self._maps(tf.zeros((1, *shape)))
        wrong = {name: maps.shape.as_list() for name, maps in once.items() if maps.shape.rank != 4}
        if wrong or not once:
            raise UserError(f"features: expected maps (N, h, w, C). Received: {wrong or 'nothing'}")
        self.shapes = {name: tuple(maps.shape[1:]) for name, maps in once.items()}
        self.channels = {name: shape[-1] for name, shape in self.shapes.items()}

    def _maps(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """In the order of the numbers in their names, `stage2` before `stage10`."""
        answer = self.answer(images)
        names = sorted(answer, key=lambda name: (len(name), name))
        return {
            name: answer[name][:, None, None] if answer[name].shape.rank == 2 else answer[name]
            for name in names
        }

    @functools.cached_property
    def _pools(self) -> dict[str, keras.Model]:
        inputs = {name: keras.Input(shape) for name, shape in self.shapes.items()}
        return {name: keras.Model(x, pooled(x, self.max_features)) for name, x in inputs.items()}

    def read(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """(B, H, W, 3) -> {stage: (B, dims)}."""
        return {name: self._pools[name](maps) for name, maps in self._maps(images).items()}

    def __call__(self, data: tf.data.Dataset) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """({stage: (N, dims) float32}, labels (N,))."""
        return features(self.read, data, BATCH)
