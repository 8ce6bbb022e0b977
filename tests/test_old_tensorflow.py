"""Exports load and answer the same in TensorFlow 2.15.1 with tensorflow-addons 0.23.0.

That pair lives in an environment of its own, which `tools/old_tensorflow.sh` makes.
"""

import json
import os
import pathlib
import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import jpeg, photo

from sslzoo import encoders, export, zoo

ROOT = pathlib.Path(__file__).parents[1]
PYTHON = pathlib.Path(os.environ.get("SSLZOO_OLD_TENSORFLOW", ROOT / ".venv-tf215"), "bin/python")
pytestmark = [
    pytest.mark.old_tensorflow,
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no {PYTHON}: tools/old_tensorflow.sh"),
]

ASK = """
import json, sys
import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa
given = np.load("given.npz")
answers = {}
for name, folder in json.load(open("folders.json")).items():
    model = tf.saved_model.load(folder)
    for signature, function in model.signatures.items():
        (key,) = function.structured_input_signature[1]
        for output, value in function(**{key: tf.constant(given[key].tolist())}).items():
            value = value.numpy()
            value = value.astype("S") if value.dtype == object else value  # or it is pickled
            answers[f"{name}/{signature}/{output}"] = value
np.savez("answers.npz", **answers)
print(tf.__version__, tfa.__version__, "keras" in sys.modules, "sslzoo" in sys.modules)
"""
EXPORTED = {
    "small": {},
    "alexnet_cfn": {"widths": (8, 16, 16, 16, 8)},
    "alexnet_bn": {"widths": (8, 16, 16, 16, 8)},
    "nin": {},
    "resnet18": {"depths": (1, 1, 1, 1)},
    "resnet50": {"depths": (1, 1, 1, 1)},
    "mobilenetv2": {},
}


def classify(features):
    scores = tf.nn.softmax(tf.reduce_mean(features["stage2"], (1, 2)))
    return {"scores": scores, "classes": tf.strings.as_string(scores, 1)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{name: version folder}: encoders, one with a head, a generator, what is committed."""
    root, folders = tmp_path_factory.mktemp("zoo"), {}
    for name, kwargs in EXPORTED.items():
        folders[name] = export.save(encoders.get(name, **kwargs), root / name, image_size=64)
    small = encoders.get("small")
    folders["head"] = export.save(small, root / "head", image_size=64, classify=classify)
    x = keras.Input((None, None, 3))
    y = keras.layers.UpSampling2D()(keras.layers.Conv2D(3, 3, padding="same")(x))
    folders["painter"] = export.save_image_model(keras.Model(x, y), root / "painter")
    for entry in zoo.list(ROOT / "exported"):
        folders[f"committed-{entry.name}"] = f"{entry.path}/{entry.card['version']}"
    return folders


def test_old_tensorflow_gives_the_same_numbers(folders, tmp_path):
    images = np.stack([photo(64, seed) for seed in range(2)])
    given = {"images": images, "image_bytes": np.array([jpeg(70), jpeg(80)])}
    np.savez(tmp_path / "given.npz", **given)
    (tmp_path / "folders.json").write_text(json.dumps(folders))
    done = subprocess.run(
        [PYTHON, "-c", ASK], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2.15.1 0.23.0 True False"
    old, seen = np.load(tmp_path / "answers.npz"), []
    for name, folder in folders.items():
        for signature, function in tf.saved_model.load(folder).signatures.items():
            (key,) = function.structured_input_signature[1]
            for output, value in function(**{key: tf.constant(given[key].tolist())}).items():
                seen.append(f"{name}/{signature}/{output}")
                if value.dtype == tf.string:  # a last digit may be rounded the other way
                    assert old[seen[-1]].shape == value.shape
                else:
                    scale = np.max(np.abs(value), initial=1.0)
                    np.testing.assert_allclose(old[seen[-1]], value, atol=1e-4 * scale)
    assert sorted(old.files) == sorted(seen)
