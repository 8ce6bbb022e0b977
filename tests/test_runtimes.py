"""The files for other runtimes, run by them, answer like the encoder."""

import json
import pathlib
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from sslzoo import data, encoders, export
from sslzoo.errors import UserError
from sslzoo.export import formats
from sslzoo.training import Run

SHAPES = [(1, 40, 40, 3), (3, 32, 57, 3)]
KINDS = {
    "small": {},
    "alexnet_cfn": {"widths": (8, 16, 16, 16, 8)},
    "resnet18": {"depths": (1, 1, 1, 1)},
}


def images(shape):
    return np.random.default_rng(0).random(shape, np.float32)


def expected(encoder, x):
    return np.mean(encoder(x, training=False), axis=(1, 2))


def litert(file):
    """images -> embedding, by the interpreter in TensorFlow's wheel; no operation of TensorFlow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has moved to the package ai-edge-litert
        interpreter = tf.lite.Interpreter(str(file))
    runner = interpreter.get_signature_runner("serving_default")
    return lambda x: runner(images=x)["embedding"]


def onnx_runtime(file):
    """images -> embedding."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install -e '.[onnx]'")
    session = onnxruntime.InferenceSession(str(file))
    return lambda x: session.run(["embedding"], {"images": x})[0]


LOADERS = {"litert": litert, "onnx": onnx_runtime}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", LOADERS)
def test_other_runtimes_answer_the_same_for_any_batch_and_size(kind, name, tmp_path):
    if kind == "onnx":
        pytest.importorskip("tf2onnx", reason="pip install -e '.[onnx]'")
    encoder = encoders.get(name, **KINDS[name])
    for weight in encoder.weights:
        if len(weight.shape) == 1:
            weight.assign(weight + np.random.default_rng(1).uniform(0, 0.5, weight.shape))
    version = pathlib.Path(export.save(encoder, tmp_path / name, formats=(kind,)))
    answer = LOADERS[kind](version / formats.FILES[kind])
    for shape in SHAPES:
        want = expected(encoder, images(shape))
        np.testing.assert_allclose(answer(images(shape)), want, atol=1e-4 * want.max())
    card = json.loads((tmp_path / name / "card.json").read_text())
    assert f"1/{formats.FILES[kind]}" in card["files"]
    others = {*formats.FILES} - {kind}
    assert not any((version / formats.FILES[other]).exists() for other in others)


def test_unknown_formats_and_missing_converters_are_named_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *args, **kwargs: pytest.fail("data was touched"))
    run = Run(workdir=str(tmp_path / "run"), formats=("onyx",))
    with pytest.raises(UserError, match=r"--formats: expected some of onnx, litert.*'onyx'"):
        run.start("test", {})
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    run.formats = ("onnx",)
    with pytest.raises(UserError, match=r"-e '.\[onnx\]'"):
        run.start("test", {})
    with pytest.raises(UserError, match=r"-e '.\[onnx\]'"):
        export.save(keras.Model(), tmp_path / "zoo", formats=("onnx",))
    assert list(tmp_path.iterdir()) == []
