"""The GAN reconstructor's six facts (METHODS 11.7), its arms and pictures."""

import functools
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import examples, photo, tiny_encoder

from sslzoo import training
from sslzoo.errors import UserError
from sslzoo.pretexts.reconstruction import Reconstruction, reconstructor

ARMS = ("baseline", "l1", "scale_bias")


def small(**settings):
    settings = {"crop": 16, "discriminator_width": 4, "batch_norm": False, **settings}
    return Reconstruction(tiny_encoder(), **settings)


def full(**settings):
    """At the document's size, with little in it."""
    return Reconstruction(tiny_encoder(), **{"discriminator_width": 4, **settings})


# === 1. to 3. Scale and bias ===


def test_the_middle_is_the_truth_whatever_is_drawn():
    pretext = full()
    truth, noise = (np.random.default_rng(i).normal(size=(2, 80, 80, 3)) for i in (0, 1))
    truth, drawn = np.float32(truth), tf.constant(noise, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(drawn)
        composed = pretext.compose(drawn, truth)
    slope = tape.gradient(composed, drawn).numpy()
    np.testing.assert_array_equal(pretext.middle(composed), pretext.middle(truth))
    assert np.all(pretext.middle(slope) == 0)
    around = pretext.scale.numpy()[..., 0] == 1
    np.testing.assert_array_equal(composed.numpy()[:, around], noise.astype(np.float32)[:, around])
    assert np.all(slope[:, around] == 1)


def test_alpha_is_0_on_27_by_27_pixels_from_row_26():
    scale = full().scale.numpy()[..., 0]
    assert {*scale.ravel()} == {0, 1}
    assert (scale == 0).sum() == 27**2 == 729
    np.testing.assert_array_equal(np.argwhere(scale == 0)[[0, -1]], [[26, 26], [52, 52]])


@pytest.mark.parametrize("arm", ["baseline", "l1"])
def test_the_other_arms_show_what_is_drawn(arm):
    pretext, drawn = small(arm=arm), tf.ones((1, 16, 16, 3))
    assert pretext.shown(None, tf.zeros((1, 16, 16, 3)), drawn)[1] is drawn


def test_the_discriminator_sees_scale_and_bias_images():
    pretext, truth, drawn = small(), tf.zeros((1, 16, 16, 3)), tf.ones((1, 16, 16, 3))
    shown = pretext.shown(None, truth, drawn)
    assert shown[0] is truth
    np.testing.assert_array_equal(shown[1], pretext.scale.numpy()[None] * np.ones(3))


# === 4. The input ===


def test_the_input_is_the_middle_enlarged():
    pretext = full()
    for i in range(4):
        x, y = pretext.transform({"image": tf.constant(photo(80, i)), "seed": tf.constant([i, 1])})
        again = tf.image.resize(x, (27, 27), antialias=True)
        assert np.mean(np.abs(again - pretext.middle((y + 1) / 2))) < 0.03
        assert float(tf.reduce_max(x)) <= 1
        assert any(np.allclose((y + 1) / 2, p, atol=1e-6) for p in _mirrored(photo(80, i)))


def test_it_learns_from_the_middle_of_an_image(tmp_path):
    ramp = np.arange(48, dtype=np.uint8)[None, None, :, None]  # tells the column
    np.savez(tmp_path / "x.npz", x_train=np.broadcast_to(ramp, (8, 32, 48, 3)))
    paths = {"dataset": str(tmp_path / "x.npz"), "workdir": str(tmp_path / "run")}
    run = training.Run(**paths, batch_size=8, epochs=1, probe_images=0)
    run.start("reconstruction", {})
    pretext, seen = small(), []
    pretext.compile("sgd", optimizers={"discriminator": "sgd"})
    puzzles = pretext.puzzles
    pretext.puzzles = lambda examples, n: seen.append(examples) or puzzles(examples, n)
    training.pretrain(pretext, run)
    for images in seen:  # the contact sheet's, and those of training
        for example in images.take(8):
            columns = np.round(example["image"][0, :, 0].numpy() * 255)
            np.testing.assert_array_equal(columns, np.arange(16, 32))
    assert len(seen) == 2


def _mirrored(picture):
    return picture, picture[:, ::-1]


def test_a_larger_part_can_be_shown():
    pretext = small(center=0.5)
    assert (pretext.inner, pretext.margin) == (8, 4)
    x, y = pretext.transform({"image": tf.constant(photo(16)), "seed": tf.constant([0, 1])})
    expected = tf.image.resize((y[4:12, 4:12] + 1) / 2, (16, 16))
    np.testing.assert_allclose(x, expected, atol=1e-6)


# === 5. Losses ===


def test_identity_loss_is_that_of_one_arm_and_0_for_the_truth_alone():
    y = tf.constant(np.stack([photo(16, i) for i in range(2)]) * 2 - 1)
    found = {arm: small(arm=arm).content_loss(None, y, y + 0.25) for arm in ARMS}
    assert {arm: float(loss) for arm, loss in found.items()} == pytest.approx(
        {"baseline": 0, "l1": 0.25, "scale_bias": 0}
    )
    assert float(small(arm="l1").content_loss(None, y, y)) == 0
    pretext = small(arm="l1")
    total, (_, g_loss) = pretext.compute_loss(None, y, y + 0.25), _losses(pretext, y, y + 0.25)
    assert float(total) == pytest.approx(0.25 + float(g_loss), rel=1e-5)


def test_adversarial_losses_start_at_2_ln_2_and_ln_2():
    y = tf.constant(np.stack([photo(16, i) for i in range(2)]) * 2 - 1)
    d_loss, g_loss = _losses(small(discriminator_width=64), y, -y)
    assert float(d_loss) == pytest.approx(2 * np.log(2), rel=0.05)
    assert float(g_loss) == pytest.approx(np.log(2), rel=0.05)


def _losses(pretext, y, drawn):
    shown = pretext.shown(None, y, drawn)
    return pretext.adversarial_losses(*[pretext.discriminator(part) for part in shown])


# === 6. Networks ===


def test_dropout_stands_before_the_activation_of_the_widest_stage_alone():
    encoder = reconstructor((4, 8), dropout=0.5)
    (layer,) = (x for x in encoder.layers if isinstance(x, keras.layers.Dropout))
    assert layer.rate == 0.5
    assert encoder.get_layer("stage2").input is layer.output


# === Errors, pictures ===


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"arm": "both"}, "--arm"),
        ({"center": 1.0}, "--center"),
        ({"crop": 4}, "--crop"),
        ({"crop": 18}, "--crop.*5 x 5"),
    ],
)
def test_impossible_settings_name_the_flag(settings, flag):
    with pytest.raises(UserError, match=f"{flag}.*Received"):
        small(**settings)


