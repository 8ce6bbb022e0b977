"""An export answers like its Keras encoder, to anyone who has TensorFlow and nothing else."""

import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sslzoo import encoders, export, zoo
from sslzoo.errors import UserError

QUIET = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

WITHOUT_KERAS = """
import sys
for name in ("sslzoo", "keras", "tf_keras"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf
folder, data = sys.argv[1:]
model, given = tf.saved_model.load(folder), np.load(data)
images, files = tf.constant(given["images"]), tf.constant([given["png"].tobytes()])
got = {"embed": model.embed(images)["embedding"], **model.features(images)}
got["served"] = model.signatures["serving_default"](images=images)["embedding"]
got["bytes"] = model.signatures["embed_bytes"](image_bytes=files)["embedding"]
np.savez(data, **{k: v.numpy() for k, v in got.items()})
"""


def tiny_encoder(widths=(4, 6)):
    x = inputs = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(2.0, offset=-1.0)(x)
    for n, width in enumerate(widths, 1):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same", name=f"conv{n}")(x)
        x = keras.layers.BatchNormalization(name=f"norm{n}")(x)
        x = keras.layers.ReLU(name=f"stage{n}")(x)
    return keras.Model(inputs, x)


def pixels(height, width, seed=0):
    shape = (height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(array, kind="PNG", mode="RGB"):
    buffer = io.BytesIO()
    Image.fromarray(array).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def visible(path):
    return sorted(p.name for p in pathlib.Path(path).iterdir())


@pytest.fixture(scope="module")
def encoder():
    model = tiny_encoder()
    for weight in model.weights:  # moving statistics that are not the initial ones
        weight.assign(weight + np.random.default_rng(1).uniform(0.0, 0.1, weight.shape))
    return model


@pytest.fixture(scope="module")
def folder(encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("zoo") / "animal"
    return export.save(encoder, path, card={"recipe": "test", "seed": np.int64(3)}, image_size=16)


@pytest.fixture(scope="module")
def served(folder):
    return tf.saved_model.load(folder)


def mean_map(encoder, images):
    return np.mean(encoder(images, training=False), axis=(1, 2))


def test_answers_without_sslzoo_and_keras(encoder, folder, tmp_path):
    images = np.float32(np.stack([pixels(20, 28, s) for s in range(3)]) / 255)
    png = pixels(16, 16)
    data = tmp_path / "data.npz"
    np.savez(data, images=images, png=np.frombuffer(encode(png), np.uint8))
    subprocess.run([sys.executable, "-c", WITHOUT_KERAS, folder, data], env=QUIET, check=True)
    got = np.load(data)
    expected = mean_map(encoder, images)
    np.testing.assert_allclose(got["embed"], expected, atol=1e-5)
    np.testing.assert_allclose(got["served"], expected, atol=1e-5)
    taps = {f"stage{n}": encoder.get_layer(f"stage{n}").output for n in (1, 2)}
    for name, value in keras.Model(encoder.input, taps)(images, training=False).items():
        np.testing.assert_allclose(got[name], value, atol=1e-5)
    expected = mean_map(encoder, np.float32(png / 255)[None])
    np.testing.assert_allclose(got["bytes"], expected, atol=1e-5)


def test_saved_model_cli_shows_and_runs(encoder, folder, tmp_path):
    cli = pathlib.Path(sys.executable).with_name("saved_model_cli")
    images = np.float32(pixels(9, 8)[None] / 255)
    np.save(tmp_path / "images.npy", images)

    def run(*args):
        done = subprocess.run([cli, *args], env=QUIET, check=True, capture_output=True, text=True)
        return done.stdout

    shown = run("show", "--dir", folder, "--all")
    for word in ("serving_default", "embed_bytes", "features", "image_bytes", "stage2"):
        assert word in shown
    where = ("--dir", folder, "--tag_set", "serve", "--signature_def", "embed")
    out = ("--inputs", f"images={tmp_path}/images.npy", "--outdir", tmp_path)
    run("run", *where, *out)
    expected = mean_map(encoder, images)
    np.testing.assert_allclose(np.load(tmp_path / "embedding.npy"), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (5, 33, 17), (0, 8, 8), (2, 64, 5)])
def test_any_batch_and_any_size(encoder, served, shape):
    images = np.random.default_rng(0).random((*shape, 3), np.float32)
    expected = mean_map(encoder, images) if len(images) else np.zeros((0, 6))
    np.testing.assert_allclose(served.embed(images)["embedding"], expected, atol=1e-5)


def test_none_gives_none_by_every_signature(encoder, generator, tmp_path):
    def classify(features):
        scores = tf.reduce_mean(features["stage1"], (1, 2))
        return {"scores": scores, "classes": tf.strings.as_string(scores)}

    folders = [
        export.save(encoder, tmp_path / "encoder", image_size=8, classify=classify),
        export.save_image_model(generator, tmp_path / "painter"),
    ]
    images, files = np.zeros((1, 8, 8, 3), np.float32), [encode(pixels(8, 8))]
    seen = set()
    for folder in folders:
        for name, function in tf.saved_model.load(folder).signatures.items():
            (key,) = function.structured_input_signature[1]
            one = tf.constant({"images": images, "image_bytes": files}[key])
            none, answer = function(**{key: one[:0]}), function(**{key: one})
            seen.add(name)
            for output, value in answer.items():
                assert none[output].shape[0] == 0
                if value.dtype != tf.string:
                    assert none[output].shape == value[:0].shape
    assert seen >= {"embed", "embed_bytes", "features", "classify", "classify_bytes"}
    assert seen >= {"generate", "generate_bytes"}


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", m) for m in ("RGB", "L", "RGBA", "LA", "P", "1")]
    + [("JPEG", m) for m in ("RGB", "L", "CMYK")],
)
def test_every_mode_of_file_is_seen_as_rgb(served, kind, mode):
    file = encode(pixels(16, 16), kind, mode)
    image = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), np.float32)[None] / 255
    got = served.embed_bytes(tf.constant([file, file]))["embedding"]
    np.testing.assert_allclose(got[1:], served.embed(image)["embedding"], atol=1e-4)


