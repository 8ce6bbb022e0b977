"""The step of two players: who moves, what is restored, replicas, XLA, the losses."""

import typing

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from conftest import examples, mirrored, tiny_encoder

from sslzoo import training
from sslzoo.errors import UserError
from sslzoo.flags.ranges import Count, Weight
from sslzoo.parts import gan_losses
from sslzoo.parts.adversarial import Balance, TwoPlayer
from sslzoo.training import checkpoints

EVERY = pytest.mark.parametrize("gan", typing.get_args(gan_losses.GAN))


@keras.saving.register_keras_serializable("toy")
class Repaint(TwoPlayer):
    """Paints 8 x 8 pixels again, so that the discriminator cannot tell."""

    def __init__(
        self,
        encoder,
        adversarial: Weight = 0.5,
        gan: gan_losses.GAN = "bce",
        critic_steps: Count = 1,
        **kwargs,
    ):
        image = keras.Input((8, 8, 3))
        x = keras.layers.Conv2DTranspose(3, 4, 4, activation="tanh")(encoder(image))
        judged = keras.Input((8, 8, 3))
        verdict = keras.layers.Dense(8, activation="tanh")(keras.layers.Flatten()(judged))
        critic = keras.Model(judged, keras.layers.Dense(1)(verdict)) if adversarial else None
        super().__init__(encoder, image, x, critic, **kwargs)

    def transform(self, example):
        return example["image"], example["image"]

    def content_loss(self, x, y, y_pred, sample_weight=None):
        return tf.reduce_mean(tf.square(y - y_pred))

    def shown(self, x, y, y_pred):
        return y, y_pred


def make(rates=(0.05, 0.05), jit_compile=False, **settings):
    pretext = Repaint(tiny_encoder(), **settings)
    first, second = (
        keras.optimizers.Adam(rate) if rate else keras.optimizers.SGD(0.0) for rate in rates
    )
    others = {"discriminator": second} if pretext.discriminator else None
    pretext.compile(first, optimizers=others, jit_compile=jit_compile)
    return pretext


def fit(pretext, n=16, epochs=1, seed=0):
    puzzles = pretext.puzzles(examples(8, n, seed), 8)
    return pretext.fit(puzzles, epochs=epochs, verbose=0, shuffle=False).history


def halfway(pretext, part):
    """A `TwoPlayer.way` without chance."""
    return tf.fill(tf.shape(part[0])[:1], 0.5)


def values(variables):
    return [v.numpy() for v in variables]


def moved(before, variables):
    return [not np.array_equal(a, v.numpy()) for a, v in zip(before, variables, strict=True)]


# === Who moves ===


@pytest.mark.parametrize(("gan", "critic_steps"), [("bce", 1), ("wgan-gp", 2)])
def test_each_player_moves_all_its_weights_and_only_those(gan, critic_steps):
    for rates in [(0.05, 0), (0, 0.05)]:
        pretext = make(rates, gan=gan, critic_steps=critic_steps)
        players = pretext.ungrouped_variables, pretext.parameter_groups["discriminator"]
        assert len(players[0]) + len(players[1]) == len(pretext.trainable_variables)
        before = [values(variables) for variables in players]
        fit(pretext)
        for rate, old, variables in zip(rates, before, players, strict=True):
            if gan == "wgan-gp" and variables is players[1]:
                old, variables = old[:-1], variables[:-1]  # the last bias does not matter there
            assert moved(old, variables) == [bool(rate)] * len(old)


def test_without_adversary_it_is_an_ordinary_pretext():
    pretext = make(adversarial=0)
    history = fit(pretext, epochs=3)
    assert history.keys() == {"loss"}
    assert history["loss"][-1] < history["loss"][0]
    assert pretext.ungrouped_variables == pretext.trainable_variables


def test_gradients_are_those_of_the_two_losses_before_either_moves():
    pretext = make()
    others = {"discriminator": keras.optimizers.SGD(0.2)}
    pretext.compile(keras.optimizers.SGD(0.1), optimizers=others)
    players = pretext.ungrouped_variables, pretext.parameter_groups["discriminator"]
    x = next(iter(pretext.puzzles(examples(8, 8), 8)))[0]
    with tf.GradientTape(persistent=True) as tape:
        real, fake = pretext.discriminator(x), pretext.discriminator(pretext(x))
        d_loss, g_loss = pretext.adversarial_losses(real, fake)
        total = pretext.content_loss(x, x, pretext(x)) + 0.5 * g_loss
    expected = [
        [v.numpy() - rate * g for v, g in zip(part, tape.gradient(loss, part), strict=True)]
        for part, loss, rate in zip(players, (total, d_loss), (0.1, 0.2), strict=True)
    ]
    logs = pretext.train_on_batch(x, x, return_dict=True)
    for part, wanted in zip(players, expected, strict=True):
        for v, w in zip(part, wanted, strict=True):
            np.testing.assert_allclose(v.numpy(), w, atol=1e-6)
    scores = [total, g_loss, d_loss]
    assert [logs[k] for k in ("loss", "g_loss", "d_loss")] == pytest.approx(scores, rel=1e-5)


