"""16 bits: near float32, no overflow gets through, exact resume, and float32 in what is shipped."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import mirrored, tiny_encoder
from test_contract import MAKERS, batches, equal, reconstruction, toy, weights

from sslzoo import encoders, export, precision, probes, training
from sslzoo.errors import UserError
from sslzoo.parts.layers import local_response_normalization
from sslzoo.training import Run, checkpoints

TOO_LARGE = 2.0**40  # a scale at which every gradient in float16 overflows


def mixed(make, name="mixed_float16", **kwargs):
    """A compiled pretext whose layers have that policy, with the same weights each time."""
    keras.utils.set_random_seed(0)
    with precision.policy(name):
        return make(tiny_encoder(), **kwargs)


def optimizers(pretext):
    return [pretext.optimizer, *pretext.optimizers.values()]


def set_scales(pretext, *scales):
    for one, scale in zip(optimizers(pretext), scales, strict=False):
        one.dynamic_scale.assign(scale)


def players(encoder, **kwargs):
    """Two players that a wrong scale would move too far: for Adam none is wrong."""
    pretext = reconstruction(encoder)
    first, second = (keras.optimizers.SGD(1.0) for _ in range(2))
    pretext.compile(first, optimizers={"discriminator": second}, **kwargs)
    return pretext


def batch_of(make, pretext):
    return next(iter(batches(make, pretext)[1]))


def step(pretext, batch):
    """One step outside a graph; its loss."""
    return float(pretext.train_step(batch)["loss"])


# === Training ===


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_a_step_in_16_bits_is_near_that_in_float32(make):
    exact = mixed(make, "float32")
    batch = batch_of(make, exact)
    before, loss = weights(exact), step(exact, batch)
    for name, tolerance in (("mixed_float16", 0.02), ("mixed_bfloat16", 0.06)):
        pretext = mixed(make, name)
        equal(weights(pretext), before)
        if name == "mixed_float16":
            set_scales(pretext, 64, 64)  # at the first one of a run some overflow
        assert pretext.encoder.get_layer("stage1").compute_dtype == name.removeprefix("mixed_")
        assert step(pretext, batch) == pytest.approx(loss, rel=tolerance)
        assert {v.dtype for v in pretext.trainable_variables} == {"float32"}
        moved = [np.abs(a - b).max() for a, b in zip(weights(pretext), before, strict=True)]
        assert np.isfinite(moved).all()
        assert any(moved)
        outputs = tf.nest.flatten(pretext(batch[0], training=False))
        assert {output.dtype for output in outputs} == {tf.float32}


@pytest.mark.parametrize("make", [toy, MAKERS["deepcluster"], reconstruction])
def test_a_step_that_overflows_moves_nothing_and_halves_every_scale(make):
    pretext = mixed(make)
    set_scales(pretext, TOO_LARGE, TOO_LARGE)
    before, batch = weights(pretext), batch_of(make, pretext)
    loss = step(pretext, batch)
    exact = step(mixed(make, "float32"), batch)
    assert loss == pytest.approx(exact, rel=0.02), "logged unscaled"
    equal(weights(pretext), before)
    for one in optimizers(pretext):
        assert float(one.dynamic_scale.numpy()) == TOO_LARGE / 2
        assert int(one.iterations.numpy()) == 0


@pytest.mark.parametrize("make", [toy, MAKERS["deepcluster"], players])
def test_whatever_the_scales_a_step_is_that_of_float32(make):
    found = []
    for scales in ([], [64, 64], [64, 256]):
        pretext = mixed(make, "mixed_float16" if scales else "float32")
        before = [v.numpy() for v in pretext.trainable_variables]
        set_scales(pretext, *scales)
        step(pretext, batch_of(make, pretext))
        moves = zip(pretext.trainable_variables, before, strict=True)
        found.append([v.numpy() - old for v, old in moves])
    for exact, *others in zip(*found, strict=True):
        for other in others:
            assert np.linalg.norm(other - exact) <= 0.1 * np.linalg.norm(exact) + 1e-6


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("make", [MAKERS["jigsaw"], players])
def test_xla_computes_the_same_step_in_16_bits(make, name):
    """Up to what rounding to 8 or 11 bits leaves of a move: 1 to 15 %, where it was measured."""
    moves = []
    for policy, jit_compile in (("float32", False), (name, False), (name, True)):
        pretext = mixed(make, policy, jit_compile=jit_compile)
        assert pretext.xla == jit_compile
        before = [v.numpy() for v in pretext.trainable_variables]
        if policy == "mixed_float16":
            set_scales(pretext, 64, 64)
        pretext.fit(batches(make, pretext)[1].take(1), verbose=0)
        after = [v.numpy() for v in pretext.trainable_variables]
        moves.append(np.concatenate([(a - b).ravel() for a, b in zip(after, before, strict=True)]))
    exact, plain, compiled = moves
    assert np.linalg.norm(exact) > 1e-3
    for move in (plain, compiled):
        assert np.linalg.norm(move - exact) < 0.4 * np.linalg.norm(exact)


def test_bfloat16_needs_no_scale():
    pretext = mixed(reconstruction, "mixed_bfloat16")
    assert not any(isinstance(one, precision.LossScale) for one in optimizers(pretext))


def test_an_overflow_on_the_second_replica_is_an_overflow():
    strategy = mirrored(2)
    with strategy.scope():
        variable = keras.Variable([1.0, 2.0])
        optimizer = precision.LossScale(keras.optimizers.SGD(1.0), initial_scale=4.0)
        optimizer.build([variable])

    @tf.function
    def run(large):
        def replica():
            here = tf.distribute.get_replica_context().replica_id_in_sync_group
            optimizer.apply([tf.where(here == 1, [large, 4.0], [4.0, 4.0])], [variable])

        strategy.run(replica)

    run(tf.constant(float("inf")))
    assert variable.numpy().tolist() == [1.0, 2.0]
    scales = strategy.experimental_local_results(optimizer.dynamic_scale.value)
    assert [float(scale) for scale in scales] == [2.0, 2.0]
    run(tf.constant(8.0))
    assert variable.numpy().tolist() == [1.0 - 12 / 2, 2.0 - 8 / 2]


def test_two_replicas_skip_together_and_then_learn():
    with mirrored(2).scope():
        pretext = mixed(reconstruction)
    set_scales(pretext, TOO_LARGE, TOO_LARGE)
    before = weights(pretext)
    pretext.fit(batches(reconstruction, pretext, n=24)[1], verbose=0)
    equal(weights(pretext), before)
    assert {float(one.dynamic_scale.numpy()) for one in optimizers(pretext)} == {TOO_LARGE / 8}
    set_scales(pretext, 64, 64)
    pretext.fit(batches(reconstruction, pretext, n=24)[1], verbose=0)
    assert {int(one.iterations.numpy()) for one in optimizers(pretext)} == {3}
    for variable in pretext.trainable_variables:
        first, second = mirrored(2).experimental_local_results(variable.value)
        np.testing.assert_array_equal(first, second)


# === Runs, files ===


class Cut(Exception):
    """What stops a run in the middle of its second epoch."""


class Cutter(keras.callbacks.Callback):
    steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps == 11:
            raise Cut


@pytest.mark.parametrize(("make", "scale"), [(toy, 2.0**24), (reconstruction, 2.0**29)])
def test_a_run_that_was_cut_ends_in_the_same_bits(make, scale, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "x.npz", x_train=x, x_test=x[:4])
    found = []
    for name, callbacks in (("whole", [[]]), ("cut", [[Cutter()], []])):
        for extra in callbacks:
            settings = {"epochs": 2, "batch_size": 8, "precision": "mixed_float16"}
            folder = str(tmp_path / name)
            run = Run(f"{tmp_path}/x.npz", workdir=folder, backup_minutes=1e-6, **settings)
            run.start("toy", {})
            keras.utils.set_random_seed(0)
            with run.scope():
                pretext = make(tiny_encoder())
            set_scales(pretext, scale, scale)  # some steps are skipped
            with pytest.raises(Cut) if extra else contextlib.nullcontext():
                training.pretrain(pretext, run, extra)
        found.append(checkpoints.Checkpoints(f"{folder}/checkpoints").load())
    assert found[0].keys() == found[1].keys()
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name], err_msg=name)
    assert 0 < int(pretext.optimizer.iterations.numpy()) < found[0]["step"] == 16


def test_the_policy_ends_with_the_scope(tmp_path):
    run = Run(workdir=str(tmp_path), precision="mixed_bfloat16")
    seen = []

    def fail():
        seen.append(keras.config.dtype_policy().name)
        raise InterruptedError

    with pytest.raises(InterruptedError), run.scope():
        fail()
    assert seen == ["mixed_bfloat16"]
    assert keras.config.dtype_policy().name == "float32"


def test_another_precision_is_refused_at_once(tmp_path):
    with pytest.raises(UserError, match=r"--precision: expected .*Received: 'float16'"):
        Run(workdir=str(tmp_path / "run"), precision="float16").start("toy", {})


@pytest.mark.parametrize("make", [MAKERS["jigsaw"], MAKERS["bigan"]])
def test_a_keras_file_brings_the_precision_back(make, tmp_path):
    pretext = mixed(make)
    pretext.save(tmp_path / "pretext.keras")
    loaded = keras.saving.load_model(tmp_path / "pretext.keras")
    x = next(iter(batches(make, pretext)[1]))[0]
    equal(pretext.predict_on_batch(x), loaded.predict_on_batch(x))
    assert [type(one) for one in optimizers(loaded)] == [type(one) for one in optimizers(pretext)]
    shapes = [[v.shape for v in checkpoints.state_variables(p)] for p in (pretext, loaded)]
    assert shapes[0] == shapes[1]


# === What is shipped ===


def policies(model):
    return {*precision._policies(model.get_config())}


def encoder(name):
    """With batch norm and a nested model, as AlexNet has."""
    keras.utils.set_random_seed(0)
    with precision.policy(name):
        images = keras.Input((None, None, 3))
        x = keras.layers.Conv2D(8, 3, 2, name="stage1")(images)
        x = keras.layers.BatchNormalization()(x)
        x = local_response_normalization(8, "norm1")(x)
        x = keras.layers.Conv2D(8, 3, 2, activation="relu", name="stage2")(x)
    return keras.Model(images, x)


def pixels(n=6):
    return np.random.default_rng(0).random((n, 24, 24, 3), np.float32)


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_an_export_computes_in_float32(name, tmp_path):
    learned, exact = encoder(name), encoder("float32")
    equal(weights(learned), weights(exact))
    version = export.save(learned, tmp_path / "zoo")
    file = keras.saving.load_model(tmp_path / "zoo/encoder.keras")
    assert policies(learned) == {name}
    assert policies(file) == {"float32"}
    maps = exact.predict_on_batch(pixels())
    np.testing.assert_array_equal(file.predict_on_batch(pixels()), maps)
    served = tf.saved_model.load(version).embed(pixels())["embedding"]
    np.testing.assert_allclose(served, maps.mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "part"),
    [(MAKERS["colorization"], "colouriser"), (MAKERS["superres"], "upscaler")],
)
def test_an_exported_image_model_computes_in_float32(make, part, tmp_path):
    served = [
        tf.saved_model.load(
            export.save_image_model(getattr(mixed(make, name), part)(), tmp_path / name)
        ).generate(pixels(2))["images"]
        for name in ("float32", "mixed_bfloat16")
    ]
    np.testing.assert_allclose(*served, atol=1e-5)


def test_the_probe_and_its_twin_look_at_float32():
    data = pixels(40), np.arange(40) % 2
    rows = [probes.linear(encoder(n), data, data).rows for n in ("float32", "mixed_bfloat16")]
    assert rows[0] == rows[1]


def test_an_encoder_to_go_on_from_takes_the_precision(tmp_path):
    exact = encoders.get("small")
    exact.save(tmp_path / "encoder.keras")
    run = Run(encoder=str(tmp_path / "encoder.keras"), precision="mixed_float16")
    with run.scope():
        found = run.new_encoder()
    assert policies(found) == {"mixed_float16"}
    equal(weights(found), weights(exact))
    assert precision.in_policy(exact, "float32") is exact