@pytest.mark.parametrize("arm", ARMS)
def test_picture_shows_input_composition_and_truth(arm, panels):
    pretext = small(arm=arm)
    x, y = (part.numpy()[0] for part in next(iter(pretext.puzzles(examples(16, 2), 2))))
    drawn = np.ones_like(y)
    (shown,) = panels(pretext, x, y, drawn)
    composed = (pretext.compose(drawn, y) + 1) / 2
    for panel, expected in zip(shown.values(), (x, composed, (y + 1) / 2), strict=True):
        np.testing.assert_array_equal(panel, expected)
    assert panels(pretext, x, y)[0].keys() == {"puzzle", "truth"}


def test_the_table_s_tool_trains_the_arm_that_it_is_asked_for(tool, monkeypatch, tmp_path):
    table, seen = tool("reconstruction_table"), {}
    sheet = pathlib.Path(__file__).parents[1] / "recipes/reconstruction_cifar10.flags"
    table.FLAGS(["table", "--dataset=some.npz", f"--workdir={tmp_path}", f"--sheet={sheet}"])
    stand_in = functools.wraps(table.reconstruction.main)(lambda **given: seen.update(given))
    monkeypatch.setattr(table.reconstruction, "main", stand_in)
    monkeypatch.setattr(table.keras.saving, "load_model", lambda path, **_: path)
    assert table.pretrained("l1") == f"{tmp_path}/l1/exported/reconstruction/encoder.keras"
    assert seen["puzzle"].keywords["arm"] == "l1"
    assert (seen["run"].dataset, seen["run"].probe_images) == ("some.npz", 0)
