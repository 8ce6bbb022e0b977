"""The facts of colorization (arXiv:1603.08511)."""

import functools
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import skimage.color
import tensorflow as tf
from conftest import examples, mirrored, photo, soft_encode, tiny_encoder

from sslzoo import encoders
from sslzoo.errors import UserError
from sslzoo.images import lab
from sslzoo.pretexts.colorization import Colorization, dilated_vgg
from sslzoo.probes import random_twin

TOOL = Path(__file__).parents[1] / "tools/colour_prior.py"


def small(**kwargs):
    return Colorization(tiny_encoder(), **{"crop": 16, "width": 8, **kwargs})


def example(image, seed=(0, 0)):
    return {"image": tf.constant(image), "index": 0, "seed": tf.constant(seed, tf.int32)}


def truth(ab):
    """Images' ab (..., 2) as puzzles hold it."""
    return np.float32(ab) / 110


# === The puzzle ===


def test_the_puzzle_is_a_grey_image_and_its_colours():
    image = photo(16)
    x, y = small().transform(example(image))
    assert x.shape == (16, 16, 3)
    assert y.shape == (4, 4, 2)
    assert np.ptp(x, axis=-1).max() == 0
    candidates = [image, image[:, ::-1]]
    expected = [skimage.color.rgb2lab(c) for c in candidates]
    errors = [np.abs(e[2::4, 2::4, 1:] - y.numpy() * 110).max() for e in expected]
    assert min(errors) < 1e-3
    lightness = expected[int(np.argmin(errors))][..., 0]
    np.testing.assert_allclose(lab.lightness(x.numpy())[..., 0], lightness, atol=1e-2)


def test_half_of_the_images_are_mirrored():
    image, pretext = photo(16), small()
    grey = np.asarray(lab.grey(image))
    same = [
        np.allclose(pretext.transform(example(image, (seed, 1)))[0], grey, atol=1e-5)
        for seed in range(60)
    ]
    assert np.mean(same) == pytest.approx(0.5, abs=0.2)


# === The network ===


def test_the_network_sees_lightness_less_50():
    network = dilated_vgg()
    seen = keras.Model(network.input, network.get_layer("conv1_1").input)
    image = photo(8)
    lightness = skimage.color.rgb2lab(image)[..., :1] - 50
    np.testing.assert_allclose(seen(image[None])[0], lightness, atol=1e-2)
    assert lightness.min() < 0 < lightness.max()


