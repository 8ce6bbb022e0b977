"""The linear probe reads what a stage holds, no more: not the test set, not the wrong weights."""

import importlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from sslzoo import probes
from sslzoo.errors import UserError

module = importlib.import_module("sslzoo.probes.linear_probe")
softmax = importlib.import_module("sslzoo.probes.softmax")
reading = importlib.import_module("sslzoo.probes.features")


def tiny_encoder(seed=None):
    """stage1 sees colours, stage2 has lost them: it keeps the first of four channels."""
    initializer = keras.initializers.GlorotUniform(seed)
    x = inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 1, kernel_initializer=initializer)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU(name="stage1")(x)
    x = keras.layers.Conv2D(5, 3, padding="same", strides=2)(x)
    x = keras.layers.BatchNormalization(name="stage2")(x)
    return keras.Model(inputs, x)


def coloured(n, seed, classes=3, noise=0.05):
    """Images whose label is their colour."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    images = np.eye(3)[labels][:, None, None] * 0.5 + rng.normal(0.3, noise, (n, 8, 8, 3))
    return np.float32(np.clip(images, 0, 1)), labels


@pytest.fixture(scope="module")
def encoder():
    """Exposes red, green and blue in stage1; its twin's stages are random."""
    model = tiny_encoder(seed=1)
    kernel, bias = model.layers[1].get_weights()
    kernel[:] = np.eye(3, 4)
    model.layers[1].set_weights([kernel, bias])
    last = model.layers[-2]
    last.set_weights([np.zeros_like(w) for w in last.get_weights()])
    return model


@pytest.fixture(scope="module")
def scores(encoder):
    before = [w.copy() for w in encoder.get_weights()]
    result = probes.linear(encoder, coloured(120, 0), coloured(80, 1))
    for ours, then in zip(encoder.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, then)  # not a bit of the encoder changes
    return result


def test_separates_what_a_stage_exposes_and_not_what_it_lost(scores):
    first, second = scores.rows
    assert first["stage"] == "stage1"
    assert first["accuracy"] > 0.97
    assert second["stage"] == "stage2"
    assert second["accuracy"] < 0.55
    assert scores.best is first
    assert first["dims"] == 8 * 8 * 4
    assert second["dims"] == 4 * 4 * 5
    assert second["random_accuracy"] > 0.8  # the twin's stage2 is not zeros


def test_neighbours_vote_on_what_a_stage_exposes(encoder, scores):
    images, labels = coloured(120, 0)
    other, truth = coloured(80, 1)
    colours = [x.mean((1, 2)) for x in (images, other)]  # stage1 holds them, and a ReLU of nothing
    expected = probes.knn(colours[0], labels, colours[1], truth)
    first, second = scores.rows
    assert first["knn"] == pytest.approx(expected, abs=0.03)
    assert first["knn"] > 0.97
    assert second["knn"] < 0.55
    assert 0 <= first["random_knn"] <= 1


def test_prints_a_table_and_goes_into_a_card(scores):
    text = str(scores)
    assert "random init" in text
    assert "120 train and 80 test labels" in text
    assert f"chance {scores.majority:.2%}, seed 0" in text
    marked = [line for line in text.splitlines() if line.endswith("<- best")]
    assert len(marked) == 1
    assert marked[0].startswith("stage1")
    assert len({line.index("%") for line in text.splitlines()[1:3]}) == 1
    assert len({line.rindex("%") for line in text.splitlines()[:3][1:]}) == 1
    assert "±" not in text
    assert json.loads(json.dumps(scores.rows)) == scores.rows


def test_shuffled_test_labels_give_chance_and_the_same_c(encoder, scores):
    images, labels = coloured(400, 2)
    labels = np.random.default_rng(0).permutation(labels)
    shuffled = probes.linear(encoder, coloured(120, 0), (images, labels), random_init=False)
    assert abs(shuffled.rows[0]["accuracy"] - 1 / 3) < 0.08
    assert [r["C"] for r in shuffled.rows] == [r["C"] for r in scores.rows]
    assert "random_accuracy" not in shuffled.rows[0]
    assert "-" in str(shuffled)


