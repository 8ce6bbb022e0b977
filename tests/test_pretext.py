"""The base class: kept arguments, losses of several terms, named optimizers, collective losses."""

from typing import Literal

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import examples, mirrored, tiny_encoder

from sslzoo.errors import UserError
from sslzoo.pretext import Pretext
from sslzoo.training import checkpoints


@keras.saving.register_keras_serializable("toy")
class Mean(Pretext):
    """What is the mean colour? Its last layer has an optimizer of its own."""

    crop = 8

    def __init__(
        self, encoder, loss: Literal["l1", "l2"] = "l2", table=(1.0, 2.0), logged=True, **kwargs
    ):
        x = keras.Input((8, 8, 3))
        top = keras.layers.Dense(3)
        y = top(keras.layers.GlobalAveragePooling2D()(encoder(x)))
        super().__init__(encoder, x, y, **kwargs)
        self.kind = loss
        self.top = top
        if logged:
            self.log_scalars("low", "high")

    @property
    def parameter_groups(self):
        return {"top": self.top.trainable_variables}

    def transform(self, example):
        return example["image"], tf.reduce_mean(example["image"], (0, 1))

    def content_loss(self, x, y, y_pred, sample_weight=None):
        error = tf.abs(y - y_pred) if self.kind == "l1" else tf.square(y - y_pred)
        return {"low": tf.reduce_mean(error[:, 0]), "high": 10 * tf.reduce_mean(error[:, 1:])}


@keras.saving.register_keras_serializable("toy")
class Apart(Pretext):
    """Embeddings of the whole batch, over all replicas, are pushed apart."""

    crop = 8
    collective = True

    def __init__(self, encoder, **kwargs):
        x = keras.Input((8, 8, 3))
        y = keras.layers.UnitNormalization()(keras.layers.GlobalAveragePooling2D()(encoder(x)))
        super().__init__(encoder, x, y, **kwargs)

    def transform(self, example):
        return example["image"], example["index"]

    def content_loss(self, x, y, y_pred, sample_weight=None):
        context = tf.distribute.get_replica_context()
        everyone = context.all_gather(y_pred, axis=0)
        return tf.reduce_mean(tf.exp(tf.matmul(y_pred, everyone, transpose_b=True)))


def mean(encoder=None, **settings):
    pretext = Mean(encoder or tiny_encoder(), **settings)
    pretext.compile(keras.optimizers.Adam(0.01), optimizers={"top": keras.optimizers.SGD(0.0)})
    return pretext


def fit(pretext, **options):
    return pretext.fit(pretext.puzzles(examples(8, 16), 8), verbose=0, **options).history


def values(variables):
    return [v.numpy() for v in variables]


# === Arguments ===


def test_arguments_are_kept_as_attributes_and_in_the_config():
    pretext = Mean(tiny_encoder(), table=np.array([3.0, 4.0]))
    assert pretext.table == [3.0, 4.0]
    assert pretext.get_config()["table"] == [3.0, 4.0]
    again = Mean.from_config(pretext.get_config())
    assert (again.table, again.kind) == ([3.0, 4.0], "l2")


def test_an_argument_called_loss_survives_compile(tmp_path):
    pretext = mean(loss="l1")
    pretext.save(tmp_path / "mean.keras")
    loaded = keras.saving.load_model(tmp_path / "mean.keras")
    assert (loaded.kind, loaded.get_config()["loss"]) == ("l1", "l1")


def test_a_choice_is_checked_by_its_annotation():
    with pytest.raises(UserError, match=r"--loss: expected one of l1, l2. Received: 'l3'"):
        Mean(tiny_encoder(), loss="l3")


def test_a_missing_encoder_is_python_s_own_error():
    with pytest.raises(TypeError, match="encoder"):
        Mean()


def test_examples_of_another_size_are_refused():
    with pytest.raises(
        UserError, match=r"--crop: expected examples of 8 x 8 .*Received: \(9, 9, 3\)"
    ):
        mean().puzzles(examples(9), 4)


