import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from sslzoo import encoders
from sslzoo.encoders import stem
from sslzoo.errors import UserError
from sslzoo.parts import layers
from sslzoo.probes.linear_probe import random_twin

TINY = {"widths": (4, 8, 12, 12, 8)}
OWN = [
    *("small", "mini", "alexnet", "alexnet_cfn", "alexnet_bn", "alexnet_small", "nin"),
    *("resnet18", "resnet18_cifar"),
]


def images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype("float32")


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def sides(encoder, size):
    """Heights of all stages, then of the output, on an image of `size` pixels."""
    taps = [encoder.get_layer(name).output for name in encoders.stages(encoder)]
    model = keras.Model(encoder.input, [*taps, encoder.output])
    return [shape[1] for shape in model.compute_output_shape((1, size, size, 3))]


# === METHODS, number by number ===


@pytest.mark.parametrize(
    ("name", "kwargs", "count"),
    [
        ("alexnet", {"groups": 1}, 3_747_200),
        ("nin", {"blocks": 3}, 1_004_484 - (192 * 4 + 4)),
        ("nin", {"blocks": 5}, 1_817_796 - (192 * 4 + 4)),
        ("resnet18", {}, 11_176_512),
        ("resnet18_cifar", {}, 11_176_512 - 3 * 64 * (7 * 7 - 3 * 3)),  # but for the stem the same
        ("resnet50", {}, 23_508_032),
    ],
)
def test_parameter_counts(name, kwargs, count):
    """Of what is not in `test_layer_tables.py`."""
    assert trainable(encoders.get(name, **kwargs)) == count


def test_parameters_of_each_cfn_convolution():
    encoder = encoders.get("alexnet_cfn")
    counts = [encoder.get_layer(f"conv{i}").count_params() for i in range(1, 6)]
    assert counts == [34_944, 307_456, 885_120, 663_936, 442_624]


def test_layers_of_the_resnet_for_cifar():
    """Kernel, stride and filters of each convolution of the authors' ResNet-18 for 32 pixels."""
    convolutions = [
        (layer.kernel_size[0], layer.strides[0], layer.filters)
        for layer in encoders.get("resnet18_cifar").layers
        if isinstance(layer, keras.layers.Conv2D)
    ]
    expected = [(3, 1, 64)] * 5
    for filters in (128, 256, 512):
        expected += [(3, 2, filters), (3, 1, filters), (1, 2, filters)]  # with the shortcut
        expected += [(3, 1, filters)] * 2
    assert sorted(convolutions) == sorted(expected)
    layers = encoders.get("resnet18_cifar").layers
    assert not [layer for layer in layers if "Pooling" in type(layer).__name__]
    assert layers[-1].output.shape[-1] == 512


@pytest.mark.parametrize(
    ("name", "kwargs", "size", "expected"),
    [
        ("alexnet_cfn", {}, 64, [27, 13, 6, 6, 6, 3]),
        ("alexnet_cfn", {"pool": "valid"}, 64, [27, 13, 6, 6, 6, 2]),
        ("alexnet_cfn", {}, 75, [33, 16, 8, 8, 8, 4]),  # "fc6 = 4x4x256x512" of the paper
        ("alexnet_cfn", {"pool": "valid"}, 75, [33, 16, 7, 7, 7, 3]),
        ("alexnet", {}, 227, [55, 27, 13, 13, 13, 6]),
        ("alexnet", {"pool5": False}, 227, [55, 27, 13, 13, 13, 13]),
        ("alexnet_bn", {}, 224, [55, 27, 13, 13, 13, 6]),
        ("alexnet_small", {}, 224, [55, 27, 13, 13, 13, 6]),
        ("alexnet_doersch", {}, 96, [24, 12, 6, 6, 6, 3]),
        ("nin", {}, 32, [16, 8, 8, 8, 8]),
        ("resnet18", {}, 224, [112, 56, 28, 14, 7, 7]),
        ("resnet18_cifar", {}, 32, [32, 32, 16, 8, 4, 4]),
        ("resnet50", {}, 224, [112, 56, 28, 14, 7, 7]),
        ("small", {}, 32, [32, 16, 8, 4, 4, 4]),
        ("small", {}, 12, [12, 6, 3, 2, 2, 2]),
        ("MobileNetV2", {}, 224, [112, 56, 28, 14, 7, 7]),
        ("VGG16", {}, 224, [224, 112, 56, 28, 14, 7]),
    ],
)
def test_spatial_sizes(name, kwargs, size, expected):
    assert sides(encoders.get(name, **kwargs), size) == expected