def test_c_is_the_best_on_the_held_out_labels_whatever_the_test_labels():
    """A small signal under a large nuisance wants little regularisation, pure noise wants much."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    noise = np.float32(rng.normal(size=(400, 20)))
    signal = np.float32(noise * 0.1 + 3 * noise[:, :1] + 0.1 * np.eye(2, 20)[y])
    fits = [module._fit("stage1", x, y, x, y, 0) for x in (noise, signal)]
    assert fits[1]["C"] > fits[0]["C"]
    assert {fit["C"] * 20 for fit in fits} <= set(softmax.PATH)
    # A choice by these labels would be for the worst plane there is.
    turned = module._fit("stage1", signal, y, signal, 1 - y, 0)
    assert turned["C"] == fits[1]["C"]
    assert turned["accuracy"] == pytest.approx(1 - fits[1]["accuracy"])


def test_the_span_of_few_rows_holds_the_same_optimum():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 100)
    x = rng.normal(size=(100, 400)) + 0.3 * np.eye(3, 400)[y]
    x, x_test = x[:60] - x[:60].mean(0), x[60:] - x[:60].mean(0)
    model = LogisticRegression(C=1 / 400, tol=1e-8, max_iter=5000)
    expected = model.fit(x, y[:60]).predict_proba(x_test)
    span, span_test = softmax.span(x, x_test)
    assert span.shape == (60, 60)
    found = model.fit(span, y[:60]).predict_proba(span_test)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_the_span_of_rows_that_are_nearly_alike():
    """As of a collapsed encoder: one direction is all, and float32 rounds it to no Cholesky."""
    rng = np.random.default_rng(0)
    x = np.float32(60 * rng.normal(size=(200, 1)) * rng.normal(size=(1, 300)))
    x += np.float32(rng.normal(size=(200, 3)) @ rng.normal(size=(3, 300)))
    span, span_test = softmax.span(x, x[:9])
    assert span.dtype == span_test.dtype == np.float32
    expected = x @ x.T
    np.testing.assert_allclose(span @ span.T, expected, atol=1e-5 * expected.max())
    np.testing.assert_allclose(span_test, span[:9], atol=0.01 * span.max())


def test_along_the_path_every_fit_comes_near_its_optimum():
    """A first step that gains little is no end: C would be chosen among planes half made."""
    rng, (n, k) = np.random.default_rng(0), (500, 10)
    spread, y = np.arange(1, n + 1) ** -1.5, np.arange(n) % k
    x = rng.normal(size=(n, n)) * spread + rng.normal(size=(k, n))[y] * spread / 3
    x = x @ np.linalg.qr(rng.normal(size=(n, n)))[0]
    x = np.float32((x - x.mean(0)) / x.std(0))
    plane = None
    for strength in (c / n for c in softmax.PATH):
        plane = softmax.fit(x, y, strength, plane, softmax.COARSE)
        loss = softmax._Loss(x, y, k, strength)
        best = softmax.fit(x, y, strength, tolerance=1e-7)
        reached, optimum = (loss(loss.flat(one))[0] for one in (plane, best))
        assert reached - optimum < 0.05


@pytest.mark.parametrize("classes", [2, 5])
def test_the_plane_is_scikit_learns(classes):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(np.arange(classes), 20 + 30 * np.arange(classes)))
    x = np.float32(rng.normal(size=(len(y), 30)) + np.eye(classes, 30)[y] + 0.5)
    x *= np.float32(np.geomspace(0.5, 2, 30))
    plane = softmax.fit(x, y + 7, 0.1, None, 1e-9)
    # Of two classes scikit-learn has one plane, half of whose square would be ours.
    theirs = LogisticRegression(C=0.1 * (2 if classes == 2 else 1), tol=1e-8, max_iter=5000)
    expected = theirs.fit(x, y).predict_log_proba(x)
    found = x @ plane.kernel + plane.bias
    found -= np.log(np.exp(found).sum(1, keepdims=True))
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.mean(plane.predict(x) == 7 + expected.argmax(1)) > 0.99


def test_a_fit_ends_near_the_minimum_and_goes_on_from_where_it_is():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 4
    x = np.float32(rng.normal(size=(200, 20)) + 2 * np.eye(4, 20)[y])

    def loss(plane):
        made = softmax._Loss(x, y, 4, 0.01)
        return made(made.flat(plane))[0]

    least, found = loss(softmax.fit(x, y, 0.01, None, 1e-9)), softmax.fit(x, y, 0.01)
    assert least <= loss(found) <= least + 0.003
    assert loss(softmax.fit(x, y, 0.01, None, 0.5)) > loss(found), "the tolerance counts"
    assert loss(softmax.fit(x, y, 0.01, found, 1.0)) <= loss(found)


def test_c_is_looked_for_on_the_first_draw_alone(encoder, monkeypatch):
    """It is the slow part of a fit; no label of another draw is held out for it."""
    found, fitted = [], []
    best, fit = softmax.best, softmax.fit

    def looked(*args):
        found.append(best(*args))
        fitted.clear()
        return found[-1]

    def watched(x, y, strength, *rest):
        fitted.append(strength)
        return fit(x, y, strength, *rest)

    monkeypatch.setattr(softmax, "best", looked)
    monkeypatch.setattr(softmax, "fit", watched)
    draws = [coloured(30, seed, noise=3) for seed in (5, 6, 7)]
    scores = probes.linear(encoder, draws, coloured(80, 9, noise=3), random_init=False)
    assert [row["C"] for row in scores.rows] == [c for _, c, _ in found]
    assert len(found) == 2, "once for a stage"
    assert fitted == [scores.rows[0]["C"], scores.rows[1]["C"]] * 2


def test_several_draws_of_labels_give_mean_and_deviation(encoder):
    draws = [coloured(30, seed, noise=3) for seed in (5, 6)]
    test = coloured(80, 1, noise=3)
    together = probes.linear(encoder, draws, test, seed=3)
    alone = [probes.linear(encoder, draw, test, seed=3).rows for draw in draws[:1]]
    for row, one in zip(together.rows, alone[0], strict=True):
        other = 2 * row["accuracy"] - one["accuracy"]
        assert row["std"] == pytest.approx(abs(other - one["accuracy"]) / 2**0.5)
        assert one["std"] is one["random_std"] is None
    assert together.rows[0]["std"] > 0
    assert together.draws == 2
    assert "30 train in each of 2 draws (mean ± std) and 80 test labels" in str(together)
    assert f"{together.rows[0]['accuracy']:.2%} ± {100 * together.rows[0]['std']:.2f}" in str(
        together
    )


def test_random_twin_is_the_same_architecture_with_other_weights():
    encoder = tiny_encoder(seed=1)  # seeded: a plain clone would repeat its weights
    encoder.layers[2].set_weights([w + 1 for w in encoder.layers[2].get_weights()])
    twin, again = module.random_twin(encoder, 0), module.random_twin(encoder, 0)
    assert [x.name for x in twin.layers] == [x.name for x in encoder.layers]
    assert twin.count_params() == encoder.count_params()
    for a, b in zip(twin.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [m.layers[1].kernel for m in (encoder, twin, module.random_twin(encoder, 1))]
    assert not np.allclose(kernels[0], kernels[1])
    assert not np.allclose(kernels[1], kernels[2])
    np.testing.assert_array_equal(twin.layers[2].moving_mean, np.zeros(4))


def test_pools_to_the_largest_square_that_fits_by_the_mean():
    encoder = tiny_encoder()
    images = np.random.default_rng(0).random((3, 12, 12, 3), np.float32)
    data = reading.dataset((images, np.arange(3)), "train")
    features, labels = reading.Embedder(encoder, (12, 12, 3), 36, 2)(data)
    assert {k: v.shape for k, v in features.items()} == {"stage1": (3, 36), "stage2": (3, 20)}
    taps = keras.Model(encoder.input, encoder.get_layer("stage1").output)
    expected = taps(images, training=False).numpy().reshape(3, 3, 4, 3, 4, 4).mean((2, 4))
    np.testing.assert_allclose(features["stage1"], expected.reshape(3, 36), atol=1e-6)
    np.testing.assert_array_equal(labels, np.arange(3))
    whole, _ = reading.Embedder(encoder, (12, 12, 3), 9600, 2)(data)
    np.testing.assert_allclose(whole["stage1"], taps(images).numpy().reshape(3, -1), atol=1e-6)
    one, _ = reading.Embedder(encoder, (12, 12, 3), 1, 2)(data)
    np.testing.assert_allclose(one["stage1"], taps(images).numpy().mean((1, 2)), atol=1e-6)


def test_bytes_datasets_and_floats_are_the_same_images(encoder):
    images, labels = coloured(60, 3)
    images = np.uint8(images * 255)
    examples = {"image": images / np.float32(255), "label": labels}
    datasets = [tf.data.Dataset.from_tensor_slices(examples)] * 2
    ours = probes.linear(encoder, *datasets, random_init=False)
    pairs = probes.linear(encoder, (images, labels), (images, labels), random_init=False)
    assert ours.rows == pairs.rows


def test_held_out_leaves_every_class_in_the_fit():
    y = np.repeat([0, 1, 2], [1, 2, 50])
    held = softmax.held_out(y, 0)
    assert set(y[~held]) == {0, 1, 2}
    assert held[y == 2].sum() == 10
    assert held[y == 1].sum() == 1


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.zeros((4, 8, 8, 3)), np.ones(4, int), "two classes"),
        (np.zeros((2, 8, 8, 3)), np.array([0, 1]), "one of each"),
        (np.zeros((3, 8, 8)), np.arange(3), "one shape"),
        (np.full((4, 8, 8, 3), np.nan), np.array([0, 1, 0, 1]), "in stage1"),
        (np.zeros((0, 8, 8, 3)), np.zeros(0, int), "empty"),
    ],
)
def test_what_cannot_be_probed_is_refused(encoder, images, labels, words):
    data = (np.float32(images), labels)
    with pytest.raises(UserError, match=words):
        probes.linear(encoder, data, data, random_init=False)


def test_wrong_datasets_are_refused(encoder):
    images, labels = coloured(12, 0)
    good = (images, labels)
    unlabelled = tf.data.Dataset.from_tensor_slices({"image": images})
    with pytest.raises(UserError, match=r"train: .*image and label"):
        probes.linear(encoder, unlabelled, good)
    endless = tf.data.Dataset.from_tensor_slices({"image": images, "label": labels}).repeat()
    with pytest.raises(UserError, match=r"test: .*finite"):
        probes.linear(encoder, good, endless)
    few = (images[:3], np.array([0, 1, 1]))
    with pytest.raises(UserError, match="3 labels for 12 classes"):
        probes.linear(encoder, few, (images, np.arange(12)))
