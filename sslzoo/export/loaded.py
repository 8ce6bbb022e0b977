"""An export in memory, with functions that look at what they are given before TensorFlow does."""

import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from sslzoo.errors import UserError, one_line

SLACK = 0.5  # beyond [0, 1]: resizing overshoots by less, other ranges (0-255, [-1, 1]) by more


class Export:
    """The functions of a SavedModel that `sslzoo.export` wrote, those of them that it has:

    embed(images), features(images), classify(images), generate(images)
    embed_bytes(files), classify_bytes(files), generate_bytes(files)

    Each is a `Function` and gives a dict of tensors.
    """

    embed: "Function"
    features: "Function"
    classify: "Function"
    generate: "Function"
    embed_bytes: "Function"
    classify_bytes: "Function"
    generate_bytes: "Function"

    def __init__(self, folder: pathlib.Path | str) -> None:
        self.model = tf.saved_model.load(str(folder))
        self.signatures = self.model.signatures
        for name, signature in self.signatures.items():
            if name != "serving_default":  # another name of the first
                setattr(self, name, Function(self.model, name, signature))


class Function:
    """One signature, called as a concrete function: safe to call from many threads, and wrongly.

    A `tf.function` checks its arguments under a lock, which TensorFlow 2.21 never gives back where
    one has a wrong type: the next caller waits for ever.
    """

    def __init__(self, model: Any, name: str, signature: Any) -> None:
        self.model = model  # TensorFlow frees the weights with it
        self.name = name
        self.signature = signature
        ((self.argument, self.spec),) = signature.structured_input_signature[1].items()

    def __repr__(self) -> str:
        return f"{self.name}({self.argument}) -> {', '.join(self.signature.structured_outputs)}"

    def __call__(self, values: Any) -> dict[str, tf.Tensor]:
        """Answers images or files.

        Args:
            values: tensor, array or list, as the function has it: images (N, H, W, 3) of floats in
                [0, 1], or JPEG or PNG files (N,) of bytes. N may be 0.

        Returns:
            dict of tensors (N, ...).

        Raises:
            UserError: a wrong type, shape or range.
            tf.errors.InvalidArgumentError: a file is damaged, no JPEG or PNG, or too large.
        """
        prepare = _files if self.spec.dtype == tf.string else _images
        return self.signature(**{self.argument: prepare(values, self.name)})


def _images(values: Any, name: str) -> tf.Tensor:
    """Tensor (N, H, W, 3) float32."""
    expected = f"{name}: expected images (N, H, W, 3) of floats in [0, 1]"
    try:
        images = (
            values if isinstance(values, tf.Tensor) else tf.convert_to_tensor(np.asarray(values))
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"{expected}. Received: {one_line(error)}") from None
    if not images.dtype.is_floating:
        hint = ": divide by 255" if images.dtype.is_integer else ""
        raise UserError(f"{expected}{hint}. Received: {images.dtype.name}")
    shape = images.shape
    if shape.rank != 4 or shape[3] not in (3, None) or 0 in shape[1:]:
        hint = ": one image is images[None]" if shape.rank == 3 else ""
        raise UserError(f"{expected}{hint}. Received: shape {shape}")
    images = tf.cast(images, tf.float32)
    if not tf.is_symbolic_tensor(images) and shape.num_elements():
        pixels = images.numpy()
        low, high = pixels.min(), pixels.max()
        if not -SLACK <= low <= high <= 1 + SLACK:  # NaN is neither
            hint = ": divide by 255" if 2 < high <= 255 and low >= 0 else ""
            raise UserError(f"{expected}{hint}. Received: {low:g} to {high:g}")
    return images


def _files(values: Any, name: str) -> tf.Tensor:
    """Tensor (N,) string."""
    expected = f"{name}: expected a list of JPEG or PNG files (N,), each as bytes"
    try:
        files = tf.convert_to_tensor(values, tf.string)
    except (ValueError, TypeError) as error:
        raise UserError(f"{expected}. Received: {one_line(error)}") from None
    if files.dtype != tf.string or files.shape.rank != 1:
        raise UserError(f"{expected}. Received: {files.dtype.name} of shape {files.shape}")
    return files
