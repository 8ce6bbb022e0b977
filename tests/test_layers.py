import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import mirrored
from hypothesis import given, settings
from hypothesis import strategies as st

from sslzoo.parts import layers


def noise(*shape, scale=1.0, seed=0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype("float32")


def gradients(layer, x, watched):
    with tf.GradientTape() as tape:
        tape.watch(watched)
        y = layer(x)
        loss = tf.reduce_sum(y * noise(*y.shape, seed=1))
    return y, *tape.gradient(loss, watched)


# === Grouped convolution ===


@settings(max_examples=8, deadline=None)  # the stock layer compiles anew for every shape
@given(
    groups=st.integers(1, 4),
    widths=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.integers(1, 5),
    strides=st.integers(1, 3),
    padding=st.sampled_from(["same", "valid"]),
    use_bias=st.booleans(),
)
def test_grouped_convolution_equals_the_stock_one(
    groups, widths, kernel, strides, padding, use_bias
):
    options = {"groups": groups, "strides": strides, "padding": padding, "use_bias": use_bias}
    ours = layers.GroupedConv2D(widths[1] * groups, kernel, **options)
    stock = keras.layers.Conv2D(widths[1] * groups, kernel, **options)
    x = tf.constant(noise(2, 9, 8, widths[0] * groups))
    ours.build(x.shape)
    stock.build(x.shape)
    assert [w.shape for w in ours.weights] == [w.shape for w in stock.weights]
    ours.set_weights([noise(*w.shape, seed=i) for i, w in enumerate(ours.weights)])
    stock.set_weights(ours.get_weights())
    results = [
        gradients(layer, x, [x, *(w.value for w in layer.trainable_variables)])
        for layer in (ours, stock)
    ]
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)


def test_grouped_convolution_splits():
    layer = layers.GroupedConv2D(4, 3, groups=2)
    layer.build((None, None, None, 6))
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec((1, 9, 9, 6))).graph
    ops = [
        op
        for f in (graph, *graph._functions.values())
        for op in getattr(f, "graph", f).get_operations()
    ]
    kernels = [op.inputs[1].shape.as_list() for op in ops if op.type == "Conv2D"]
    assert kernels == [[3, 3, 3, 2]] * 2


def test_grouped_convolution_is_a_stock_one_in_a_file():
    config = keras.saving.serialize_keras_object(layers.GroupedConv2D(4, 3, groups=2, name="c"))
    stock = keras.saving.serialize_keras_object(keras.layers.Conv2D(4, 3, groups=2, name="c"))
    assert config.pop("registered_name") == "Conv2D"
    assert stock.pop("registered_name") is None
    assert config == stock
    assert "sslzoo" not in json.dumps(config)


def test_only_our_own_convolution_loads_as_ours():
    for kind in (layers.GroupedConv2D, keras.layers.Conv2D):
        config = keras.saving.serialize_keras_object(kind(4, 3))
        assert type(keras.saving.deserialize_keras_object(config)) is kind


# === Local response normalization ===