@pytest.mark.parametrize("size", [(16, 16), (15, 18), (9, 21)])
def test_answers_are_a_quarter_of_the_image(size):
    answers = small()(np.zeros((1, *size, 3), np.float32))
    assert answers.shape == (1, -(-size[0] // 4), -(-size[1] // 4), 313)


# === The loss ===


def loss(pretext, y, y_pred):
    return float(pretext.compute_loss(y=tf.constant(y), y_pred=tf.constant(np.float32(y_pred))))


def test_uniform_logits_cost_ln_313():
    pretext = small()
    y = truth(np.random.default_rng(0).uniform(-60, 60, (3, 4, 4, 2)))
    assert loss(pretext, y, np.zeros((3, 4, 4, 313))) == pytest.approx(5.7462, abs=1e-4)
    assert pretext.chance_loss == pytest.approx(5.7462, abs=1e-4)


@pytest.mark.parametrize("kind", ["classification", "l2"])
def test_a_grey_image_costs_nothing_and_teaches_nothing(kind):
    pretext = small(loss=kind)
    pretext.compile("sgd")
    x = np.random.default_rng(0).random((2, 16, 16, 3)).astype(np.float32)
    y = truth(np.random.default_rng(0).uniform(-4.9, 4.9, (2, 4, 4, 2)))
    value, *_, gradients = pretext.forward_backward(x, y, None)
    assert value == 0
    assert all(np.abs(gradient).max() == 0 for gradient in gradients)
    y[1, 0, 0, 0] = -6 / 110  # one colour makes the second image count
    value, *_, gradients = pretext.forward_backward(x, y, None)
    assert value > 0
    assert any(np.abs(gradient).max() > 0 for gradient in gradients)


def test_rare_colours_count_more():
    rare, common = 5, 156
    prior = np.full(313, 0.1 / 312)
    prior[common] = 0.9
    pretext = small(prior=prior)
    y = truth(np.tile(lab.BINS[[rare, common]][:, None, None], (1, 4, 4, 1)))
    logits = np.zeros((2, 4, 4, 313))
    costs = [loss(pretext, y[i : i + 1], logits[i : i + 1]) for i in range(2)]
    weights = lab.class_weights(prior)
    np.testing.assert_allclose(costs, np.log(313) * weights[[rare, common]], rtol=1e-4)
    assert costs[0] > 50 * costs[1]
    assert pretext.chance_loss is None


def test_the_loss_is_the_weighted_cross_entropy_with_the_soft_encoding():
    rng = np.random.default_rng(0)
    prior = rng.dirichlet(np.ones(313))
    pretext = small(prior=prior, uniform=0.3, neighbors=7)
    ab, logits = rng.uniform(-90, 90, (2, 4, 4, 2)), rng.normal(size=(2, 4, 4, 313)) * 3
    target = soft_encode(ab, 7)
    losses = -(target * tf.nn.log_softmax(logits).numpy()).sum(-1)
    expected = (losses * lab.class_weights(prior, 0.3)[target.argmax(-1)]).mean()
    loss = pretext.content_loss(None, truth(ab), tf.constant(np.float32(logits)))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_right_colour_costs_least():
    pretext, target = small(), np.tile(lab.BINS[200], (1, 4, 4, 1))
    guesses = range(180, 220)
    logits = 9 * np.eye(313)[guesses]
    costs = [loss(pretext, truth(target), np.tile(each, (1, 4, 4, 1))) for each in logits]
    assert guesses[np.argmin(costs)] == 200


def test_the_baseline_is_the_squared_distance():
    y = truth(np.full((2, 4, 4, 2), 30.0))
    y_pred = y + 0.1
    assert loss(small(loss="l2"), y, y_pred) == pytest.approx(0.02, rel=1e-4)


# === What is exported: the encoder behind a grey image, the colouriser ===


def test_the_encoder_takes_colours_for_their_greys():
    pretext, images = small(), photo(16)[None]
    encoder = pretext.grey_encoder()
    maps = encoder(images)
    np.testing.assert_allclose(maps, encoder(lab.grey(images)), atol=1e-4)
    np.testing.assert_allclose(maps, pretext.encoder(lab.grey(images)), atol=1e-4)
    assert np.abs(maps - pretext.encoder(images)).max() > 1e-2
    twin = random_twin(encoder, seed=1)
    np.testing.assert_allclose(twin(images), twin(lab.grey(images)), atol=1e-4)
    assert encoders.stages(encoder) == ["stage1", "stage2"]
    embedding = pretext.embed(images)
    np.testing.assert_allclose(embedding, pretext.embed(lab.grey(images)), atol=1e-4)
    np.testing.assert_allclose(embedding, np.mean(maps, (1, 2)), atol=1e-4)


def stages(encoder, images):
    """What all stages of an encoder make of images, as probes look at them."""
    taps = [encoder.get_layer(name).output for name in encoders.stages(encoder)]
    return keras.Model(encoder.input, taps)(images)


@pytest.mark.parametrize(
    "make",
    [dilated_vgg, *(functools.partial(encoders.get, name) for name in ("resnet18", "MobileNetV2"))],
    ids=["dilated_vgg", "resnet18", "MobileNetV2"],
)
def test_any_encoder_can_be_put_behind_a_grey_image(make, tmp_path):
    pretext, images = Colorization(make(), crop=32), photo(32)[None]
    encoder = pretext.grey_encoder()
    for ours, theirs in zip(
        stages(encoder, images), stages(pretext.encoder, lab.grey(images)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max())
    maps = encoder(images)
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(loaded(images), maps, atol=1e-4)


def test_painting_the_truth_gives_the_image_back():
    image = 0.25 + photo(96) / 2
    ab = skimage.color.rgb2lab(image)[2::4, 2::4, 1:].astype(np.float32)
    pretext = small(loss="l2")
    painted = pretext.paint([lab.grey(image[None]), ab[None] / 110]).numpy()[0]
    assert np.abs(painted - image).mean() < 0.02
    logits = 0.38 * np.log(soft_encode(ab)[None] + np.float32(1e-30))
    painted = small().paint([lab.grey(image[None]), logits]).numpy()[0]
    assert np.abs(painted - image).mean() < 0.02


def test_the_colouriser_sees_lightness_alone_and_keeps_it():
    colouriser = small().colouriser()
    image = np.stack([0.25 + photo(24) / 2])
    painted = colouriser.predict_on_batch(image)
    assert painted.shape == image.shape
    np.testing.assert_allclose(painted, colouriser.predict_on_batch(lab.grey(image)), atol=1e-4)
    np.testing.assert_allclose(lab.lightness(painted), lab.lightness(image), atol=0.5)


def test_the_colouriser_has_the_trained_weights_and_becomes_a_file(tmp_path):
    with mirrored(2).scope():
        pretext = small()
        pretext.compile(keras.optimizers.Adam(0.01))
    colouriser = pretext.colouriser()
    image = photo(16)[None]
    before = colouriser.predict_on_batch(image)
    pretext.fit(pretext.puzzles(examples(16), 8), verbose=0)
    assert np.abs(colouriser(image) - before).max() > 1e-3
    colouriser.save(tmp_path / "colouriser.keras")
    loaded = keras.saving.load_model(tmp_path / "colouriser.keras")
    np.testing.assert_allclose(loaded(image), colouriser(image), atol=1e-6)


def test_it_learns_that_dark_is_blue_and_light_is_yellow():
    data = examples(16, n=16)
    colors = tf.constant([[0.1, 0.1, 0.5], [0.9, 0.9, 0.4]])

    def paint(e):
        dark = tf.reduce_mean(e["image"], -1, keepdims=True) > 0.5
        return {**e, "image": tf.where(dark, colors[1], colors[0])}

    pretext = small(width=16)
    pretext.compile(keras.optimizers.Adam(0.02))
    pretext.fit(pretext.puzzles(data.map(paint), 16).repeat(60), verbose=0)
    flat = np.stack([np.full((16, 16, 3), grey, np.float32) for grey in (0.15, 0.88)])
    painted = pretext.colouriser().predict_on_batch(flat)[:, 8, 8]
    assert painted[0, 2] > painted[0, 0] + 0.1, "dark is blue"
    assert painted[1, 0] > painted[1, 2] + 0.1, "light is yellow"


# === Errors, pictures, the tool ===


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"crop": 18}, "--crop"),
        ({"loss": "l1"}, "--loss"),
        ({"uniform": 0.0}, "--uniform"),
        ({"neighbors": 314}, "--neighbors"),
        ({"temperature": 0.0}, "--temperature"),
        ({"width": -1}, "--width"),
    ],
)
def test_impossible_settings_name_the_flag(settings, flag):
    with pytest.raises(UserError, match=f"{flag}.*Received"):
        small(**settings)