# === The loss ===


def test_terms_are_summed_and_logged():
    keras.utils.set_random_seed(1)
    pretext = mean()
    x, y = next(iter(pretext.puzzles(examples(8, 16), 16)))
    terms = {k: float(v) for k, v in pretext.content_loss(x, y, pretext(x)).items()}
    logs = pretext.fit(x, y, batch_size=16, verbose=0).history
    assert {name: logs[name][0] for name in terms} == pytest.approx(terms, rel=1e-4)
    assert logs["loss"][0] == pytest.approx(sum(terms.values()), rel=1e-4)
    assert "low" not in fit(mean(logged=False))


def test_terms_are_of_the_whole_batch_under_two_replicas():
    logs = []
    for replicas in (1, 2):
        keras.utils.set_random_seed(0)
        with mirrored(replicas).scope():
            pretext = mean()
        logs.append(fit(pretext))
    for name in ("loss", "low", "high"):
        assert logs[0][name] == pytest.approx(logs[1][name], rel=1e-4)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_collective_loss_sees_all_replicas_with_and_without_xla(jit_compile):
    found = []
    for replicas in (1, 2):
        keras.utils.set_random_seed(0)
        with mirrored(replicas).scope():
            pretext = Apart(tiny_encoder())
            pretext.compile(keras.optimizers.SGD(0.5), jit_compile=jit_compile)
        fit(pretext)
        found.append(values(pretext.trainable_variables))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3)


# === Optimizers ===


def test_each_group_is_moved_by_its_own_optimizer_alone():
    pretext = mean()
    top, others = values(pretext.top.trainable_variables), values(pretext.ungrouped_variables)
    fit(pretext)
    for before, after in zip(top, values(pretext.top.trainable_variables), strict=True):
        np.testing.assert_array_equal(before, after, err_msg="a rate of 0")
    moved = zip(others, values(pretext.ungrouped_variables), strict=True)
    assert all(np.abs(a - b).max() > 0 for a, b in moved)


def test_optimizers_that_fit_no_group_are_refused():
    pretext = Mean(tiny_encoder())
    with pytest.raises(ValueError, match=r"expected optimizers for \['top'\]. Received: \[\]"):
        pretext.compile(keras.optimizers.SGD(0.1))


def test_all_optimizers_come_back_from_checkpoint_and_file(tmp_path):
    store, pretext = checkpoints.Checkpoints(tmp_path), mean()
    fit(pretext)
    store.save(pretext, 2)
    pretext.save(tmp_path / "mean.keras")
    resumed = mean()
    checkpoints.restore_state(resumed, store.load())
    loaded = keras.saving.load_model(tmp_path / "mean.keras")
    for other in (resumed, loaded):
        assert int(other.optimizers["top"].iterations) == 2
        for a, b in zip(*map(checkpoints.state_variables, (pretext, other)), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_the_embedding_is_the_encoder_s_last_maps_averaged():
    pixels = np.random.default_rng(0).random((2, 12, 16, 3), np.float32)
    pretext = mean()
    expected = pretext.encoder.predict_on_batch(pixels).mean((1, 2))
    np.testing.assert_allclose(pretext.embed(pixels), expected, atol=1e-6)


def test_a_transform_that_asks_a_tensor_is_a_tf_function():
    class Brighter(Mean):
        """Dark images are made brighter."""

        def transform(self, example):
            image = example["image"]
            if tf.reduce_mean(image) < 2:
                image += 1.0
            return image, tf.reduce_mean(image, (0, 1))

    class Converted(Brighter):
        """The same, converted."""

        transform = tf.function(Brighter.transform)

    data = examples(8, 2)
    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
        Brighter(tiny_encoder()).puzzles(data, 2)
    x, _ = next(iter(Converted(tiny_encoder()).puzzles(data, 2)))
    assert tf.reduce_min(x) >= 1
