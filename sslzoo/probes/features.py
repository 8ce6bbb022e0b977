"""What probes read: every stage of a frozen encoder, pooled, over a whole dataset."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from sslzoo import encoders
from sslzoo.errors import UserError


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


def pooled(maps: keras.KerasTensor, max_features: int) -> keras.KerasTensor:
    """Keras tensor (B, h, w, C) -> (B, g * g * C), averaged to at most `max_features`."""
    _, height, width, channels = maps.shape
    grid = max(1, min(height, width, int((max_features / channels) ** 0.5)))
    if (height, width) != (grid, grid):
        maps = keras.layers.AdaptiveAveragePooling2D(grid)(maps)  # (B, g, g, C)
    return keras.layers.Flatten()(maps)