@pytest.mark.parametrize("kind", ["classification", "l2"])
def test_the_picture_shows_grey_answer_and_truth(kind, panels):
    pretext = small(loss=kind)
    red = np.tile(np.float32([0.8, 0.2, 0.2]), (16, 16, 1))
    x, y = pretext.transform(example(red))
    answer = np.zeros((4, 4, 2), np.float32) if kind == "l2" else 30 * soft_encode(0 * y)
    (shown,) = panels(pretext, x.numpy(), y.numpy(), np.asarray(answer))
    assert list(shown) == ["puzzle", "answer", "truth"]
    for name, expected in (("puzzle", x[8, 8]), ("answer", x[8, 8]), ("truth", red[8, 8])):
        np.testing.assert_allclose(shown[name][8, 8], expected, atol=0.02)


def run_tool(*flags):
    return subprocess.run([sys.executable, TOOL, *flags], capture_output=True, text=True)


def test_the_tool_writes_a_prior_of_ones_own_images(tmp_path):
    green = np.tile(np.uint8([40, 180, 60]), (20, 16, 16, 1))
    np.savez(tmp_path / "green.npz", x_train=green, x_test=green)
    output = tmp_path / "prior.npy"
    done = run_tool(f"--dataset={tmp_path}/green.npz", f"--output={output}")
    assert done.returncode == 0, done.stderr
    assert "20 images" in done.stdout
    ab = skimage.color.rgb2lab(green[0] / 255)[0, 0, 1:]
    nearest = np.linalg.norm(lab.BINS - ab, axis=-1).argmin()
    assert lab.load_prior(output).argmax() == nearest


def test_the_tool_names_the_flag_it_cannot_use(tmp_path):
    done = run_tool("--dataset=photos", f"--output={tmp_path}/prior.txt")
    assert done.returncode == 2
    assert "--output: expected a .npy file" in done.stderr
    assert "Traceback" not in done.stderr
