"""What `zoo.load` hands out answers arrays, tensors and lists, and survives every wrong call."""

import threading

import numpy as np
import pytest
import tensorflow as tf
from conftest import jpeg, photo, tiny_encoder

from sslzoo import export
from sslzoo.errors import UserError

SECONDS = 60  # a call takes milliseconds; one that waits for a lost lock never ends
IMAGES = np.stack([photo(16, seed) for seed in range(2)])  # (2, 16, 16, 3) float32


def classify(features):
    scores = tf.nn.softmax(tf.reduce_mean(features["stage2"], (1, 2)))
    return {"scores": scores, "classes": tf.strings.as_string(scores, 3)}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("zoo")
    return export.Export(export.save(tiny_encoder(), path, image_size=16, classify=classify))


def in_time(function, *args):
    """What `function` gives in a thread of its own, or a failure when it is stuck."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(function(*args)), daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert answers, "the call did not return"
    return answers[0]


def test_it_has_the_functions_that_the_export_has(model):
    names = ("embed", "embed_bytes", "features", "classify", "classify_bytes")
    assert all(callable(getattr(model, name)) for name in names)
    assert not hasattr(model, "generate")
    assert not hasattr(model, "serving_default")
    assert repr(model.embed) == "embed(images) -> embedding"


@pytest.mark.parametrize(
    "kind", [tf.constant, np.asarray, np.ndarray.tolist, list, np.float64, tf.Variable]
)
def test_images_are_tensors_arrays_or_lists(model, kind):
    expected = model.signatures["embed"](images=tf.constant(IMAGES))["embedding"]
    got = model.embed(kind(IMAGES))["embedding"]
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("kind", [tf.constant, np.array, tuple, lambda x: np.array(x, object)])
def test_files_are_tensors_arrays_or_lists(model, kind):
    files = [jpeg(16, 0), jpeg(20, 1)]
    expected = model.signatures["embed_bytes"](image_bytes=tf.constant(files))["embedding"]
    np.testing.assert_array_equal(model.embed_bytes(kind(files))["embedding"], expected)


def test_none_is_no_mistake(model):
    assert model.embed(IMAGES[:0])["embedding"].shape == (0, 8)
    assert model.embed_bytes([])["embedding"].shape == (0, 8)
    assert model.classify_bytes([])["scores"].shape == (0, 8)


WRONG_IMAGES = {
    "uint8": ((IMAGES * 255).astype(np.uint8), "divide by 255. Received: uint8"),
    "bool": (IMAGES > 0.5, "Received: bool"),
    "one image": (IMAGES[0], r"images\[None\]. Received: shape \(16, 16, 3\)"),
    "grey": (IMAGES[..., :1], "Received: shape"),
    "channels first": (IMAGES.transpose(0, 3, 1, 2), "Received: shape"),
    "no pixels": (IMAGES[:, :0], "Received: shape"),
    "0 to 255": (IMAGES * 255, "divide by 255. Received: .* to 2"),
    "-1 to 1": (IMAGES * 2 - 1, "Received: -"),
    "nan": (np.where(IMAGES > 0.5, np.nan, IMAGES), "Received: nan"),
    "infinite": (np.where(IMAGES > 0.5, np.inf, IMAGES), "to inf"),
    "two sizes": ([IMAGES[0], IMAGES[0, :9]], "Received: "),
    "words": ("photo.jpg", "Received: "),
    "nothing": (None, "Received: "),
    "ragged": (tf.ragged.constant([[1.0], [1.0, 2.0]]), "Received: "),
}
WRONG_FILES = {
    "one file": (jpeg(9), r"Received: string of shape \(\)"),
    "a table": ([[jpeg(9)]], r"Received: string of shape \(1, 1\)"),
    "pixels": (IMAGES, "Received: "),
    "numbers": ([1, 2], "Received: "),
    "nothing": (None, "Received: "),
}


@pytest.mark.parametrize("what", WRONG_IMAGES)
def test_wrong_images_are_refused_and_stop_nobody(model, what):
    images, message = WRONG_IMAGES[what]
    for name in ("embed", "features", "classify"):
        with pytest.raises(UserError, match=f"{name}: expected images .*{message}"):
            getattr(model, name)(images)
        assert in_time(getattr(model, name), IMAGES)


@pytest.mark.parametrize("what", WRONG_FILES)
def test_wrong_files_are_refused_and_stop_nobody(model, what):
    files, message = WRONG_FILES[what]
    for name in ("embed_bytes", "classify_bytes"):
        with pytest.raises(UserError, match=f"{name}: expected a list of .*{message}"):
            getattr(model, name)(files)
        assert in_time(getattr(model, name), [jpeg(9)])


def test_a_bad_file_stops_nobody(model):
    with pytest.raises(tf.errors.InvalidArgumentError, match="JPEG or PNG"):
        model.embed_bytes([b"words"])
    assert in_time(model.embed_bytes, [jpeg(9)])


def test_many_threads_some_of_them_wrong(model):
    expected = model.embed(IMAGES)["embedding"].numpy()

    def ask(number):
        images = (IMAGES, np.uint8(IMAGES), IMAGES[0])[number % 3]
        try:
            return model.embed(images)["embedding"].numpy()
        except UserError:
            return None

    def all_of_them():
        answers = {}
        threads = [
            threading.Thread(target=lambda n=n: answers.update({n: ask(n)}), daemon=True)
            for n in range(24)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    for number, answer in in_time(all_of_them).items():
        if number % 3:
            assert answer is None
        else:
            np.testing.assert_allclose(answer, expected, atol=1e-6)


def test_it_can_be_part_of_a_pipeline(model):
    (batch,) = tf.data.Dataset.from_tensors(IMAGES).map(model.embed)
    np.testing.assert_allclose(batch["embedding"], model.embed(IMAGES)["embedding"], atol=1e-6)


def test_a_function_keeps_its_weights_alive(tmp_path):
    export.save(tiny_encoder(), tmp_path)
    embed = export.Export(tmp_path / "1").embed
    assert embed(IMAGES)["embedding"].shape == (2, 8)
