"""Two logical CPU devices for replica tests, tiny encoders, and the `--pretext` option."""

import functools
import gc
import importlib.util
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from sslzoo import pictures
from sslzoo.images import lab

SHARED_DATA = pathlib.Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser):
    parser.addoption(
        "--pretext",
        metavar="FILE.py:FUNCTION",
        help="check your own pretext: FUNCTION(encoder) returns it, compiled",
    )


def pytest_configure(config):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def pytest_collection_finish(session):
    """What is there now stays: without it the garbage collector has less to look through."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@functools.cache  # two strategies over the same devices would mix up their collectives
def mirrored(replicas):
    """`MirroredStrategy` over this many logical CPU devices."""
    return tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(replicas)])


@pytest.fixture(autouse=True)
def _seeded(monkeypatch):
    keras.utils.set_random_seed(0)
    # It cannot be undone, and XLA has no deterministic max pooling. Runs in subprocesses have it.
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)


@pytest.fixture
def tool():
    """Function that loads `tools/NAME.py`, whose flags are forgotten after the test."""
    known = {*flags.FLAGS}

    def load(name):
        path = pathlib.Path(__file__).parents[1] / "tools" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for flag in {*flags.FLAGS} - known:
        delattr(flags.FLAGS, flag)


@pytest.fixture
def panels(monkeypatch):
    """Function of a pretext, x, y and an answer: what `picture` shows, by name, and its verdict."""
    laid = pictures.row

    def draw(pretext, *arguments):
        seen = []
        monkeypatch.setattr(pictures, "row", lambda *a, **how: seen.append(a) or laid(*a, **how))
        assert pretext.picture(*arguments).dtype == np.uint8
        return {name: np.asarray(panel) for name, panel in seen[0][0].items()}, *seen[0][1:]

    return draw


def tiny_encoder(batch_norm=False):
    """Two stages, 8 channels.

    Without batch norm two replicas compute what one does, and inference is training; with it a test
    sees which mode it is in, and whether the moving averages follow.
    """
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(4.0, -2.0)(images)
    for name in ("stage1", "stage2"):
        if batch_norm:
            x = keras.layers.Conv2D(8, 3, 2, "same", use_bias=False, name=f"{name}_conv")(x)
            x = keras.layers.BatchNormalization(momentum=0.9)(x)
            x = keras.layers.Activation("tanh", name=name)(x)
        else:
            x = keras.layers.Conv2D(8, 3, 2, "same", activation="tanh", name=name)(x)
    return keras.Model(images, x, name="tiny")


def photo(size, seed=0):
    """A smooth random "photograph": (size, size, 3) float32 in [0, 1]."""
    noise = np.random.default_rng(seed).random((6, 6, 3))
    return np.clip(tf.image.resize(noise, (size, size), "bicubic").numpy(), 0, 1)


def jpeg(size, seed=0):
    """`photo` as a JPEG file."""
    return tf.io.encode_jpeg(tf.image.convert_image_dtype(photo(size, seed), tf.uint8)).numpy()


def examples(size, n=8, seed=0):
    """`n` examples as a source gives them, of smooth random images (size, size, 3)."""
    return tf.data.Dataset.from_tensor_slices(
        {
            "image": np.stack([photo(size, seed * n + i) for i in range(n)]),
            "index": np.arange(n, dtype=np.int64),
            "seed": np.random.default_rng(seed).integers(0, 2**31, (n, 2)).astype(np.int32),
        }
    )


def elements(source, **kwargs):
    """What a source gives, as dicts of arrays."""
    return list(source.examples(**kwargs).as_numpy_iterator())


def same(a, b):
    """Whether two lists of `elements` are, bit by bit."""
    return len(a) == len(b) and all(
        x.keys() == y.keys() and all(np.array_equal(x[k], y[k]) for k in x)
        for x, y in zip(a, b, strict=True)
    )


def rendered_examples(size, n=8, seed=0):
    """`examples` with maps, and with a real image each: as `Paired` gives them."""

    def paired(one, other):
        up = tf.math.l2_normalize(one["image"] - 0.4, -1)
        edges = tf.cast(one["image"][..., :1] > 0.6, tf.float32)
        maps = {"depth": 1 + one["image"][..., 1:2], "normals": up, "edges": edges}
        return {**one, **maps, "real": other["image"]}

    return tf.data.Dataset.zip(examples(size, n, seed), examples(size, n, seed + 50)).map(paired)


def views_of_a_ramp(pretext, part=lambda x: x, n=30):
    """How much of the way from 0 to 1, left to right, `n` views show of it: (n,)."""
    side = pretext.crop
    ramp = np.tile(np.linspace(0, 1, side, dtype=np.float32)[None, :, None], (side, 1, 3))
    seeds = tf.data.Dataset.range(n).map(lambda i: tf.stack([tf.cast(i, tf.int32), 7]))
    example = {"image": tf.constant(ramp), "index": tf.constant(0, tf.int64)}
    made = seeds.map(lambda seed: part(pretext.transform({**example, "seed": seed})[0]))
    return np.array([np.ptp(view) for view in made.as_numpy_iterator()])


def soft_encode(ab, neighbors=5):
    """(..., 2) -> (..., 313): the shares of the nearest bins, else 0."""
    index, shares = map(np.asarray, lab.nearest_bins(np.float32(ab), neighbors))
    whole = np.zeros((*index.shape[:-1], 313), np.float32)
    np.put_along_axis(whole, index, shares, -1)
    return whole
