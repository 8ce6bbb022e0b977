"""A folded network answers like the one it was made from, with fewer operations."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import mirrored

from sslzoo import encoders
from sslzoo.export import folding
from sslzoo.export.allowed_ops import ALLOWED
from sslzoo.parts import layers

SMALL = {"alexnet": {"widths": (4, 8, 12, 12, 8)}, "small": {"widths": (4, 6), "strides": (1, 2)}}
SMALL |= {name: {"depths": (1, 1, 1, 1)} for name in ("resnet18", "resnet50")}
SMALL |= dict.fromkeys(("alexnet_cfn", "alexnet_bn", "alexnet_small"), SMALL["alexnet"])


def used(model, seed=1):
    """Gives batch norms and biases values that are not the initial ones."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(weight + rng.uniform(0.0, 0.5, weight.shape))
    return model


def images(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def norms(model):
    return [x.name for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]


def assert_same(expected, got):
    """Within 1e-4 of the largest value."""
    for a, b in zip(tf.nest.flatten(expected), tf.nest.flatten(got), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=1e-4 * np.max(np.abs(a), initial=1.0))


def taps(encoder):
    """All stages and the output."""
    tapped = {name: encoder.get_layer(name).output for name in encoders.stages(encoder)}
    return keras.Model(encoder.input, {**tapped, "output": encoder.output})


# === Every encoder ===


@pytest.mark.parametrize("name", [*encoders.PRESETS, "mobilenet"])
def test_every_encoder_answers_the_same_and_has_no_batch_norm_left(name):
    model = taps(used(encoders.get(name, **SMALL.get(name, {}))))
    x = images(2, 71, 64, 3)
    frozen = folding.frozen(model)
    assert_same(model(x, training=False), frozen(x))
    assert norms(folding.fold(model)) == []
    graph = frozen.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    assert {node.op for node in nodes} <= ALLOWED


# === Every convolution ===


@pytest.mark.parametrize(
    ("center", "scale", "use_bias", "padding", "strides"),
    [
        (True, True, False, "same", 1),
        (False, True, True, "valid", 2),
        (True, False, True, "same", 2),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "grouped", "depthwise", "separable"])
def test_every_convolution(kind, center, scale, use_bias, padding, strides):
    options = {"use_bias": use_bias, "padding": padding, "strides": strides}
    convolution = {
        "plain": lambda: keras.layers.Conv2D(6, 3, groups=2, **options),
        "grouped": lambda: layers.GroupedConv2D(6, 3, groups=2, **options),
        "depthwise": lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2, **options),
        "separable": lambda: keras.layers.SeparableConv2D(6, 3, depth_multiplier=2, **options),
    }[kind]()
    x = keras.Input((None, None, 4))
    norm = keras.layers.BatchNormalization(epsilon=0.1, center=center, scale=scale, name="norm")
    model = used(keras.Model(x, keras.layers.ReLU()(norm(convolution(x)))))
    folded = folding.fold(model)
    assert norms(folded) == []
    assert folded.get_layer("norm")
    assert_same(model(images(2, 7, 6, 4)), folded(images(2, 7, 6, 4)))


# === What cannot be folded ===


def read_twice(x, conv, norm):
    y = conv(x)
    return norm(y) + y


def tapped(x, conv, norm):
    y = conv(x)
    return [norm(y), y]


def called_twice(x, conv, norm):
    y = conv(x)
    return norm(y) + conv(2.0 * x)


def shared_norm(x, conv, norm):
    return norm(conv(norm(x)))


def not_after_a_convolution(x, conv, norm):
    return conv(norm(x))


def padded_between(x, conv, norm):
    return norm(keras.layers.ZeroPadding2D()(conv(x)))


@pytest.mark.parametrize(
    "build",
    [read_twice, tapped, called_twice, shared_norm, not_after_a_convolution, padded_between],
)
def test_what_others_read_is_left_alone(build):
    x = keras.Input((None, None, 4))
    conv = keras.layers.Conv2D(4, 3, padding="same", name="conv")
    norm = keras.layers.BatchNormalization(name="norm")
    model = used(keras.Model(x, build(x, conv, norm)))
    folded = folding.fold(model)
    assert norms(folded) == ["norm"]
    assert_same(model(images(2, 5, 6, 4)), folded(images(2, 5, 6, 4)))


@pytest.mark.parametrize(
    ("conv", "norm"),
    [({"activation": "relu"}, {}), ({"data_format": "channels_first"}, {}), ({}, {"axis": 1})],
)
def test_other_arithmetic_is_left_alone(conv, norm):
    x = keras.Input((4, 4, 4))
    y = keras.layers.Conv2D(4, 1, **conv)(x)
    model = keras.Model(x, keras.layers.BatchNormalization(name="norm", **norm)(y))
    assert norms(folding.fold(model)) == ["norm"]


def test_nested_models_are_copied_as_they_are():
    inner = keras.Input((None, None, 4))
    nested = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 1)(inner))
    x = keras.Input((None, None, 4))
    model = used(keras.Model(x, keras.Model(inner, nested)(x)))
    assert_same(model(images(2, 5, 6, 4)), folding.fold(model)(images(2, 5, 6, 4)))


# === Frozen ===


def test_frozen_is_a_graph_of_constants_of_free_shape():
    model = used(encoders.get("small", **SMALL["small"]))
    frozen = folding.frozen(model)
    assert frozen.get_concrete_function().captured_inputs == []
    for shape in [(1, 9, 30, 3), (5, 16, 16, 3)]:
        assert_same(model(images(*shape)), frozen(images(*shape)))


def test_frozen_gives_none_for_none_though_onednn_does_not():
    """oneDNN (the default on CPUs with AVX-512): 4 filters on (0, 8, 8, 3) give (0, 8, 8, 3)."""
    model = taps(used(encoders.get("small", **SMALL["small"])))
    one, none = model(images(1, 9, 8, 3)), folding.frozen(model)(images(0, 9, 8, 3))
    assert {k: v.shape for k, v in none.items()} == {k: v[:0].shape for k, v in one.items()}


def test_a_network_of_two_replicas_is_frozen_too():
    with mirrored(2).scope():
        model = used(encoders.get("small", **SMALL["small"]))
    assert_same(model(images(2, 8, 8, 3)), folding.frozen(model)(images(2, 8, 8, 3)))


def test_training_goes_on_after_freezing_and_does_not_change_the_frozen():
    model = used(encoders.get("small", **SMALL["small"]))
    frozen, x = folding.frozen(model), images(1, 8, 8, 3)
    before = frozen(x)
    model.set_weights([w + 1.0 for w in model.get_weights()])
    np.testing.assert_array_equal(frozen(x), before)