def test_files_of_many_sizes_are_cropped_to_the_centred_square_and_resized(served):
    image = pixels(48, 32)
    files = tf.constant([encode(image), encode(pixels(16, 90))])
    channels = [Image.fromarray(np.float32(image[8:40, :, c] / 255)) for c in range(3)]
    small = [c.resize((16, 16), Image.Resampling.BILINEAR) for c in channels]
    got = served.embed_bytes(files)["embedding"]
    expected = served.embed(np.stack([np.asarray(c) for c in small], -1)[None])["embedding"]
    np.testing.assert_allclose(got[:1], expected, atol=1e-5)
    assert got.shape == (2, 6)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"words",
        encode(pixels(9, 9), "GIF"),
        encode(pixels(9, 9), "BMP"),
        encode(pixels(32, 32))[:200],
        encode(pixels(32, 32), "JPEG")[:-300],
    ],
    ids=["empty", "text", "gif", "bmp", "cut png", "cut jpeg"],
)
def test_a_bad_file_costs_its_own_request_only(served, bad):
    good = encode(pixels(16, 16))
    before = served.embed_bytes(tf.constant([good]))["embedding"]
    with pytest.raises(tf.errors.InvalidArgumentError):
        served.embed_bytes(tf.constant([good, bad]))
    np.testing.assert_array_equal(served.embed_bytes(tf.constant([good]))["embedding"], before)


def test_other_formats_are_told_what_is_expected(served):
    files = tf.constant([encode(pixels(8, 8)), encode(pixels(8, 8), "GIF")])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"must be JPEG or PNG.*\[1\]"):
        served.embed_bytes(files)


def test_card_tells_facts_and_keeps_the_callers_words(encoder, folder):
    path = pathlib.Path(folder).parent
    card = json.loads((path / "card.json").read_text())
    assert (card["recipe"], card["seed"], card["version"], card["image_size"]) == ("test", 3, 1, 16)
    assert card["parameters"] == encoder.count_params()
    assert card["output_shape"] == [None, None, None, 6]
    on_disk = {f"1/{name}" for name in export.sha256(folder)}
    assert on_disk == card["files"].keys()
    assert "1/saved_model.pb" in on_disk


def test_encoder_file_is_the_encoder_and_stays_trainable(encoder, folder):
    path = pathlib.Path(folder).parent / "encoder.keras"
    loaded = keras.saving.load_model(path)
    for ours, theirs in zip(encoder.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.trainable_weights


def test_versions_count_up_and_a_failure_at_any_step_publishes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "animal"
    first, second = tiny_encoder(), tiny_encoder((4, 8))
    assert export.save(first, path) == str(path / "1")
    (path / "7").mkdir()  # an older version that a server still holds
    card = (path / "card.json").read_bytes()

    def refuse(*args, **kwargs):
        raise OSError("disk full")

    for module, name in ((type(keras.export.ExportArchive()), "write_out"), (os, "rename")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, refuse)
            with pytest.raises(OSError, match="disk full"):
                export.save(second, path)
        assert visible(path) == ["1", "7", "card.json", "encoder.keras"]
        assert (path / "card.json").read_bytes() == card
    assert export.save(second, path) == str(path / "8")
    assert json.loads((path / "card.json").read_text())["version"] == 8
    assert keras.saving.load_model(path / "encoder.keras").output_shape[-1] == 8


def test_a_head_adds_classify_for_images_of_any_size_and_for_files(encoder, tmp_path):
    def classify(features):
        scores = tf.reduce_mean(features["stage1"], (1, 2))
        return {"scores": scores, "classes": tf.fill(tf.shape(scores), "cat")}

    folder = export.save(encoder, tmp_path, image_size=8, classify=classify)
    served = tf.saved_model.load(folder)
    image = pixels(8, 8)
    file = served.signatures["classify_bytes"](image_bytes=tf.constant([encode(image)]))
    square = served.signatures["classify"](images=np.float32(image[None] / 255))
    np.testing.assert_allclose(file["scores"], square["scores"], atol=1e-6)
    expected = tf.reduce_mean(served.features(np.float32(image[None] / 255))["stage1"], (1, 2))
    np.testing.assert_allclose(square["scores"], expected, atol=1e-6)
    assert square["classes"].numpy().tolist() == [[b"cat"] * 4]
    wide = np.pad(image, [(0, 0), (3, 3), (0, 0)])
    got = served.classify(np.float32(wide[None] / 255))["scores"]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert served.classify(np.zeros((2, 30, 21, 3), np.float32))["scores"].shape == (2, 4)


def test_weights_are_stored_twice_and_mini_stays_under_two_megabytes(tmp_path):
    """Once in the SavedModel and once in encoder.keras; what the zoo's folder commits is small."""
    encoder = encoders.get("mini")
    export.save(encoder, tmp_path, image_size=32)
    size = sum(p.stat().st_size for p in tmp_path.rglob("*") if not p.is_symlink() and p.is_file())
    assert 0 < size - 8 * encoder.count_params() < 300_000
    assert size < 2_000_000


@pytest.mark.parametrize("kwargs", [{"image_size": 0}, {"image_size": 9.5}])
def test_wrong_image_size_is_refused(encoder, tmp_path, kwargs):
    with pytest.raises(UserError, match="image_size"):
        export.save(encoder, tmp_path, **kwargs)


def test_wrong_encoder_is_refused(tmp_path):
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(UserError, match="any size"):
        export.save(keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs)), tmp_path)
    inputs = keras.Input((None, None, 3))
    with pytest.raises(UserError, match="stage1"):
        export.save(keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs)), tmp_path)
    assert visible(tmp_path) == []


