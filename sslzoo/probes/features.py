"""What probes read: every stage of a frozen encoder, pooled, over a whole dataset."""

import functools
import hashlib
import json
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from sslzoo import encoders
from sslzoo.errors import UserError

FEATURES = 9600  # of a stage, pooled: what the papers have
BATCH = 256


class Embedder:
    """Reads a dataset through a frozen encoder: ({stage: (N, dims) float32}, labels (N,)).

    Args:
        encoder: functional model, (B, H, W, 3) in [0, 1] -> (B, h, w, C).
        shape: of the images, (H, W, 3).
        max_features: of a stage, pooled.
        batch_size: images of a pass.

    Attributes:
        channels: {stage: C}.
    """

    def __init__(
        self,
        encoder: keras.Model,
        shape: tf.TensorShape,
        max_features: int = FEATURES,
        batch_size: int = BATCH,
    ) -> None:
        self.encoder = encoder
        self.settings = tuple(shape), max_features
        self.batch_size = batch_size
        names = encoders.stages(encoder)
        self.channels = {name: encoder.get_layer(name).output.shape[-1] for name in names}

    @functools.cached_property
    def read(self) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        """`reader`, traced when it is first asked for."""
        return reader(self.encoder, *self.settings)

    def __call__(self, data: tf.data.Dataset) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """`features` of it."""
        return features(self.read, data, self.batch_size)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of weights, graph and settings, as hex; names but the stages' do not count.

        Of the graph, since not all operations are layers: what makes greys of colours, say.
        """
        graph = json.dumps({**self.encoder.get_config(), "name": ""}, default=str)
        for i, operation in enumerate(self.encoder.operations):
            if operation.name not in self.channels:
                graph = graph.replace(json.dumps(operation.name), str(i))
        digest = hashlib.sha256(
            json.dumps([graph, self.channels, self.settings], default=str).encode()
        )
        for weight in self.encoder.get_weights():
            digest.update(str(weight.shape).encode() + weight.tobytes())
        return digest.hexdigest()


def dataset(data: tf.data.Dataset | tuple[np.ndarray, np.ndarray], name: str) -> tf.data.Dataset:
    """`data` as a finite dataset of {"image", "label"}; `name` is what an error calls it."""
    if isinstance(data, tuple):
        images, labels = np.asarray(data[0]), np.asarray(data[1])
        data = tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})
    spec = getattr(data, "element_spec", None)
    if not isinstance(spec, dict) or not {"image", "label"} <= spec.keys():
        raise UserError(f"{name}: a probe needs examples with image and label. Received: {spec}")
    shape = spec["image"].shape
    if shape.rank != 3 or not shape.is_fully_defined() or shape[-1] != 3:
        raise UserError(f"{name}: images must have one shape (H, W, 3). Received: {shape}")
    if data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise UserError(f"{name}: a probe needs a finite dataset. Received: an endless one")
    return data


def reader(
    encoder: keras.Model, shape: tf.TensorShape, max_features: int
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Images (B, *shape) float32 -> {stage: (B, dims)}, pooled in the graph to bound the memory.

    Traced here, once for batches of any size.
    """
    names = encoders.stages(encoder)
    inside = keras.Model(encoder.input, {name: encoder.get_layer(name).output for name in names})
    images = keras.Input(shape)
    maps = inside(images, training=False)
    model = keras.Model(images, {name: pooled(maps[name], max_features) for name in names})
    call = tf.function(lambda images: model(images, training=False), autograph=False)
    return call.get_concrete_function(tf.TensorSpec((None, *shape), tf.float32))


def features(
    read: Callable[[tf.Tensor], dict[str, tf.Tensor]], data: tf.data.Dataset, batch_size: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """All stages in one pass of a `reader`: ({stage: (N, dims) float32}, labels (N,))."""
    parts: dict[str, list[np.ndarray]] = {}
    labels: list[np.ndarray] = []
    for batch in data.batch(batch_size).prefetch(1):
        images = tf.image.convert_image_dtype(batch["image"], tf.float32)
        for stage, value in read(images).items():
            parts.setdefault(stage, []).append(value.numpy())
        labels.append(batch["label"].numpy())
    if not labels:
        raise UserError("A probe needs examples. Received: an empty dataset")
    # Popped, so that at most one stage is held twice.
    arrays = {stage: np.concatenate(parts.pop(stage)) for stage in [*parts]}
    for stage, value in arrays.items():
        if not np.isfinite(value).all():
            raise UserError(f"Features must be finite. Received: NaN or infinity in {stage}")
    return arrays, np.concatenate(labels)


def averaged(rows: np.ndarray, channels: int) -> np.ndarray:
    """A stage as `features` has it, (N, g * g * C), averaged over space: (N, C)."""
    return rows.reshape(len(rows), -1, channels).mean(1)


def pooled(maps: keras.KerasTensor, max_features: int) -> keras.KerasTensor:
    """Keras tensor (B, h, w, C) -> (B, g * g * C), averaged to at most `max_features`."""
    _, height, width, channels = maps.shape
    grid = max(1, min(height, width, int((max_features / channels) ** 0.5)))
    if grid == 1:  # of which Keras' adaptive pooling makes windows larger than the map
        return keras.layers.GlobalAveragePooling2D()(maps)
    if (height, width) != (grid, grid):
        maps = keras.layers.AdaptiveAveragePooling2D(grid)(maps)  # (B, g, g, C)
    return keras.layers.Flatten()(maps)
