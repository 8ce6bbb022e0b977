"""What `sslzoo classify` exports answers like what it scored, beside honest neighbours."""

import dataclasses
import importlib
import io
import shutil
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sslzoo import data as sources
from sslzoo import export, probes, zoo
from sslzoo.commands.classify import Classify
from sslzoo.errors import UserError
from sslzoo.flags import signature
from sslzoo.pictures import confusion
from sslzoo.probes import softmax

module = importlib.import_module("sslzoo.probes.classifier")
COLOURS = ("red", "green", "blue")


def colour_encoder():
    """stage1 shows red, green and blue; stage2 is left with red."""
    x = inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 1, activation="relu", name="stage1")(x)
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same", name="stage2")(x)
    model = keras.Model(inputs, x)
    model.layers[1].set_weights([np.eye(3, 4)[None, None], np.zeros(4)])
    red = np.zeros((3, 3, 4, 5))
    red[:, :, 0] = np.random.default_rng(0).normal(0, 0.3, (3, 3, 5))
    model.layers[2].set_weights([red, np.zeros(5)])
    return model


def coloured(n, seed, side=8):
    """(n, side, side, 3) uint8, labels: which channel is brighter."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    noise = rng.normal(90, 10, (n, side, side, 3))
    return np.uint8(np.clip(noise + 60 * np.eye(3)[labels][:, None, None], 0, 255)), labels


def examples(n, seed):
    x, y = coloured(n, seed)
    return tf.data.Dataset.from_tensor_slices({"image": np.float32(x / 255), "label": y})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "colours.npz"
    (x, y), (x_test, y_test) = coloured(120, 0), coloured(40, 1)
    names = {"class_names": np.array(COLOURS)}
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test, **names)
    return str(path)


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    root = tmp_path_factory.mktemp("zoo")
    export.save(colour_encoder(), root / "lion", image_size=8, card={"recipe": "toy", "seed": 4})
    return root


@pytest.fixture(scope="module")
def frozen(animals, data, tmp_path_factory):
    """(scores, workdir) of one run on the frozen encoder."""
    work = tmp_path_factory.mktemp("work")
    run = Classify(encoder=str(animals / "lion"), dataset=data, top_k=2, workdir=str(work))
    return run.run(), work


def test_scores_stand_beside_a_random_encoder_and_the_majority_class(frozen):
    (row,) = frozen[0]
    assert row["stage"] == "stage1"
    assert row["accuracy"] > 0.95
    assert row["majority_accuracy"] == pytest.approx(14 / 40)
    assert 0 <= row["random_accuracy"] <= 1


def test_the_card_says_what_made_it_and_the_zoo_shows_it(frozen, data):
    (entry,) = zoo.list(frozen[1] / "exported")
    card = entry.card
    assert (card["recipe"], card["classes"], card["image_size"]) == ("classify", [*COLOURS], 8)
    assert card["encoder"]["recipe"] == "toy"
    assert card["flags"]["dataset"] == data
    assert card["dataset"] == {"name": data, "images": 120, "test_images": 40}
    assert card["labels"] == 120
    command = f"sslzoo classify --encoder={card['flags']['encoder']} --dataset={data} --top_k=2"
    assert card["command"] == command
    assert "3 classes apart" in card["intended_use"]
    assert "red, green, blue" in card["intended_use"]
    row = card["scores"][0]
    shares = [f"{100 * row[key]:.1f} %" for key in row if key.endswith("accuracy")]
    assert [share in card["limits"][1] for share in shares] == [True] * 3
    assert "120 of 120 labelled images" in card["limits"][2]
    assert "Apache-2.0" in card["licence"]
    best = f"{row['accuracy']:.1%} (random init"
    assert best in str(entry)


@pytest.mark.parametrize(
    ("flags", "labels"),
    [({}, 50), ({"train_images": 500}, 120), ({"finetune": True}, 120), ({"head": "mlp"}, 120)],
)
def test_the_card_says_how_many_labels_were_seen(animals, data, flags, labels):
    run = Classify(encoder=str(animals / "lion"), dataset=data, **{"train_images": 50, **flags})
    assert run._about(40)["labels"] == labels


def test_the_export_answers_as_it_was_scored(frozen):
    served = zoo.load("classifier", frozen[1] / "exported")
    x, y = coloured(40, 1)
    out = served.signatures["classify"](images=np.float32(x / 255))
    scores, names = out["scores"].numpy(), out["classes"].numpy().astype(str)
    assert scores.shape == names.shape == (40, 2)
    assert scores.dtype == np.float32
    assert (scores[:, 0] >= scores[:, 1]).all()
    assert (scores.sum(1) <= 1 + 1e-6).all()
    accuracy = np.mean(names[:, 0] == np.array(COLOURS)[y])
    assert accuracy == pytest.approx(frozen[0][0]["accuracy"])
    files = []
    for image in x[:3]:
        Image.fromarray(image).save(buffer := io.BytesIO(), "PNG")
        files.append(buffer.getvalue())
    told = served.signatures["classify_bytes"](image_bytes=tf.constant(files))
    np.testing.assert_allclose(told["scores"], scores[:3], atol=1e-5)
    assert (told["classes"].numpy().astype(str) == names[:3]).all()


def test_the_confusion_matrix_is_drawn(frozen):
    sheet = np.asarray(Image.open(frozen[1] / "confusion.png"))
    assert sheet.shape[2] == 3
    assert min(sheet.shape[:2]) > 3 * 48


@pytest.mark.parametrize("classes", [2, 3])
def test_the_network_is_the_plane(classes):
    rng = np.random.default_rng(0)
    maps, y = np.float32(rng.normal(5, 3, (90, 2, 2, 6))), np.arange(90) % classes
    maps[..., 0] += 4 * y[:, None, None]
    x = maps.reshape(90, -1)
    _, norm, logits = module._plane(x, y, 0)
    network = module._network(keras.Input((2, 2, 6)), classes)
    network.get_layer("norm").set_weights(norm)
    network.get_layer("logits").set_weights(logits)
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + module.EPSILON)
    plane, _, _ = softmax.best(x, y, 24, 0)
    logits = x @ plane.kernel + plane.bias
    np.testing.assert_allclose(network(maps), logits, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_tells_classes_apart_and_the_encoder_stays(classes):
    encoder = colour_encoder()
    before = [w.copy() for w in encoder.get_weights()]
    train = examples(90, 0).filter(lambda e: e["label"] < classes)
    head = probes.fit_head(encoder, train, COLOURS[:classes], stage="stage1")
    assert head.stage == "stage1"
    y, answers = head.predict(examples(60, 2).filter(lambda e: e["label"] < classes))
    assert np.mean(y == answers) > 0.95
    assert len(y) == 20 * classes
    for ours, then in zip(encoder.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, then)


def test_the_command_has_the_fields_as_flags(tmp_path):
    settings = signature.parse(
        Classify, ["classify", "--finetune", "--top_k=3", "--learning_rate=1"]
    )
    assert Classify(**settings) == Classify(finetune=True, top_k=3, learning_rate=1.0)
    command = "from sslzoo.cli import console; console()"
    arguments = ["classify", "--encoder=wolf", "--dataset=none"]
    done = subprocess.run(
        [sys.executable, "-c", command, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Received: 'wolf'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_class_without_images_is_named():
    with pytest.raises(UserError, match="0 training images of pink"):
        probes.fit_head(colour_encoder(), examples(30, 0), [*COLOURS, "pink"])


def test_finetuning_goes_through_the_encoder(animals, data, tmp_path):
    options = {"finetune": True, "epochs": 4, "learning_rate": 0.05, "seed": 3}
    run = Classify(encoder=str(animals / "lion"), dataset=data, workdir=str(tmp_path), **options)
    (row,) = run.run()
    assert row["stage"] == "stage2"  # the last one, which sees two classes of three
    assert row["accuracy"] > 0.8
    kernel = zoo.encoder("classifier", tmp_path / "exported").layers[2].get_weights()[0]
    assert np.abs(kernel[:, :, 1:3]).max() > 1e-3
    served = zoo.load("classifier", tmp_path / "exported")
    x, y = coloured(40, 1)
    names = served.classify(np.float32(x / 255))["classes"][:, 0].numpy().astype(str)
    assert np.mean(names == np.array(COLOURS)[y]) == pytest.approx(row["accuracy"])


@pytest.mark.parametrize(
    ("images", "epochs", "schedule"),
    [
        (120, 7, {"epochs": 7}),
        (120, 0, {"epochs": 10, "steps": 4000}),
        (64_000, 0, {"epochs": 10, "steps": 5000}),
    ],
)
def test_few_labels_are_seen_often(images, epochs, schedule):
    run = Classify(epochs=epochs, flip=False, seed=3, finetune=True)
    run.sources = [types.SimpleNamespace(size=images)]
    assert run._schedule == {"flip": False, "seed": 3, **schedule}
    head = dataclasses.replace(run, head="mlp")
    head.sources = run.sources
    assert head._schedule == {"flip": False, "seed": 3, "epochs": epochs or 5}


def test_a_nonlinear_head_learns_alone_first_both_times_at_the_rate_of_the_flag(
    animals, data, monkeypatch
):
    calls = []
    monkeypatch.setattr(probes, "finetune", lambda head, source, **settings: calls.append(settings))
    lion = {"encoder": str(animals / "lion"), "dataset": data, "head": "mlp", "finetune": True}
    run = Classify(**lion, learning_rate=0.3, epochs=2)
    run._trained(run.given[0])
    assert [one["learning_rate"] for one in calls] == [0.3, 0.3]
    assert [one.get("frozen", False) for one in calls] == [True, False]


def test_beside_finetuning_stands_the_same_network_from_scratch(animals, data, monkeypatch):
    calls = []
    monkeypatch.setattr(probes, "scratch", lambda *a, **k: calls.append((a, k)) or "scratch")
    monkeypatch.setattr(Classify, "_trained", lambda self, encoder: encoder)
    lion = {"encoder": str(animals / "lion"), "dataset": data, "epochs": 4, "seed": 3}
    flags = {"finetune": True, "stage": "stage1", "learning_rate": 0.5, "scratch_rate": 0.2}
    run = Classify(**lion, **flags)
    encoder, _ = run.given
    assert run._untaught(encoder) == "scratch"
    ((given, settings),) = calls
    assert given == (encoder, run.sources[0], len(COLOURS), run.size)
    rate = {"learning_rate": 0.2}
    assert settings == {"stage": "stage1", "epochs": 4, "flip": True, "seed": 3, **rate}
    for flags in ({}, {"head": "mlp", "finetune": True}):
        twin = Classify(**lion, **flags)._untaught(encoder)
        equal = [
            np.array_equal(*pair)
            for pair in zip(twin.get_weights(), encoder.get_weights(), strict=True)
        ]
        assert not all(equal)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("kind", "layers"),
    [
        ("mlp", ["dense 60", "bn", "relu", "dense 60", "bn", "relu", "dense 3"]),
        ("conv", ["conv 192", "bn", "relu"] * 3 + ["mean", "dense 3"]),
    ],
)
def test_the_layers_of_rotnets_heads(kind, layers):
    plane = probes.fit_head(colour_encoder(), examples(30, 0), COLOURS, stage="stage1")
    network = probes.nonlinear(plane, kind).network
    kinds = {
        keras.layers.Dense: lambda x: f"dense {x.units}",
        keras.layers.Conv2D: lambda x: f"conv {x.filters}",
        keras.layers.BatchNormalization: lambda x: "bn",
        keras.layers.ReLU: lambda x: "relu",
        keras.layers.GlobalAveragePooling2D: lambda x: "mean",
    }
    assert [kinds[type(x)](x) for x in network.layers if type(x) in kinds] == layers
    assert not any(x.use_bias for x in network.layers if x.name in ("hidden1", "hidden2"))
    kernels = [x.kernel_size for x in network.layers if isinstance(x, keras.layers.Conv2D)]
    assert kernels == ([(3, 3), (1, 1), (1, 1)] if kind == "conv" else [])
    assert network.output_shape == (None, 3)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_rotnets_heads_learn_and_are_exported_and_the_encoder_stays(animals, data, kind, tmp_path):
    options = {"head": kind, "stage": "stage1", "epochs": 40, "learning_rate": 0.1}
    run = Classify(encoder=str(animals / "lion"), dataset=data, workdir=str(tmp_path), **options)
    (row,) = run.run()
    assert row["accuracy"] > 0.9
    assert 0 <= row["random_accuracy"] <= 1
    assert row["stage"] == "stage1"
    served = zoo.load("classifier", tmp_path / "exported")
    x, y = coloured(40, 1)
    names = served.classify(np.float32(x / 255))["classes"][:, 0].numpy().astype(str)
    assert np.mean(names == np.array(COLOURS)[y]) == pytest.approx(row["accuracy"])
    encoders = [zoo.encoder("classifier", tmp_path / "exported"), zoo.encoder("lion", animals)]
    ours, before = (encoder.get_weights() for encoder in encoders)
    for a, b in zip(ours, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_head_sees_the_stage_as_at_inference():
    x = inputs = keras.Input((None, None, 3))
    x = keras.layers.Dropout(0.5)(x)
    encoder = keras.Model(inputs, keras.layers.Conv2D(3, 1, name="stage1")(x))
    head = probes.fit_head(encoder, examples(30, 0), COLOURS)
    batches = examples(30, 0).map(lambda e: (e["image"], e["label"])).batch(10)
    for (maps, _), (images, _) in zip(head.maps(batches), batches, strict=True):
        np.testing.assert_allclose(maps, head.body(images, training=False), atol=1e-6)


def test_finetuning_that_diverges_names_the_flag(data):
    encoder = colour_encoder()
    head = probes.fit_head(encoder, examples(30, 0), COLOURS)
    source = sources.load(data, labels=True)
    with pytest.raises(UserError, match=r"--learning_rate.*Received: 1e\+38"):
        probes.finetune(head, source, epochs=9, learning_rate=1e38)


@pytest.mark.parametrize(("flip", "expected"), [(True, 2), (False, 1)])
def test_flips_are_a_matter_of_the_flag(data, flip, expected, monkeypatch):
    """What `fit` is fed for one image over 16 epochs: itself, or itself and its mirror image."""
    seen = []

    def fit(self, batches, **_):
        seen.extend({image.tobytes() for x, _ in batches for image in x.numpy()})
        return keras.callbacks.History()

    head = probes.fit_head(colour_encoder(), examples(30, 0), COLOURS)
    source = sources.load(data, labels=True)
    monkeypatch.setattr(keras.Model, "fit", fit)
    with pytest.raises(KeyError):  # the empty history
        probes.finetune(head, source, epochs=16, flip=flip, pad=0, choose=False)
    assert len(seen) == pytest.approx(expected * source.size, rel=0.05)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"top_k": 0}, "--top_k: expected 1 to .*Received: 0"),
        ({"stage": "stage9"}, "--stage: expected one of stage1, stage2. Received: stage9"),
        ({"encoder": "wolf"}, "--encoder: expected a name in the zoo.*Received: 'wolf'"),
        ({"encoder": "../lion"}, "--encoder: expected a name in the zoo.*Received: '../lion'"),
        ({"dataset": "/not/there"}, "--dataset"),
        ({"encoder": ""}, "--encoder: expected a name.*Received: ''"),
        ({"workdir": "/dev/null"}, "--workdir: expected a folder.*Received: /dev/null"),
    ],
)
def test_wrong_flags_are_refused_before_the_work(animals, data, flags, words, tmp_path):
    given = {"encoder": str(animals / "lion"), "dataset": data, "workdir": str(tmp_path / "out")}
    with pytest.raises(UserError, match=words):
        Classify(**{**given, **flags}).run()
    assert not (tmp_path / "out").exists()


def test_labels_that_no_head_can_be_made_of_are_known_before_the_work(
    animals, data, tmp_path, monkeypatch
):
    arrays = dict(np.load(data))
    arrays["y_train"] = np.where(arrays["y_train"] == 1, 0, arrays["y_train"])
    arrays["y_train"][7] = 1
    np.savez(tmp_path / "one.npz", **arrays)
    monkeypatch.setattr(probes, "scratch", lambda *_, **__: pytest.fail("trained"))
    given = {"encoder": str(animals / "lion"), "dataset": str(tmp_path / "one.npz")}
    with pytest.raises(UserError, match=r"two training images of each.* 1 training images of"):
        Classify(**given, finetune=True, workdir=str(tmp_path / "out")).run()


def test_the_plane_is_fitted_to_labels_that_the_seed_draws(animals, data):
    given = {"encoder": str(animals / "lion"), "dataset": data, "train_images": 50}
    first, second = (Classify(**given, seed=seed)._few for seed in (0, 1))
    assert [len({*first}), len({*second})] == [50, 50]
    assert {*first} != {*second}


def test_a_file_in_16_bits_is_opened_in_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        colour_encoder().save(tmp_path / "half.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    model, _ = zoo.open_encoder(str(tmp_path / "half.keras"))
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}


def test_a_bare_encoder_file_needs_a_size_and_holds_no_code(animals, data, tmp_path):
    beside_its_card = Classify(encoder=str(animals / "lion" / "encoder.keras"), dataset=data)
    assert beside_its_card.size == Classify(encoder=str(animals / "lion"), dataset=data).size
    shutil.copy(animals / "lion" / "encoder.keras", tmp_path / "bare.keras")
    with pytest.raises(UserError, match="--image_size"):
        Classify(encoder=str(tmp_path / "bare.keras"), dataset=data).run()
    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs)).save(tmp_path / "code.keras")
    (tmp_path / "cut.keras").write_bytes(b"PK\x03\x04")
    for name in ("code.keras", "cut.keras", "missing.keras"):
        with pytest.raises(UserError, match=f"without code.*{name}"):
            Classify(encoder=str(tmp_path / name), dataset=data).run()


@pytest.mark.parametrize("classes", [2, 30, 1000])
def test_pictures_of_few_and_of_many_classes(classes):
    sheet = confusion.picture(np.eye(classes, dtype=int), [f"a long name of {classes}"] * classes)
    assert sheet.dtype == np.uint8
    assert max(sheet.shape) <= 1200
    assert tuple(sheet[-1, -1]) == tuple(confusion.DARK)
    cell = min(48, 900 // classes) or 1
    assert tuple(sheet[-1, -1 - cell]) == (255, 255, 255)
