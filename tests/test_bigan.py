"""BiGAN's five facts (METHODS 10.6), its options and pictures."""

import functools
import typing

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import examples, photo, tiny_encoder

from sslzoo import encoders, export
from sslzoo.errors import UserError
from sslzoo.parts import gan_losses
from sslzoo.pretexts.bigan import BiGAN, dense_encoder
from sslzoo.recipes import bigan as bigan_recipe


def small(**settings):
    settings = {"crop": 16, "codes": 6, "width": 4, "batch_norm": False, **settings}
    return BiGAN(tiny_encoder(), **settings)


def batch(pretext, n=8):
    return next(iter(pretext.puzzles(examples(pretext.crop, n), n)))


# === 1. The start ===


@pytest.mark.parametrize("network", ["conv", "dense"])
def test_all_losses_start_from_ln_2_exactly(network):
    pretext = small(network=network)
    x, y = batch(pretext)
    verdicts = [pretext.discriminator(part) for part in pretext.shown(x, y, pretext(x))]
    np.testing.assert_array_equal(verdicts, np.zeros((2, 8, 1)))
    np.testing.assert_allclose(pretext.adversarial_losses(*verdicts), [np.log(2)] * 2, rtol=1e-6)
    assert float(pretext.compute_loss(x, y, pretext(x))) == pytest.approx(np.log(2))


def test_codes_spread_over_their_range_whatever_the_encoder_gives():
    pretext = small(batch_norm=True)
    last = pretext.encoder.get_layer("stage2")
    last.activation = lambda x: 1000 + 100 * tf.nn.relu(x)
    x, _ = batch(pretext, 64)
    codes = pretext(x, training=True)["codes"].numpy()
    assert np.abs(codes).mean() < 0.8
    np.testing.assert_allclose(codes.mean(0), 0, atol=0.2)


# === 2. Gradients ===


def test_who_learns_from_which_loss():
    pretext = small()
    pretext.discriminator.get_layer("d_logit").kernel.assign(tf.ones((64 * 2, 1)))
    x, y = batch(pretext)
    parts = {
        "encoder": pretext.encoder.trainable_variables,
        "generator": pretext.generator.trainable_variables,
    }
    with tf.GradientTape(persistent=True) as tape:
        shown = pretext.shown(x, y, pretext(x))
        _, loss = pretext.adversarial_losses(*[pretext.discriminator(part) for part in shown])
    for name, variables in parts.items():
        gradients = tape.gradient(loss, variables)
        assert all(np.abs(g).max() > 0 for g in gradients), name
    groups = {name: {id(v) for v in found} for name, found in pretext.parameter_groups.items()}
    assert groups["discriminator"] == {id(v) for v in pretext.discriminator.trainable_variables}
    assert groups["encoder"] > {id(v) for v in parts["encoder"]}, "with the layers of the code"
    assert {id(v) for v in pretext.ungrouped_variables} == {id(v) for v in parts["generator"]}
    every = [*groups["discriminator"], *groups["encoder"], *map(id, parts["generator"])]
    assert sorted(every) == sorted(map(id, pretext.trainable_variables))


# === 3. The swap ===


@pytest.mark.parametrize("gan", typing.get_args(gan_losses.GAN))
def test_exchanging_pairs_and_labels_exchanges_the_losses(gan):
    pretext = small(gan=gan)
    real, fake = np.random.default_rng(0).normal(size=(2, 8, 1)).astype(np.float32)
    d_loss, g_loss = pretext.adversarial_losses(real, fake)
    np.testing.assert_allclose(pretext.adversarial_losses(fake, real), (g_loss, d_loss))
    assert float(d_loss) != pytest.approx(float(g_loss))


def test_pairs_are_image_with_code_and_painting_with_noise():
    pretext = small()
    x, y = batch(pretext)
    answers = pretext(x)
    (image, code), (painting, noise) = pretext.shown(x, y, answers)
    np.testing.assert_allclose((image + 1) / 2, x["images"], atol=1e-6)
    np.testing.assert_array_equal(code, answers["codes"])
    np.testing.assert_array_equal(painting, pretext.generator(x["noise"]))
    np.testing.assert_array_equal(noise, x["noise"])


# === 4. Shapes and ranges ===


@pytest.mark.parametrize(
    ("encoder", "settings"),
    [
        (encoders.get("alexnet_bn"), {"width": 8}),
        (dense_encoder(28, 16), {"crop": 28, "codes": 50, "network": "dense", "width": 16}),
    ],
    ids=["64 pixels", "MNIST"],
)
def test_shapes_of_the_papers_nets(encoder, settings):
    pretext = BiGAN(encoder, **settings)
    side, codes = settings.get("crop", 64), settings.get("codes", 200)
    answers = pretext.predict_on_batch(
        {"images": np.random.rand(2, side, side, 3), "noise": np.ones((2, codes))}
    )
    assert answers["codes"].shape == (2, codes)
    assert answers["painted"].shape == (2, side, side, 3)
    assert all(np.abs(part).max() < 1 for part in answers.values())
    if side == 64:
        hidden = [pretext.generator.get_layer(f"g{i}").output.shape[1:] for i in range(4)]
        assert hidden == [(4, 4, 64), (8, 8, 32), (16, 16, 16), (32, 32, 8)]