@pytest.mark.parametrize("critic_steps", [1, 2])
def test_in_turn_the_generator_learns_from_the_discriminator_that_has_moved(critic_steps):
    pretext = make(critic_steps=critic_steps)
    pretext.in_turn = True
    others = {"discriminator": keras.optimizers.SGD(0.5)}
    pretext.compile(keras.optimizers.SGD(0.1), optimizers=others)
    generator, critics = pretext.ungrouped_variables, pretext.parameter_groups["discriminator"]
    x, before = next(iter(pretext.puzzles(examples(8, 8), 8)))[0], values(critics)
    start = values(generator)
    logs = pretext.train_on_batch(x, x, return_dict=True)
    assert all(moved(before, critics))
    found = values(generator)
    for v, value in zip(generator, start, strict=True):
        v.assign(value)
    last = x[critic_steps - 1 :: critic_steps]
    with tf.GradientTape() as tape:
        loss = pretext.compute_loss(last, last, pretext(last))
    assert logs["loss"] == pytest.approx(float(loss), rel=1e-5)
    for v, g, w in zip(generator, tape.gradient(loss, generator), found, strict=True):
        np.testing.assert_allclose(v.numpy() - 0.1 * g, w, atol=1e-6)


def test_each_critic_step_sees_its_own_part_and_the_generator_moves_once():
    pretext, rows = make(critic_steps=4), []
    play = pretext.play
    pretext.play = lambda x, *rest: rows.append(x.shape[0]) or play(x, *rest)
    fit(pretext, n=16)  # two batches of eight
    assert {*rows} == {2}
    assert int(pretext.optimizer.iterations) == 2
    assert int(pretext.optimizers["discriminator"].iterations) == 8


def test_each_player_has_its_rate_and_its_own_count_of_steps(tmp_path):
    run = training.Run(workdir=str(tmp_path), batch_size=8, epochs=2, learning_rate=0.02)
    run.steps_per_epoch = 5
    pretext = make(critic_steps=4)
    run.compile_players(pretext, 0.5, 0.001)
    optimizers = pretext.optimizer, pretext.optimizers["discriminator"]
    for optimizer, highest, steps in zip(optimizers, (0.02, 0.001), (10, 40), strict=True):
        assert optimizer.beta_1 == 0.5
        for share, rate in ((0, 1), (0.5, 0.5), (1, 0)):  # a cosine
            optimizer.iterations.assign(int(share * steps))
            assert float(optimizer.learning_rate) == pytest.approx(rate * highest, abs=1e-7)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_batch_that_cannot_be_cut_is_refused_at_once(replicas, tmp_path):
    run = training.Run(workdir=str(tmp_path), batch_size=8)
    run.strategy = mirrored(replicas)
    run.check_critic_steps(4)
    for steps in (3, 8) if replicas == 2 else (3, 16):
        expected = rf"--batch_size.*--critic_steps={steps} .* {replicas} devices.*Received: 8"
        with pytest.raises(UserError, match=expected):
            run.compile_players(make(critic_steps=steps))


# === Losses ===


def test_losses_at_no_opinion():
    zero = tf.zeros((4, 1))
    expected = {"bce": (2 * np.log(2), np.log(2)), "lsgan": (0.5, 0.5)}
    for gan in typing.get_args(gan_losses.GAN):
        losses = expected.get(gan, (0, 0))
        np.testing.assert_allclose(make(gan=gan).adversarial_losses(zero, zero), losses, rtol=1e-6)


@EVERY
def test_being_right_lowers_the_discriminators_loss_and_being_fooled_the_generators(gan):
    pretext, low, high = make(gan=gan), tf.fill((4, 1), -0.5), tf.fill((4, 1), 1.5)
    right, wrong = pretext.adversarial_losses(high, low), pretext.adversarial_losses(low, high)
    assert right[0] < wrong[0]
    assert right[1] > wrong[1]
    np.testing.assert_array_equal(gan_losses.accuracies(gan, high, low), [1, 1])
    np.testing.assert_array_equal(gan_losses.accuracies(gan, low, high), [0, 0])


@pytest.mark.parametrize("slope", [0.0, 1.0, 3.0])
def test_the_penalty_is_ten_times_the_squared_distance_of_the_slope_from_1(slope):
    pretext = make(gan="wgan-gp")
    direction = np.random.default_rng(0).normal(size=(8, 8, 3)).astype(np.float32)
    direction *= slope / np.linalg.norm(direction)
    pretext.discriminator = lambda x, training: tf.tensordot(x, direction, 3)[:, None]
    points = [next(iter(examples(8, 4, seed).batch(4)))["image"] for seed in (0, 1)]
    assert float(pretext.penalty(*points, tf.constant([0.0, 0.2, 0.5, 1.0]))) == pytest.approx(
        10 * (slope - 1) ** 2, abs=1e-4
    )