def test_ceil_pooling_of_6_is_same_padding():
    encoder = encoders.get("alexnet_cfn", **TINY)
    taps = [encoder.get_layer("stage5").output, encoder.output]
    before, after = keras.Model(encoder.input, taps)(images(2, 64, 64, 3))
    np.testing.assert_array_equal(after, tf.nn.max_pool2d(before, 3, 2, "SAME"))


# === What every encoder promises ===


@pytest.mark.parametrize("name", [*OWN, "mobilenet"])
def test_takes_any_size_and_has_the_stages_it_names(name):
    encoder = encoders.get(name)
    names = encoders.stages(encoder)
    assert names == [f"stage{i}" for i in range(1, len(names) + 1)]
    assert encoder.name == name
    assert encoder.input.shape == (None, None, None, 3)
    for shape in [(1, 64, 64, 3), (2, 80, 71, 3)]:
        y = encoder(images(*shape))
        assert y.shape == encoder.compute_output_shape(shape)
        assert np.isfinite(y).all()


@pytest.mark.parametrize("name", OWN)
def test_stages_come_after_the_relu(name):
    encoder = encoders.get(name)
    taps = keras.Model(
        encoder.input, [encoder.get_layer(s).output for s in encoders.stages(encoder)]
    )
    for y in taps(images(1, 64, 64, 3)):
        assert np.min(y) == 0 or name == "nin"
        assert np.min(y) >= 0
        assert np.max(y) > 0


def test_pixels_are_normalised_inside():
    encoder = encoders.get("small")
    x = np.stack([np.full((8, 8, 3), stem.MEAN), np.add(stem.MEAN, np.ones((8, 8, 3)))])
    y = encoder.get_layer("normalize")(x)
    np.testing.assert_allclose(y[0], np.zeros((8, 8, 3)), atol=1e-6)
    np.testing.assert_allclose(y[1, 0, 0], np.divide(1, stem.STD), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"), [("mobilenet", [-1, 1]), ("vgg16", [-103.939, 255 - 103.939])]
)
def test_backbones_are_normalised_as_their_family(name, expected):
    encoder = encoders.get(name)
    first = next(layer for layer in encoder.layers if isinstance(layer, keras.layers.Conv2D))
    seen = keras.Model(encoder.input, first.input)
    ends = [float(seen(np.full((1, 8, 8, 3), v, "float32"))[0, 0, 0, 0]) for v in (0, 1)]
    np.testing.assert_allclose(ends, expected, rtol=1e-5)


@settings(max_examples=6, deadline=None)
@given(height=st.integers(32, 70), width=st.integers(32, 70))
def test_every_size_gives_what_is_announced(height, width):
    encoder = SHARED
    shape = (1, height, width, 3)
    assert encoder(images(*shape)).shape == encoder.compute_output_shape(shape)


SHARED = encoders.get("alexnet_cfn", **TINY)


# === Saving, cloning, compiling ===


@pytest.mark.parametrize("name", ["alexnet_cfn", "nin", "mobilenetv2"])
def test_can_be_made_again(name, tmp_path):
    encoder, x = encoders.get(name), images(2, 64, 64, 3)
    encoder.save(tmp_path / "encoder.keras")
    again = [
        keras.models.clone_model(encoder),
        keras.Model.from_config(encoder.get_config()),
        keras.saving.load_model(tmp_path / "encoder.keras"),
    ]
    for copy in again:
        assert copy.name == name
        assert encoders.stages(copy) == encoders.stages(encoder)
        copy.set_weights(encoder.get_weights())
        np.testing.assert_array_equal(encoder(x), copy(x))
    fast = [isinstance(layer, layers.GroupedConv2D) for layer in encoder.layers]
    assert all(fast == [isinstance(x, layers.GroupedConv2D) for x in c.layers] for c in again)


def test_a_clone_is_a_fresh_start():
    clone = keras.models.clone_model(SHARED)
    a, b = (m.get_layer("conv2").kernel for m in (SHARED, clone))
    assert np.abs(a - b).max() > 0.01


WITHOUT_SSLZOO = """
import sys
sys.modules["sslzoo"] = None
import keras, numpy
encoder = keras.saving.load_model(sys.argv[1], safe_mode=True)
assert type(encoder.get_layer("conv2")) is keras.layers.Conv2D
x, y = numpy.load(sys.argv[2]).values()
# Another process may convolve by another library (oneDNN or not), which rounds in another order.
numpy.testing.assert_allclose(encoder.predict(x, verbose=0), y, rtol=0, atol=1e-4 * abs(y).max())
stages = [encoder.get_layer(f"stage{i}").output for i in range(1, 6)]
keras.Model(encoder.input, stages)(x)
"""


