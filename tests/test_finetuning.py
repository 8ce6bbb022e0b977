"""Training on labels: what is frozen stays, what is held out chooses."""

import importlib
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import tiny_encoder

from sslzoo import data, probes
from sslzoo.errors import UserError
from sslzoo.probes.classifier import untrained

module = importlib.import_module("sslzoo.probes.finetuning")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """120 noisy images of 16 pixels; of the second class a square is bright."""
    rng = np.random.default_rng(0)
    x, y = np.uint8(rng.integers(0, 90, (120, 16, 16, 3))), np.arange(120) % 2
    x[y == 1, 5:11, 5:11] += 120
    path = tmp_path_factory.mktemp("data") / "x.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    return data.load(str(path), labels=True)


def kernels(encoder):
    return {x.name: np.array(x.get_weights()[0]) for x in encoder.layers if x.get_weights()}


def test_from_scratch_learns_and_leaves_the_encoder_alone(source):
    encoder = tiny_encoder(batch_norm=True)
    before = kernels(encoder)
    head = probes.scratch(encoder, source, 2, 16, steps=40, learning_rate=0.1, epochs=2)
    assert np.mean(np.equal(*head.predict(source.examples(crop=16)))) > 0.9
    for name, kernel in kernels(encoder).items():
        np.testing.assert_array_equal(kernel, before[name])


def test_who_diverges_is_told_which_rate_it_was(source):
    for train, flag in ((probes.scratch, "--scratch_rate"), (_on, "--learning_rate")):
        with pytest.raises(UserError, match=f"^{flag}: expected a rate .* Received: 1e"):
            train(tiny_encoder(), source, 2, 16, learning_rate=1e38, epochs=9)


def _on(encoder, source, classes, side, **settings):
    probes.finetune(untrained(encoder, classes, side), source, **settings)


def test_from_scratch_there_is_a_stage_and_a_rate_to_choose(source, monkeypatch):
    rates = []
    monkeypatch.setattr(module, "finetune", lambda *a, **k: rates.append(k["learning_rate"]))
    assert probes.scratch(tiny_encoder(), source, 2, 16).stage == "stage2"
    given = {"stage": "stage1", "learning_rate": 0.3}
    assert probes.scratch(tiny_encoder(), source, 2, 16, **given).stage == "stage1"
    assert rates == [0.1, 0.3]


def test_the_seed_alone_decides_where_it_starts(source, monkeypatch):
    monkeypatch.setattr(module, "finetune", lambda *a, **settings: None)
    heads = [probes.scratch(tiny_encoder(), source, 2, 16, seed) for seed in (0, 0, 1)]
    first, again, other = (head.model().get_weights() for head in heads)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any() or not a.any() or (a == 1).all()


@pytest.mark.parametrize(("below", "moved"), [("stage1", [1, 1]), ("stage2", [0, 1])])
def test_stages_below_stay_as_they_are(source, below, moved):
    encoder = tiny_encoder(batch_norm=True)
    head = untrained(encoder, 2, 16)
    before = [w.copy() for w in encoder.get_weights()]
    probes.finetune(head, source, epochs=1, frozen_below=below)
    half = len(before) // 2
    parts = [[*zip(before, encoder.get_weights(), strict=True)][i : i + half] for i in (0, half)]
    assert [any((a != b).any() for a, b in part) for part in parts] == [bool(m) for m in moved]
    assert all(layer.trainable for layer in encoder.layers)


def test_a_stage_that_is_not_there(source):
    head = untrained(tiny_encoder(), 2, 16)
    with pytest.raises(UserError, match=r"--frozen_below: expected one of stage1, stage2.*stage7"):
        probes.finetune(head, source, frozen_below="stage7")


def test_the_weights_that_do_best_on_held_out_labels_are_kept():
    """Round after round the labels are turned: only the first one's weights are right."""
    x, y = np.float32(np.repeat(np.eye(2), 8, 0)), np.repeat([0, 1], 8)
    turns = tf.data.Dataset.from_tensor_slices((np.stack([x, x, x]), np.stack([y, 1 - y, 1 - y])))
    for asked, right in ((tf.data.Dataset.from_tensors((x, y)), 1.0), (None, 0.0)):
        model = keras.Sequential(
            [keras.Input((2,)), keras.layers.Dense(2, kernel_initializer="zeros")]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(20.0), loss, metrics=["accuracy"])
        module._fit(model, turns, asked, 3, 1)
        assert np.mean(model(x).numpy().argmax(1) == y) == right


def test_of_equal_rounds_the_later_one_is_kept():
    plane = keras.layers.Dense(1, kernel_initializer="zeros", use_bias=False)
    best = module._Best()
    best.set_model(keras.Sequential([keras.Input((1,)), plane]))
    best.on_train_begin()
    for epoch, accuracy in enumerate((0.5, 0.9, 0.9, 0.8)):
        plane.set_weights([np.array([[float(epoch)]])])
        best.on_epoch_end(epoch, {"val_accuracy": accuracy})
    best.on_train_end()
    assert plane.get_weights()[0] == 2


def test_what_is_trained_on_is_not_what_chooses():
    source = types.SimpleNamespace(size=60, labels=np.arange(60) % 3)
    train, held = module._split(source, np.arange(0, 60, 2), 0, True)
    assert len(train) + len(held) == 30
    assert not {*train} & {*held}
    assert {*train, *held} == {*range(0, 60, 2)}
    assert len(held) == 3, "a tenth"
    few = np.arange(28)  # of the first class ten, of the others nine
    assert len(module._split(source, few, 0, True)[1]) == 0, "none of the nine can be spared"
    assert len(module._split(source, None, 0, False)[1]) == 0


def test_steps_do_not_depend_on_the_number_of_images(source, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "_fit", lambda *a: asked.append(a[3:5]) or HISTORY)
    head = untrained(tiny_encoder(), 2, 16)
    for table in (None, [0, 1, 2, 3]):
        probes.finetune(head, source, epochs=4, steps=30, table=table)
    assert asked == [(4, 8), (4, 8)]
    probes.finetune(head, source, epochs=4, table=np.arange(80), choose=False)
    assert asked[-1] == (4, 1)


HISTORY = types.SimpleNamespace(history={"loss": [1.0]})


@pytest.mark.parametrize(("pad", "flip", "kinds"), [(0, False, 1), (0, True, 2), (2, False, 25)])
def test_padded_crops_are_the_image_moved(pad, flip, kinds):
    image = np.random.default_rng(0).random((8, 8, 3), np.float32)
    vary = module._variation(8, pad, flip)
    seen = {
        np.asarray(vary({"image": image, "label": 0, "seed": tf.constant([i, 7])})[0]).tobytes()
        for i in range(200)
    }
    assert len(seen) == kinds
    assert image.tobytes() in seen


def test_the_schedule_warms_up_and_falls_and_only_kernels_decay():
    model = untrained(tiny_encoder(True), 2, 16).model()
    module._compile(model, 0.5, 100)
    rates = [float(model.optimizer._learning_rate(step)) for step in (0, 5, 10, 55, 99)]
    assert rates == pytest.approx([0, 0.25, 0.5, 0.25, 0], abs=0.01)
    decays = {v.path.split("/")[-1]: model.optimizer._use_weight_decay(v) for v in model.variables}
    assert decays["kernel"]
    assert not any(decays[name] for name in ("bias", "gamma", "beta"))
    assert model.optimizer.weight_decay == pytest.approx(5e-3)