# === Generators: images to images ===


@pytest.fixture(scope="module")
def generator():
    x = inputs = keras.Input((None, None, 3))
    x = keras.layers.UpSampling2D(2)(x)
    return keras.Model(inputs, keras.layers.Rescaling(1.5)(x))  # leaves [0, 1]


def test_a_generator_paints_images_and_files_of_any_size(generator, tmp_path):
    served = tf.saved_model.load(export.save_image_model(generator, tmp_path / "painter"))
    images = np.float32(pixels(5, 7)[None] / 255)
    painted = served.signatures["serving_default"](images=images)["images"].numpy()
    np.testing.assert_allclose(painted, np.clip(generator(images), 0, 1), atol=1e-6)
    assert painted.shape == (1, 10, 14, 3)
    assert painted.max() == 1
    files = tf.constant([encode(pixels(5, 7)), encode(pixels(9, 4))])
    pngs = served.signatures["generate_bytes"](image_bytes=files)["png_bytes"].numpy()
    decoded = [np.asarray(Image.open(io.BytesIO(png))) for png in pngs]
    assert [image.shape for image in decoded] == [(10, 14, 3), (18, 8, 3)]
    np.testing.assert_allclose(decoded[0] / 255, painted[0], atol=0.003)


def test_a_generator_has_a_card_and_no_encoder(generator, tmp_path):
    export.save_image_model(generator, tmp_path / "painter", card={"recipe": "test"})
    assert visible(tmp_path / "painter") == ["1", "card.json"]
    (entry,) = zoo.list(tmp_path)
    assert entry.card["kind"] == "image_model"
    assert entry.card["recipe"] == "test"
    assert zoo.load("painter", tmp_path).generate(np.zeros((1, 2, 2, 3), np.float32))
    with pytest.raises(UserError, match="painter"):
        zoo.encoder("painter", tmp_path)


def test_what_gives_no_images_is_no_generator(encoder, tmp_path):
    with pytest.raises(UserError, match="Received"):
        export.save_image_model(encoder, tmp_path / "painter")
    assert not (tmp_path / "painter").exists()


def test_what_a_killed_publisher_left_is_removed(encoder, tmp_path):
    zoo_folder = tmp_path / "animal"
    first = export.save(encoder, zoo_folder)
    (zoo_folder / ".tmp-killed").mkdir()
    (zoo_folder / ".tmp-killed" / "half").write_text("written")
    shutil.copytree(first, zoo_folder / "2")  # renamed, and killed before the card
    assert pathlib.Path(export.save(encoder, zoo_folder)).name == "3"
    assert export.versions(zoo_folder) == [1, 3], "what no card ever named is gone"
    assert not [*zoo_folder.glob(".tmp-*")]
    assert zoo.card("animal", tmp_path)["version"] == 3


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_images_that_are_no_numbers_are_refused_in_the_graph(served, wrong):
    images = np.full((2, 8, 8, 3), 0.5, np.float32)
    images[1, 2, 3, 0] = wrong
    for name in ("embed", "features"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="images must be finite numbers"):
            served.signatures[name](images=tf.constant(images))


def test_without_a_card_no_version_is_removed(encoder, tmp_path):
    for version in ("1", "2", "7"):  # of another tool
        (tmp_path / "animal" / version).mkdir(parents=True)
    export.save(encoder, tmp_path / "animal")
    assert export.versions(tmp_path / "animal") == [1, 2, 7, 8]