def caffe_lrn(x, window=5, alpha=1e-4, beta=0.75):
    """The formula, channel by channel. (B, H, W, C) -> (B, H, W, C)."""
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        around = x[..., max(0, c - window // 2) : c + window // 2 + 1]
        y[..., c] = x[..., c] / (1 + alpha / window * (around**2).sum(-1)) ** beta
    return y


@settings(max_examples=15, deadline=None)
@given(channels=st.integers(1, 40), scale=st.sampled_from([0.1, 10.0, 1000.0]))
def test_lrn_equals_caffe_and_tensorflow(channels, scale):
    x = tf.constant(noise(2, 3, 3, channels, scale=scale, seed=channels))
    ours = layers.local_response_normalization(channels, "norm")
    np.testing.assert_allclose(ours(x), caffe_lrn(x.numpy()), rtol=1e-5)

    def theirs(x):
        return tf.nn.local_response_normalization(x, 2, 1.0, 2e-5, 0.75)

    results = [gradients(f, x, [x]) for f in (ours, theirs)]
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_lrn_has_no_weights_and_takes_an_empty_batch():
    ours = layers.local_response_normalization(8, "norm")
    assert ours.weights == []
    assert ours(tf.zeros((0, 4, 4, 8))).shape == (0, 4, 4, 8)


# === Folded TimeDistributed ===


def pair(inner):
    """The folding layer and the stock one around the same layer."""
    return layers.FoldedTimeDistributed(inner), keras.layers.TimeDistributed(inner)


def convolutional():
    x = keras.Input((None, None, 3))
    return keras.Model(x, keras.layers.Conv2D(4, 3, strides=2, activation="relu")(x))


@settings(max_examples=5, deadline=None)
@given(batch=st.integers(1, 3), n=st.integers(1, 5), side=st.integers(3, 8))
def test_folded_equals_time_distributed(batch, n, side):
    x = tf.constant(noise(batch, n, side, side, 3))
    ours, stock = pair(convolutional())
    np.testing.assert_allclose(ours(x), stock(x), atol=1e-6)
    shape = tuple(x.shape)
    assert ours.compute_output_shape(shape) == stock.compute_output_shape(shape) == ours(x).shape


def test_folded_calls_its_layer_once():
    calls = []

    class Spy(keras.layers.Layer):
        def call(self, x):
            calls.append(tuple(x.shape))
            return x

        def compute_output_shape(self, shape):
            return shape

    layers.FoldedTimeDistributed(Spy())(tf.zeros((2, 9, 5)))
    assert calls == [(18, 5)]


@pytest.mark.parametrize("shape", [(9, 16, 16, 3), (9, None, None, 3), (None, 16, 16, 3)])
def test_folded_is_symbolic_in_every_axis(shape):
    inputs = keras.Input(shape)
    outputs = layers.FoldedTimeDistributed(convolutional())(inputs)
    assert outputs.shape[:2] == (None, shape[0])
    model = keras.Model(inputs, outputs)
    dynamic = tf.function(model, input_signature=[tf.TensorSpec((None, *shape))])
    # Not 0: oneDNN's convolution of an empty batch has the wrong shape, and a layer around it can
    # do nothing about that. Exports can, see `folding.frozen`.
    for batch in (1, 3):
        assert dynamic(tf.zeros((batch, 9, 16, 16, 3))).shape == (batch, 9, 7, 7, 4)


def test_folded_keeps_the_static_shape():
    folded = layers.FoldedTimeDistributed(convolutional())
    traced = tf.function(folded).get_concrete_function(tf.TensorSpec((None, 9, 16, 16, 3)))
    assert traced.structured_outputs.shape.as_list() == [None, 9, 7, 7, 4]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_folded_propagates_training(training, nested):
    inner = keras.layers.Dropout(0.5, seed=0)
    if nested:
        inner = keras.Sequential([keras.Input((100,)), inner])
    y = layers.FoldedTimeDistributed(inner)(tf.ones((2, 3, 100)), training=training)
    assert bool(tf.reduce_any(y == 0)) is training


def test_folded_takes_a_mask_the_stock_way():
    ours, stock = pair(keras.layers.LSTM(2))
    x, mask = noise(2, 3, 4, 5), np.random.default_rng(0).random((2, 3, 4)) > 0.5
    np.testing.assert_allclose(ours(x, mask=mask), stock(x, mask=mask), atol=1e-6)


def test_folded_survives_a_file(tmp_path):
    inputs = keras.Input((9, 16, 16, 3))
    model = keras.Model(inputs, layers.FoldedTimeDistributed(convolutional(), name="t")(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("t")) is layers.FoldedTimeDistributed
    x = noise(2, 9, 16, 16, 3)
    np.testing.assert_array_equal(model(x), loaded(x))


# === Dropout ===


def test_replicas_drop_units_of_their_own_and_one_replica_what_the_stock_layer_does():
    ones = tf.ones((4, 64))
    stock = keras.layers.Dropout(0.5, seed=3)(ones, training=True)
    np.testing.assert_array_equal(layers.ReplicaDropout(0.5, seed=3)(ones, training=True), stock)
    strategy = mirrored(2)
    with strategy.scope():
        layer = layers.ReplicaDropout(0.5, seed=3)
    call = tf.function(lambda: strategy.run(layer, (ones,), {"training": True}))
    first, second = (strategy.experimental_local_results(call()) for _ in range(2))
    masks = [np.asarray(mask).ravel() > 0 for mask in (*first, *second)]
    for i, mask in enumerate(masks):
        assert np.mean(mask) == pytest.approx(0.5, abs=0.15)
        assert all(np.mean(mask == other) < 0.7 for other in masks[:i])
    np.testing.assert_allclose(np.unique(first[0]), [0, 2])
    still = strategy.experimental_local_results(strategy.run(layer, (ones,)))
    np.testing.assert_array_equal(still[0], ones)