def test_the_penalty_takes_pairs_as_bigan_shows_them():
    pretext = make(gan="wgan-gp")
    pretext.discriminator = lambda x, training: 3 * x[0] + 4 * x[1]
    pair = (tf.ones((2, 1)), tf.zeros((2, 1)))
    assert float(pretext.penalty(pair, pair, tf.zeros(2))) == pytest.approx(
        10 * (5 - 1) ** 2, rel=1e-4
    )


@pytest.mark.parametrize("replicas", [1, 2])
def test_wgan_clips_the_critic_and_no_one_else(replicas):
    with mirrored(replicas).scope():
        pretext = make(gan="wgan")
    fit(pretext)
    largest = [
        max(abs(v).max() for v in values(part))
        for part in (pretext.parameter_groups["discriminator"], pretext.ungrouped_variables)
    ]
    assert largest[0] == pytest.approx(gan_losses.CLIP)
    assert largest[1] > 0.1


# === XLA, replicas, files, resume ===


@pytest.mark.parametrize("gan", ["bce", "wgan", "wgan-gp"])
def test_xla_changes_nothing(gan):
    results = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        pretext = make(gan=gan, jit_compile=jit_compile)
        history = fit(pretext, epochs=2)
        results.append((history, values(pretext.trainable_variables)))
    (plain, weights), (compiled, others) = results
    assert {k: pytest.approx(v, rel=1e-3, abs=1e-5) for k, v in plain.items()} == compiled
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


@EVERY
def test_one_and_two_replicas_have_the_same_losses_and_weights(gan, monkeypatch):
    # Otherwise the points of the penalty would depend on the split.
    monkeypatch.setattr(TwoPlayer, "way", halfway)
    results = []
    for replicas in (1, 2):
        keras.utils.set_random_seed(0)
        with mirrored(replicas).scope():
            pretext = make(gan=gan, critic_steps=2)
        history = fit(pretext, epochs=2)
        results.append((history, values(pretext.trainable_variables)))
    (one, weights), (two, others) = results
    for name in ("loss", "g_loss", "d_loss"):
        assert one[name] == pytest.approx(two[name], rel=1e-3, abs=1e-5)
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_both_optimizers_come_back_from_checkpoint_and_file(tmp_path):
    gan = "wgan-gp"  # which draws random points too
    pretext = make(gan=gan)
    fit(pretext)
    checkpoints.Checkpoints(tmp_path).save(pretext, 2)
    pretext.save(tmp_path / "pretext.keras")
    keras.utils.set_random_seed(5)
    resumed = make(gan=gan)
    checkpoints.restore_state(resumed, checkpoints.Checkpoints(tmp_path).load())
    loaded = keras.saving.load_model(tmp_path / "pretext.keras")
    assert int(loaded.optimizers["discriminator"].iterations) == 2
    fit(pretext, seed=1)
    for other in (resumed, loaded):
        fit(other, seed=1)
        for a, b in zip(*map(checkpoints.state_variables, (pretext, other)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_evaluate_gives_the_generators_loss():
    pretext = make()
    puzzles = pretext.puzzles(examples(8, 8), 8)
    x = next(iter(puzzles))[0]
    verdicts = [pretext.discriminator(part) for part in (x, pretext(x))]
    expected = (
        pretext.content_loss(x, x, pretext(x)) + 0.5 * pretext.adversarial_losses(*verdicts)[1]
    )
    logs = pretext.evaluate(puzzles, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(float(expected), rel=1e-5)


# === Watching, errors ===


def test_a_discriminator_that_wins_for_epochs_is_warned_of_once(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *rest: lines.append(text % rest))
    watch, won, fooled = Balance(), {"d_real": 1.0, "d_fake": 1.0}, {"d_real": 1.0, "d_fake": 0.9}
    for epoch, logs in enumerate([won, won, fooled, won, won, won, won]):
        assert len(lines) == (epoch > 5)
        watch.on_epoch_end(epoch, logs)
    assert len(lines) == 1
    assert "--" not in lines[0], "not all recipes with two players have the same flags"


def test_fit_watches_the_balance(monkeypatch):
    seen = []
    monkeypatch.setattr(Balance, "on_epoch_end", lambda self, epoch, logs: seen.append(logs))
    fit(make())
    fit(make(gan="wgan-gp"))  # whose critic is meant to win
    assert len(seen) == 1
    assert seen[0].keys() == {"loss", "g_loss", "d_loss", "d_real", "d_fake"}


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"adversarial": -1}, "--adversarial"),
        ({"gan": "x"}, "--gan"),
        ({"critic_steps": 0}, "--cri"),
    ],
)
def test_impossible_settings_name_the_flag(settings, flag):
    with pytest.raises(UserError, match=f"{flag}.*Received"):
        make(**settings)
