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


# === Rescaling of channels ===


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("shape", [(2, 4, 5, 3), (0, 4, 5, 3), (1, 1, 1, 3)])
def test_channels_are_rescaled_as_by_the_stock_layer(shape, dtype):
    options = {"scale": [4.4, 0.3, -1.0], "offset": [-2.0, 0.7, 0.0], "dtype": dtype}
    x = noise(*shape)
    ours, stock = layers.ChannelRescaling(**options), keras.layers.Rescaling(**options)
    any_shape = tf.function(ours, input_signature=[tf.TensorSpec((None, None, None, 3))])
    for y in (ours(x), any_shape(x)):
        assert y.dtype == stock(x).dtype
        np.testing.assert_array_equal(tf.cast(y, "float32"), tf.cast(stock(x), "float32"))


@pytest.mark.parametrize(
    ("scale", "offset", "x"),
    [
        (2.0, -1.0, noise(2, 4, 5, 3)),
        ([2.0, 3.0, 4.0], 0.5, noise(2, 4, 5, 3)),
        ([2.0, 3.0, 4.0], [0.1, 0.2, 0.3], noise(4, 5, 3)),
        ([2.0, 3.0, 4.0], [0.1, 0.2, 0.3], np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)),
    ],
    ids=["scalars", "one offset", "one image", "bytes"],
)
def test_what_is_not_by_channel_is_rescaled_the_stock_way(scale, offset, x):
    """An old file's Rescaling loads as ours, whatever it is."""
    ours, stock = (kind(scale, offset) for kind in (layers.ChannelRescaling, stock_rescaling))
    assert ours(x).dtype == stock(x).dtype
    np.testing.assert_array_equal(ours(x), stock(x))


stock_rescaling = keras.layers.Rescaling


# === In a file ===

OURS = [
    (layers.GroupedConv2D, keras.layers.Conv2D, {"filters": 4, "kernel_size": 3, "groups": 2}),
    (layers.FusedBatchNormalization, keras.layers.BatchNormalization, {"momentum": 0.9}),
    (layers.ChannelRescaling, keras.layers.Rescaling, {"scale": [2.0, 3.0], "offset": [0.1, 0.2]}),
]


@pytest.mark.parametrize(("ours", "stock", "options"), OURS)
def test_our_layer_is_a_stock_one_in_a_file(ours, stock, options):
    config = keras.saving.serialize_keras_object(ours(**options, name="c"))
    expected = keras.saving.serialize_keras_object(stock(**options, name="c"))
    assert config.pop("registered_name") == stock.__name__
    assert expected.pop("registered_name") is None
    assert config == expected
    assert "sslzoo" not in json.dumps(config)


@pytest.mark.parametrize(("ours", "stock", "options"), OURS)
def test_only_our_own_layer_loads_as_ours(ours, stock, options):
    for kind in (ours, stock):
        config = keras.saving.serialize_keras_object(kind(**options))
        assert type(keras.saving.deserialize_keras_object(config)) is kind


# === Fused batch normalisation ===


def trained(layer, x, steps=2):
    """Outputs, gradients and weights after some steps on (B, H, W, C)."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        for _ in range(steps):
            y = layer(x, training=True)
        loss = tf.reduce_sum(tf.cast(y, "float32") * noise(*y.shape, seed=1))
    watched = [x, *(w.value for w in layer.trainable_variables)]
    return [y, *tape.gradient(loss, watched), *layer.non_trainable_variables]


def both_norms(x, **options):
    """The same weights in ours and in the stock layer."""
    options = {"momentum": 0.9, "epsilon": 1e-5, **options}
    pair = [kind(**options) for kind in (layers.FusedBatchNormalization, stock_norm)]
    for layer in pair:
        layer.build(x.shape)
        layer.set_weights([1 + noise(*w.shape, seed=i) ** 2 for i, w in enumerate(layer.weights)])
    return pair


stock_norm = keras.layers.BatchNormalization


@settings(max_examples=10, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, n) for n in (4, 5, 5, 9)]),
    center=st.booleans(),
    scale=st.booleans(),
    frozen=st.booleans(),
)
def test_fused_batch_norm_equals_the_stock_one(shape, center, scale, frozen):
    x = tf.constant(3 + noise(*shape))
    pair = both_norms(x, center=center, scale=scale, trainable=not frozen)
    few = np.prod(shape[:3]) < 3  # what is left is rounding, times 1 / sqrt(epsilon)
    for a, b in zip(*(trained(layer, x) for layer in pair), strict=True):
        np.testing.assert_allclose(a, b, atol=0.05 if few else 2e-3, rtol=1e-3)
    np.testing.assert_allclose(pair[0](x), pair[1](x), atol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_fused_batch_norm_keeps_statistics_in_float32(dtype):
    x = tf.constant(3 + 100 * noise(8, 4, 4, 5), dtype.removeprefix("mixed_"))
    pair = both_norms(x, dtype=dtype)
    results = [trained(layer, x, steps=1) for layer in pair]
    assert {r.dtype for r in results[0][-2:]} == {"float32"}
    assert results[0][0].dtype == x.dtype
    for a, b in zip(*results, strict=True):
        a, b = np.array(a, "float32"), np.array(b, "float32")
        np.testing.assert_allclose(a, b, rtol=0.02, atol=0.02 * np.abs(b).max())


def test_fused_batch_norm_is_fused_in_training_and_under_xla():
    x = tf.constant(noise(4, 3, 3, 2))
    ours, stock = both_norms(x)
    step = tf.function(lambda x: ours(x, training=True))
    kinds = {op.type for op in step.get_concrete_function(x).graph.get_operations()}
    assert "FusedBatchNormV3" in kinds
    compiled = tf.function(lambda x: ours(x, training=True), jit_compile=True)
    np.testing.assert_allclose(compiled(x), stock(x, training=True), atol=1e-4)
    for a, b in zip(ours.weights, stock.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "options"), [((4, 3), {}), ((4, 2, 2, 3), {"axis": 1}), ((4, 2, 3), {})]
)
def test_fused_batch_norm_leaves_the_rest_to_the_stock_one(shape, options):
    x = tf.constant(noise(*shape))
    for a, b in zip(*(trained(layer, x) for layer in both_norms(x, **options)), strict=True):
        np.testing.assert_array_equal(a, b)


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
