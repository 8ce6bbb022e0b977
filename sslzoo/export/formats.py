"""An encoder as one file for other runtimes: ONNX Runtime, and LiteRT (once TensorFlow Lite).

Both take `images` (N, H, W, 3) float32 in [0, 1], of any N, H and W, and give `embedding` (N, C).
Batch norm is folded, as in the SavedModel.
"""

import importlib.util
import pathlib

import keras
import tensorflow as tf

from sslzoo.errors import UserError
from sslzoo.export import folding

FILES = {"onnx": "assets.extra/encoder.onnx", "litert": "assets.extra/encoder.tflite"}


def check(formats):
    """Raises a `UserError` where `write` could not write these."""
    for name in formats:
        if name not in FILES:
            raise UserError(f"--formats: expected some of {', '.join(FILES)}. Received: {name!r}")
        if name == "onnx" and not importlib.util.find_spec("tf2onnx"):
            raise UserError("--formats=onnx: expected tf2onnx, pip install -e '.[onnx]'")


def write(encoder, folder, formats):
    """Writes the `FILES` of `formats` into a version's folder."""
    if not formats:
        return
    embedding = keras.layers.GlobalAveragePooling2D()(encoder.output)
    model = folding.fold(keras.Model(encoder.input, {"embedding": embedding}))
    images = tf.TensorSpec(model.input_shape, tf.float32, name="images")
    for name in formats:
        file = pathlib.Path(folder, FILES[name])
        model.export(file, format=name, input_signature=[images], verbose=False)
