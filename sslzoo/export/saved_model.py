"""An encoder, or a model of images to images, as a SavedModel with its functions."""

import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from sslzoo import encoders, precision
from sslzoo.errors import UserError
from sslzoo.export import folding, publishing, request_images
from sslzoo.export import formats as other_formats

GENERATED_PIXELS = 2**21  # of an image to `generate_bytes`: the network's maps have its size


def save(
    encoder: keras.Model,
    path: pathlib.Path | str,
    *,
    card: dict[str, Any] | None = None,
    image_size: int = 96,
    classify: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]] | None = None,
    formats: Iterable[str] = (),
) -> str:
    """Publish `encoder` as the next version under `path`; return that version's folder.

    `image_size` (pixels) is the square that `embed_bytes` brings every decoded image to. `card`
    is a dict for `card.json`; where it uses a key of the measured facts, the fact wins.
    `classify` turns what `features` returns for images of that square into a dict of `scores` and
    `classes`, both (N, K); then there are `classify` and `classify_bytes` too. `formats` names
    files for other runtimes, see `export.formats`. All of them compute in float32, whatever the
    encoder does.
    """
    other_formats.check(formats)
    check(encoder, image_size)
    encoder = precision.in_policy(encoder, "float32")
    facts = _encoder_facts(encoder, image_size)

    def write(folder: pathlib.Path) -> None:
        _write_version(encoder, folder, image_size, classify)
        other_formats.write(encoder, folder, formats)

    return publishing.publish(path, write, card, facts)


def save_image_model(
    model: keras.Model, path: pathlib.Path | str, *, card: dict[str, Any] | None = None
) -> str:
    """Publish a model of images to images as the next version under `path`; return its folder.

    The SavedModel has `generate` (also `serving_default`): `images` (N, H, W, 3) float32 in
    [0, 1] -> `images` (N, H', W', 3), clipped to [0, 1]; and `generate_bytes`: `image_bytes` (N,)
    JPEG or PNG files, each of its own size -> `png_bytes` (N,). There is no `encoder.keras`.
    """
    if model.input_shape != (None, None, None, 3) or model.output_shape[-1] != 3:
        raise UserError(
            "An exported image model turns (None, None, None, 3) into images of 3 channels. "
            f"Received: {model.input_shape} to {model.output_shape}"
        )
    model = precision.in_policy(model, "float32")
    facts = {"kind": "image_model", "parameters": model.count_params()}
    return publishing.publish(path, lambda folder: _write_image_model(model, folder), card, facts)


def check(encoder: keras.Model, image_size: int) -> None:
    """Raises a `UserError` where `save` would not take these."""
    if not isinstance(image_size, int) or image_size < 1:
        raise UserError(f"image_size must be a number of pixels. Received: {image_size!r}")
    shape = getattr(encoder, "input_shape", None)
    if shape != (None, None, None, 3):
        raise UserError(
            "An exported encoder takes images of any size, input_shape (None, None, None, 3). "
            f"Received: {shape}"
        )
    if len(encoder.output_shape) != 4:
        raise UserError(
            f"An encoder ends in a feature map (B, h, w, C). Received: {encoder.output_shape}"
        )
    if not encoders.stages(encoder):
        raise UserError(
            "An encoder has layers named stage1, stage2, ... Received: "
            + ", ".join(layer.name for layer in encoder.layers)
        )


def _write_version(
    encoder: keras.Model, folder: pathlib.Path, image_size: int, classify: Callable[..., Any] | None
) -> None:
    (folder / publishing.ENCODER).parent.mkdir(parents=True)
    encoder.save(folder / publishing.ENCODER)
    # What is exported is what the file holds: the file is proven to load, and an encoder born
    # under a distribution strategy turns into one with plain variables.
    loaded = keras.saving.load_model(folder / publishing.ENCODER, compile=False, safe_mode=True)
    stages = {name: loaded.get_layer(name).output for name in encoders.stages(loaded)}
    network = folding.frozen(keras.Model(loaded.input, {**stages, "output": loaded.output}))

    def embed(images: tf.Tensor) -> dict[str, tf.Tensor]:  # (N, H, W, 3) -> (N, C)
        return {"embedding": tf.reduce_mean(network(images)["output"], axis=(1, 2))}

    def embed_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:  # (N,) -> (N, C)
        return embed(request_images.squares(image_bytes, image_size))

    def features(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = network(images)
        return {name: outputs[name] for name in stages}

    images = tf.TensorSpec((None, None, None, 3), tf.float32, name="images")
    files = tf.TensorSpec((None,), tf.string, name="image_bytes")
    archive = keras.export.ExportArchive()
    archive.add_endpoint("embed", embed, input_signature=[images])  # first: `serving_default` too
    archive.add_endpoint("embed_bytes", embed_bytes, input_signature=[files])
    archive.add_endpoint("features", features, input_signature=[images])
    if classify:
        # Of any size: the head knows one.
        def classify_images(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return classify(features(request_images.square(images, image_size)))

        def classify_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            return classify(features(request_images.squares(image_bytes, image_size)))

        archive.add_endpoint("classify", classify_images, input_signature=[images])
        archive.add_endpoint("classify_bytes", classify_bytes, input_signature=[files])
    archive.write_out(str(folder), verbose=False)


def _write_image_model(model: keras.Model, folder: pathlib.Path) -> None:
    network = folding.frozen(model)

    def generate(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"images": tf.clip_by_value(network(images), 0.0, 1.0)}

    def generate_one(contents: tf.Tensor) -> tf.Tensor:
        image = tf.image.convert_image_dtype(
            request_images.decode(contents, GENERATED_PIXELS), tf.float32
        )
        painted = generate(image[None])["images"][0]
        return tf.io.encode_png(tf.image.convert_image_dtype(painted, tf.uint8, saturate=True))

    def generate_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        files = request_images.checked(image_bytes)
        options = {"fn_output_signature": tf.string, "parallel_iterations": 1}
        pngs = tf.map_fn(generate_one, files, **options)
        return {"png_bytes": pngs}

    images = tf.TensorSpec((None, None, None, 3), tf.float32, name="images")
    files = tf.TensorSpec((None,), tf.string, name="image_bytes")
    archive = keras.export.ExportArchive()
    archive.add_endpoint("generate", generate, input_signature=[images])
    archive.add_endpoint("generate_bytes", generate_bytes, input_signature=[files])
    archive.write_out(str(folder), verbose=False)


def _encoder_facts(encoder: keras.Model, image_size: int) -> dict[str, Any]:
    """What the card says of an encoder."""
    return {
        "input_shape": encoder.input_shape,
        "output_shape": encoder.output_shape,
        "stages": {
            name: encoder.get_layer(name).output.shape[-1] for name in encoders.stages(encoder)
        },
        "parameters": encoder.count_params(),
        "image_size": image_size,
    }