def test_the_code_reaches_every_layer_but_the_first_of_the_discriminator():
    pretext = small(crop=32)
    names = [layer.name for layer in pretext.discriminator.layers if layer.name.endswith("_code")]
    assert sorted(names) == ["d1_code", "d2_code", "judged_code"]
    names = [layer.name for layer in pretext.generator.layers if layer.name.endswith("_code")]
    assert sorted(names) == ["g0_code", "g1_code", "g2_code", "painted_code"]


@pytest.mark.parametrize("settings", [{"batch_norm": True}, {"crop": 32, "gan": "lsgan"}], ids=str)
def test_the_image_half_of_the_discriminator_is_an_encoder_that_is_exported(settings, tmp_path):
    pretext = small(**settings)
    critic, (_, y) = pretext.discriminator, batch(pretext)
    critic([y, tf.ones((8, 6))], training=True)  # moving averages have moved
    judge, n = pretext.judge(), {16: 2, 32: 3}[pretext.crop]
    assert encoders.stages(judge) == [f"stage{i + 1}" for i in range(n)]
    before = keras.Model(critic.input, critic.get_layer(f"stage{n}").output)
    maps = judge((y + 1) / 2)
    np.testing.assert_allclose(maps, before([y, tf.zeros((8, 6))]), atol=1e-5)
    assert np.abs(maps - before([y, tf.ones((8, 6))])).max() > 1e-3, "codes matter to it"
    assert judge(np.zeros((1, 40, 24, 3))).shape == (1, 40 >> n, 24 >> n, 2 << n)
    version = export.save(judge, tmp_path / "judge")
    served = tf.saved_model.load(version).embed((y + 1) / 2)["embedding"]
    np.testing.assert_allclose(served, np.mean(maps, (1, 2)), atol=1e-5)


def test_a_dense_discriminator_is_no_encoder(tmp_path):
    run = bigan_recipe.Run(workdir=str(tmp_path / "run"), probe_images=0)
    puzzle = functools.partial(BiGAN, network="dense")
    with pytest.raises(UserError, match=r"--features: .*--network=dense.*Received: discriminator"):
        bigan_recipe.main(run, puzzle, features="discriminator")


def test_noise_is_uniform_and_belongs_to_the_seed():
    pretext = small(codes=1000)
    image = tf.constant(photo(16))
    noise = [pretext.transform({"image": image, "seed": (i, 1)})[0]["noise"] for i in (0, 1, 0)]
    np.testing.assert_array_equal(noise[0], noise[2])
    assert np.corrcoef(noise[0], noise[1])[0, 1] == pytest.approx(0, abs=0.1)
    assert np.abs(noise[0]).max() < 1
    assert np.std(noise[0]) == pytest.approx(1 / 3**0.5, abs=0.03)


# === 5. The metric ===


def test_reconstruction_is_measured_against_other_images():
    pretext = small()
    x, y = batch(pretext)
    rows = {float(noise[0]): image for noise, image in zip(x["noise"], y, strict=True)}

    class Oracle(keras.Model):
        def call(self, x, training=None):
            return {"codes": x["noise"]}

    pretext.generator = lambda codes, training: tf.stack([rows[float(c[0])] for c in codes])
    oracle = Oracle()
    oracle.generator = pretext.generator
    own, others = BiGAN.reconstruction(oracle, [(x, y)])
    assert own == 0
    y = y.numpy().reshape(8, -1)
    distances = np.linalg.norm(y - np.roll(y, 1, 0), axis=1)
    assert others == pytest.approx(distances.mean(), rel=1e-5)


# === Errors, pictures ===


@pytest.mark.parametrize(
    ("settings", "flag"),
    [({"crop": 24}, "--crop"), ({"network": "x"}, "--network"), ({"codes": 0}, "--codes")],
)
def test_impossible_settings_name_the_flag(settings, flag):
    with pytest.raises(UserError, match=f"{flag}.*Received"):
        small(**settings)


def test_picture_shows_the_image_its_reconstruction_and_a_painting(panels):
    pretext = small()
    x, y = batch(pretext)
    answers = {name: part.numpy()[0] for name, part in pretext(x).items()}
    (shown,) = panels(pretext, {name: part[0] for name, part in x.items()}, y[0].numpy(), answers)
    again = pretext.generator(answers["codes"][None])[0]
    for panel, expected in zip(shown.values(), (y[0], again, answers["painted"]), strict=True):
        np.testing.assert_allclose(panel, (np.asarray(expected) + 1) / 2, atol=1e-5)
    assert len(panels(pretext, x, y[0].numpy())[0]) == 1