def test_the_file_loads_without_sslzoo(tmp_path):
    encoder, x = encoders.get("alexnet_cfn"), images(2, 64, 64, 3)
    encoder.save(tmp_path / "encoder.keras")
    np.savez(tmp_path / "xy.npz", x=x, y=encoder(x))
    command = [sys.executable, "-c", WITHOUT_SSLZOO, "encoder.keras", "xy.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_xla_changes_nothing():
    x = tf.constant(images(2, 64, 64, 3))

    def step():
        with tf.GradientTape() as tape:
            y = SHARED(x, training=True)
            loss = tf.reduce_sum(y**2)
        return [y, *tape.gradient(loss, [w.value for w in SHARED.trainable_variables])]

    plain, compiled = (tf.function(step, jit_compile=jit)() for jit in (False, True))
    for a, b in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(a).max())


# === Errors ===


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("resnet19", {}, r"alexnet_cfn.*nin.*small.*MobileNetV2.*Received: resnet19$"),
        ("alexnet", {"widht": 1}, r"widths, stride.*Received: widht$"),
        ("MobileNetV2", {"alpha": 1}, r"takes none.*Received: alpha$"),
        ("alexnet", {"norm": "layer"}, r"lrn.*Received: 'layer'$"),
        ("alexnet", {"pool": "same"}, r"ceil.*Received: 'same'$"),
        ("alexnet", {"widths": (3, 5)}, r"five widths.*Received: \(3, 5\)$"),
        ("alexnet", {"widths": (4, 5, 6, 6, 6)}, r"divisible by groups=2.*Received: "),
        ("nin", {"blocks": 6}, r"\(3, 4, 5\).*Received: 6$"),
        ("small", {"widths": (3, 5)}, r"one stride per width.*Received: \(3, 5\)"),
    ],
)
def test_errors_say_what_was_expected(name, kwargs, message):
    with pytest.raises(UserError, match=message):
        encoders.get(name, **kwargs)


# === Sobel ===


def edges(images):
    """What `stage1` of `small_sobel` sees of (B, H, W, 3) in [0, 1]: (B, H, W, 2)."""
    encoder = encoders.get("small_sobel")
    return keras.Model(encoder.input, encoder.get_layer("sobel").output)(images).numpy()


def test_sobel_of_a_constant_is_zero_inside_and_an_edge_at_the_border():
    y = edges(np.full((1, 8, 8, 3), 0.9, np.float32))[0]
    np.testing.assert_allclose(y[1:-1, 1:-1], 0, atol=1e-5)
    assert np.abs(y[:, 0, 0]).min() > 1


@pytest.mark.parametrize("axis", [0, 1])
def test_sobel_of_a_ramp_is_minus_8_slopes_in_one_filter(axis):
    ramp = np.arange(8)[None, :, None] * np.ones((8, 1, 3))  # rises along x by 1
    ramp = ramp if axis == 0 else ramp.transpose(1, 0, 2)
    y = edges((ramp * stem.STD + stem.MEAN)[None].astype(np.float32))[0, 1:-1, 1:-1]
    np.testing.assert_allclose(y[..., axis], -8, atol=1e-4)
    np.testing.assert_allclose(y[..., 1 - axis], 0, atol=1e-4)


def test_sobel_is_24_weights_that_are_not_trained_and_stay_in_a_random_twin():
    encoder = encoders.get("alexnet_sobel")
    frozen = [w for w in encoder.weights if w.path.startswith(("grey", "sobel"))]
    assert sum(int(np.prod(w.shape)) for w in frozen) == 4 + 20
    assert sum(int(np.prod(w.shape)) for w in encoder.trainable_weights) == 3_735_584 + 2_752
    twin = random_twin(encoder, seed=1)
    for ours, theirs in zip(frozen, twin.weights, strict=False):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_a_name_with_weights_is_of_keras_applications(tmp_path, monkeypatch):
    """`resnet50` alone is ours; with weights it is the one that Keras has weights of."""
    file = tmp_path / "resnet.weights.h5"
    theirs = keras.applications.ResNet50(include_top=False, weights=None)
    theirs.save_weights(file)
    got = encoders.get(f"ResNet50:{file}")
    kernel = theirs.get_layer("conv1_conv").kernel
    np.testing.assert_array_equal(got.get_layer("conv1_conv").kernel, kernel)
    with pytest.raises(
        UserError, match=r"--encoder: expected weights of resnet50.*Received: '/no'"
    ):
        encoders.get("resnet50:/no")
    assert not encoders.known("small:imagenet")
