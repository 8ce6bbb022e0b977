"""What TensorFlow Serving would do with an export, by the C++ loader and session that it uses."""

import pathlib

import c_api
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import jpeg, photo, tiny_encoder

from sslzoo import encoders, export, zoo
from sslzoo.export import warmup

logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")

COMMITTED = zoo.list(pathlib.Path(__file__).parents[1] / "exported")
SIDE = 16


def classify(features):
    """A head without weights: softmax over the channels of the last stage."""
    scores = tf.nn.softmax(tf.reduce_mean(features["stage2"], (1, 2)))
    return {"scores": scores, "classes": tf.strings.as_string(scores, 3)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A zoo of an encoder with a head, one with batch norm and without a head, and a generator."""
    root = tmp_path_factory.mktemp("zoo")
    export.save(tiny_encoder(), root / "head", image_size=SIDE, classify=classify)
    export.save(encoders.get("small"), root / "plain", image_size=SIDE)
    x = keras.Input((None, None, 3))
    y = keras.layers.UpSampling2D()(keras.layers.Conv2D(3, 3, padding="same")(x))
    export.save_image_model(keras.Model(x, y), root / "painter")
    return root


def folder(root, name):
    return root / name / "1"


def records(folder):
    """The warm-up requests of a version."""
    for record in tf.data.TFRecordDataset(str(folder / warmup.FILE)).as_numpy_iterator():
        log = logs.PredictionLog()
        log.ParseFromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        yield log.predict_log.request


# === The loader ===


@pytest.mark.parametrize("name", ["head", "plain", "painter"])
def test_every_signature_answers_as_in_python(root, name):
    session = c_api.Session(folder(root, name))
    python = tf.saved_model.load(str(folder(root, name))).signatures
    assert "serving_default" in session.signatures
    assert session.signatures.keys() == python.keys()
    images = np.stack([photo(SIDE, seed) for seed in range(3)])
    files = np.array([jpeg(20, seed) for seed in range(3)], object)
    for signature in session.signatures:
        (key,) = session.signatures[signature].inputs
        value = {"images": images, "image_bytes": files}[key]
        expected = python[signature](**{key: tf.constant(value)})
        got = session.run(signature, **{key: value})
        assert got.keys() == expected.keys()
        for output, array in got.items():
            assert len(array) == 3
            if array.dtype == object:
                np.testing.assert_array_equal(array, expected[output])
            else:
                np.testing.assert_allclose(array, expected[output], atol=1e-5)


def test_the_batch_and_the_size_of_images_are_free(root):
    session = c_api.Session(folder(root, "plain"))
    for shape in [(0, 8, 8, 3), (1, 9, 30, 3), (5, 16, 16, 3)]:
        embedding = session.run("embed", images=np.zeros(shape))["embedding"]
        assert embedding.shape == (shape[0], 128)


def test_a_bad_file_is_an_error_of_one_request(root):
    session = c_api.Session(folder(root, "plain"))
    with pytest.raises(c_api.Failed, match=r"JPEG or PNG") as raised:
        session.run("embed_bytes", image_bytes=[jpeg(9), b"words"])
    assert raised.value.code == c_api.INVALID_ARGUMENT
    assert session.run("embed_bytes", image_bytes=[jpeg(9)])["embedding"].shape == (1, 128)


def test_the_loader_says_what_is_no_model(tmp_path):
    with pytest.raises(c_api.Failed) as raised:
        c_api.Session(tmp_path)
    assert raised.value.code == c_api.NOT_FOUND


@pytest.mark.parametrize("entry", COMMITTED, ids=lambda entry: entry.name)
def test_every_committed_export_loads_and_is_warm(entry):
    version = pathlib.Path(entry.path, str(entry.card["version"]))
    session = c_api.Session(version)
    requests = {request.model_spec.signature_name: request for request in records(version)}
    assert requests.keys() == session.signatures.keys()
    for request in requests.values():
        assert session.predict(request)


# === Warm-up ===


@pytest.mark.parametrize("name", ["head", "plain", "painter"])
def test_there_is_one_warm_up_request_for_each_signature_and_it_runs(root, name):
    session = c_api.Session(folder(root, name))
    requests = list(records(folder(root, name)))
    assert {r.model_spec.name for r in requests} == {name}
    assert sorted(r.model_spec.signature_name for r in requests) == sorted(session.signatures)
    for request in requests:
        for output in session.predict(request).values():
            assert len(output) == 1
            assert output.dtype == object or np.isfinite(output).all()


def test_warm_up_images_have_the_size_that_is_served(root):
    requests = {r.model_spec.signature_name: r for r in records(folder(root, "plain"))}
    image = tf.make_ndarray(requests["embed"].inputs["images"])
    assert image.shape == (1, SIDE, SIDE, 3)
    assert np.all(image == 0.5)
    (file,) = tf.make_ndarray(requests["embed_bytes"].inputs["image_bytes"])
    assert tf.io.decode_jpeg(file).shape == (SIDE, SIDE, 3)
    assert (folder(root, "plain") / warmup.FILE).stat().st_size < 4000


def test_without_the_extra_an_export_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(warmup.importlib.util, "find_spec", lambda name: None)
    version = pathlib.Path(export.save(tiny_encoder(), tmp_path / "cold"))
    assert not (version / warmup.FILE).exists()
    assert zoo.load("cold", tmp_path).embed(np.zeros((1, 8, 8, 3), "float32"))
