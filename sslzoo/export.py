"""An encoder becomes files that a server can poll: SavedModel, `encoder.keras`, card.

    path/card.json              what made it; names one version and the SHA-256 of its files
    path/encoder.keras          symbolic link to the newest version's own
    path/3/                     a SavedModel, TensorFlow Serving's layout
    path/3/assets.extra/encoder.keras

A version is built in `path/.tmp-*`, which no server looks at, and published in three steps, each
atomic: rename the version folder, replace the link, replace the card. The card comes last and a
version is never changed afterwards, so whoever reads the card first (`sslzoo.zoo`) sees the old
version whole or the new version whole, wherever a crash falls. A crash between the steps leaves
a complete version that servers may already serve and that the next card replaces.
"""

import datetime
import hashlib
import json
import os
import pathlib
import shutil
import tempfile

import keras
import tensorflow as tf

import sslzoo
from sslzoo import encoders
from sslzoo.errors import UserError

ENCODER = "assets.extra/encoder.keras"  # Serving and tf.saved_model ignore what lies there


def save(encoder, path, *, card=None, image_size=96):
    """Publish `encoder` as the next version under `path`; return that version's folder.

    `image_size` (pixels) is the square that `embed_bytes` brings every decoded image to. `card`
    is a dict for `card.json`; where it uses a key of `_facts`, the measured fact wins.
    """
    _check(encoder, image_size)
    card = json.loads(json.dumps(card or {}, default=_plain))  # a bad card fails before the work
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    staging = pathlib.Path(tempfile.mkdtemp(prefix=".tmp-", dir=path))
    try:
        # mkdtemp is private to this user; the folder inside has the permissions a server needs.
        built = staging / "version"
        _write_version(encoder, built, image_size)
        version = 1 + max(versions(path), default=0)
        facts = _facts(encoder, built, version, image_size)
        (staging / "card.json").write_text(json.dumps({**card, **facts}, indent=2) + "\n")
        (staging / "encoder.keras").symlink_to(f"{version}/{ENCODER}")
        os.rename(built, path / str(version))
        os.replace(staging / "encoder.keras", path / "encoder.keras")
        os.replace(staging / "card.json", path / "card.json")
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return str(path / str(version))


def versions(path):
    """Version numbers published under `path`, ascending."""
    return sorted(int(p.name) for p in pathlib.Path(path).iterdir() if p.name.isdecimal())


def sha256(folder):
    """SHA-256 of every file under `folder`: {path relative to it: hex digest}."""
    folder = pathlib.Path(folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {file.relative_to(folder).as_posix(): digest(file) for file in files}


def digest(file):
    """SHA-256 of one file, as hex."""
    return hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()


def _check(encoder, image_size):
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


def _write_version(encoder, folder, image_size):
    (folder / ENCODER).parent.mkdir(parents=True)
    encoder.save(folder / ENCODER)
    # What is exported is what the file holds: the file is proven to load, and an encoder born
    # under a distribution strategy turns into one with plain variables.
    loaded = keras.saving.load_model(folder / ENCODER, compile=False, safe_mode=True)
    taps = keras.Model(
        loaded.input, {name: loaded.get_layer(name).output for name in encoders.stages(loaded)}
    )

    def embed(images):  # (N, H, W, 3) -> (N, C)
        return {"embedding": tf.reduce_mean(loaded(images, training=False), axis=(1, 2))}

    def embed_bytes(image_bytes):  # (N,) -> (N, C)
        return embed(_decode(image_bytes, image_size))

    def features(images):
        return taps(images, training=False)

    images = tf.TensorSpec((None, None, None, 3), tf.float32, name="images")
    files = tf.TensorSpec((None,), tf.string, name="image_bytes")
    archive = keras.export.ExportArchive()
    archive.add_endpoint("embed", embed, input_signature=[images])  # first: `serving_default` too
    archive.add_endpoint("embed_bytes", embed_bytes, input_signature=[files])
    archive.add_endpoint("features", features, input_signature=[images])
    archive.write_out(str(folder), verbose=False)


def _decode(image_bytes, size):
    """JPEG or PNG files (N,) string -> (N, size, size, 3) float32 in [0, 1], in the graph."""
    jpeg = tf.strings.substr(image_bytes, 0, 3) == b"\xff\xd8\xff"
    png = tf.strings.substr(image_bytes, 0, 8) == b"\x89PNG\r\n\x1a\n"
    bad = tf.where(~(jpeg | png))[:, 0]
    message = "image_bytes must be JPEG or PNG files. Received something else at index:"
    check = tf.debugging.Assert(tf.size(bad) == 0, [message, bad])
    with tf.control_dependencies([check]):
        image_bytes = tf.identity(image_bytes)
    signature = tf.TensorSpec((size, size, 3), tf.float32)
    return tf.map_fn(lambda b: _decode_one(b, size), image_bytes, fn_output_signature=signature)


def _decode_one(contents, size):
    """One file () string -> (size, size, 3): the largest centred square, resized."""
    # The JPEG op reads PNG too, and decodes alike on every machine when told the DCT.
    image = tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE")
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    side = tf.minimum(height, width)
    # Cropped before resizing: the other order would blow up a 1 x 50,000 image.
    top, left = (height - side) // 2, (width - side) // 2
    square = tf.image.convert_image_dtype(image[top : top + side, left : left + side], tf.float32)
    resized = tf.image.resize(square, (size, size), antialias=True)
    return tf.clip_by_value(resized, 0.0, 1.0)


def _facts(encoder, built, version, image_size):
    """What the card says of the files themselves."""
    return {
        "version": version,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "sslzoo_version": sslzoo.__version__,
        "keras_version": keras.__version__,
        "tensorflow_version": tf.__version__,
        "input_shape": encoder.input_shape,
        "output_shape": encoder.output_shape,
        "stages": {
            name: encoder.get_layer(name).output.shape[-1] for name in encoders.stages(encoder)
        },
        "parameters": encoder.count_params(),
        "image_size": image_size,
        "files": {f"{version}/{name}": digest for name, digest in sha256(built).items()},
    }


def _plain(value):
    """NumPy numbers and arrays, paths: what JSON does not know and a card may hold."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
