"""`sslzoo probe` judges encoders of every kind, and a second time at once."""

import csv
import json
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import tiny_encoder

from sslzoo import data, export, pictures, probes
from sslzoo.commands import probe as probe_command
from sslzoo.commands.probe import Probe
from sslzoo.errors import UserError
from sslzoo.judging import judged
from sslzoo.pictures import chart, retrieved
from sslzoo.probes import cache, features, linear_probe, results
from sslzoo.probes.classifier import untrained
from sslzoo.training import workdir

SIDE = 12


def coloured(n, seed):
    """(n, SIDE, SIDE, 3) uint8, labels: which channel is brighter; the last class is rarer."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 7 % 3
    noise = rng.normal(90, 25, (n, SIDE, SIDE, 3))
    return np.uint8(np.clip(noise + 40 * np.eye(3)[labels][:, None, None], 0, 255)), labels


def encoder():
    """stage1 shows colours, stage2 is blind."""
    x = inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 1, activation="relu", name="stage1")(x)
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same", name="stage2")(x)
    model = keras.Model(inputs, x)
    model.layers[1].set_weights([np.eye(3, 4)[None, None], np.zeros(4)])
    model.layers[2].set_weights([np.zeros_like(w) for w in model.layers[2].get_weights()])
    return model


def blind():
    """The same architecture, which shows nothing."""
    model = encoder()
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder of two data sets, `a.npz` and `b.npz`, and of the animal `lion`."""
    root = tmp_path_factory.mktemp("place")
    for name, seed in (("a", 0), ("b", 2)):
        (x, y), (x_test, y_test) = coloured(140, seed), coloured(70, seed + 1)
        np.savez(root / f"{name}.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    export.save(encoder(), root / "lion", image_size=SIDE, card={"recipe": "toy"})
    return root


def probe(place, tmp_path, **flags):
    given = {"encoder": str(place / "lion"), "dataset": str(place / "a.npz"), "train_images": 60}
    given |= {"workdir": str(tmp_path / "out"), "cache": str(tmp_path / "cache"), "draws": 2}
    return Probe(**{**given, **flags})


def test_encoders_that_differ_have_other_digests_whatever_their_layers_are_called():
    def behind(factor):
        inputs = keras.Input((None, None, 3))
        x = keras.layers.Conv2D(4, 1, activation="relu", name="stage1")(inputs * factor)
        x = keras.layers.Conv2D(5, 3, strides=2, padding="same", name="stage2")(x)
        model = keras.Model(inputs, x)
        model.set_weights(encoder().get_weights())
        return model

    def digest(model, side=SIDE):
        return features.Embedder(model, (side, side, 3)).digest

    assert encoder().layers[0].name != encoder().layers[0].name
    assert digest(encoder()) == digest(encoder())
    assert digest(behind(0.5)) == digest(behind(0.5))
    assert len({*map(digest, (encoder(), blind(), behind(0.5), behind(0.25)))}) == 4
    assert digest(encoder(), SIDE + 1) != digest(encoder())


def test_what_was_given_stays_as_it_was(place, tmp_path):
    given = probe(place, tmp_path, kind="retrieval", draws=0)
    probe_command.main(given)
    assert given.draws == 0
    assert "sources" not in vars(given)


def test_every_draw_of_a_share_has_labels_of_its_own(place, tmp_path):
    asked = probe(place, tmp_path, kind="finetune", seed=3)
    (first, one), (second, other) = asked.tables(str(place / "a.npz"), 0.5)
    assert [len({*first}), len({*second})] == [70, 70]
    assert {*first} != {*second}
    assert one != other


def test_rows_of_two_data_sets_in_one_table(place, tmp_path, capsys):
    both = f"{place / 'a.npz'},{place / 'b.npz'}"
    rows = probe(place, tmp_path, dataset=both).run()
    assert [row["dataset"] for row in rows] == both.split(",")
    for row in rows:
        assert row["stage"] == "stage1"
        assert row["accuracy"] > 0.9
        assert row["majority"] == pytest.approx(30 / 70)
        assert (row["labels"], row["test_labels"], row["draws"]) == (60, 70, 2)
        assert row["random_accuracy"] == max(r["random_accuracy"] for r in row["stages"])
    written = json.loads((tmp_path / "out/probe.json").read_text())
    assert written["rows"] == rows
    with open(tmp_path / "out/probe.csv", newline="") as file:
        assert [float(r["accuracy"]) for r in csv.DictReader(file)] == [
            row["accuracy"] for row in rows
        ]
    printed = capsys.readouterr().out
    assert f"{rows[1]['accuracy']:.2%} ± {100 * rows[1]['std']:.2f}" in printed.split("blind")[1]


def test_several_encoders_are_one_table_and_may_agree(place, tmp_path, capsys):
    names, accuracies = ("lion", "mini", "small"), iter([0.9, 0.2, 0.5, 0.6, 0.4, 0.5])
    opened, load = [], data.load
    flags = {"encoder": f"{place / 'lion'},mini, small", "image_size": SIDE, "draws": 1}

    def found(self, spec):
        return [{"dataset": spec, "accuracy": next(accuracies)}]

    one = probe(place, tmp_path, dataset=f"{place / 'a.npz'},{place / 'b.npz'}", **flags)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Probe, "_linear", found)
        patch.setattr(data, "load", lambda *a, **k: opened.append(a) or load(*a, **k))
        rows = one.run()
    assert len(opened) == 4, "both parts of both data sets, once"
    assert [pathlib.Path(row["encoder"]).name for row in rows] == [*np.repeat(names, 2)]
    assert [row["accuracy"] for row in rows[::2]] == [0.9, 0.5, 0.4]
    said = capsys.readouterr().out
    assert f"rank correlation of {place / 'a.npz'} and {place / 'b.npz'}: -0.50\n" in said
    with pytest.raises(UserError, match=r"--encoder: expected a name in the zoo.*'wolf'"):
        probe(place, tmp_path, **flags | {"encoder": f"{place / 'lion'},wolf"}).run()


def test_twins_of_one_architecture_are_fitted_once_for_each_data_set(place, tmp_path):
    fits, fit = [], linear_probe._fit
    two = f"{place / 'lion'},{place / 'lion' / 'encoder.keras'}"
    both = {"dataset": f"{place / 'a.npz'},{place / 'b.npz'}", "image_size": SIDE, "draws": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_probe, "_fit", lambda *a: fits.append(a) or fit(*a))
        rows = probe(place, tmp_path, encoder=two, **both).run()
    stages = len(rows[0]["stages"])
    assert len(fits) == 2 * 2 * stages, "two data sets, an encoder that is there twice, its twin"
    for row, again in zip(rows[:2], rows[2:], strict=True):
        assert {**row, "encoder": ""} == {**again, "encoder": ""}


def test_pictures_of_several_encoders_lie_apart(place, tmp_path):
    shutil.copytree(place / "lion", tmp_path / "lion", symlinks=True)
    two = f"{place / 'lion'},{tmp_path / 'lion'}"
    probe(place, tmp_path, encoder=two, kind="retrieval").run()
    found = sorted(path.relative_to(tmp_path / "out") for path in tmp_path.rglob("out/**/*.*"))
    assert [path.name for path in found if len(path.parts) == 2] == ["retrieval_a.png"] * 2
    assert [path.name for path in found if len(path.parts) == 1] == ["probe.csv", "probe.json"]


def test_a_second_probe_reads_no_image(place, tmp_path, monkeypatch):
    first = probe(place, tmp_path).run()
    monkeypatch.setattr(features, "features", lambda *a: pytest.fail("it reads"))
    assert probe(place, tmp_path).run() == first
    for changed in ({"seed": 1}, {"train_images": 50}, {"cache": ""}):
        with pytest.raises(pytest.fail.Exception, match="it reads"):
            probe(place, tmp_path, **changed).run()


def test_the_seed_draws_the_weights_of_an_encoder_without_any(place, tmp_path, monkeypatch):
    monkeypatch.setattr(Probe, "_linear", lambda *a: [{"accuracy": 0.5}])
    found = []
    for seed in (0, 0, 1):
        one = probe(place, tmp_path, encoder="mini", image_size=SIDE, seed=seed)
        one.run()
        found.append(one.model.get_weights()[0])
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.allclose(found[1], found[2])


def test_the_cache_knows_weights_from_weights_and_mends_itself(place, tmp_path):
    class Source:
        spec, resize = "x", 0

        def examples(self, **options):
            x, y = coloured(8, 0)
            return tf.data.Dataset.from_tensor_slices({"image": np.float32(x / 255), "label": y})

    images = cache.Images(Source(), "d", SIDE, 8)
    kept = cache.Cached(features.Embedder(encoder(), (SIDE, SIDE, 3)), tmp_path)
    x, y = kept(images)
    (path,) = tmp_path.iterdir()
    again, labels = kept(images)
    np.testing.assert_array_equal(again["stage1"], x["stage1"])
    np.testing.assert_array_equal(labels, y)
    path.write_bytes(b"PK")
    np.testing.assert_array_equal(kept(images)[0]["stage1"], x["stage1"])
    other = encoder()
    other.layers[1].set_weights([w + 0.1 for w in other.layers[1].get_weights()])
    moved, _ = cache.Cached(features.Embedder(other, (SIDE, SIDE, 3)), tmp_path)(images)
    assert not np.allclose(moved["stage1"], x["stage1"])
    (tmp_path / "full").write_text("no folder can be made here")
    lost = cache.Cached(features.Embedder(encoder(), (SIDE, SIDE, 3)), tmp_path / "full")
    np.testing.assert_array_equal(lost(images)[0]["stage1"], x["stage1"])


def test_the_cache_knows_images_from_images(tmp_path):
    """Equal labels, equal files but one, which is not among those whose bytes are looked at."""

    def digests(*specs):
        sources = [data.load(spec, resize=SIDE, labels=True) for spec in specs]
        return [judged._digest(source) for source in sources]

    images, labels = coloured(100, 0)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / f"train/{label}").mkdir(parents=True, exist_ok=True)
        pictures.save_png(tmp_path / f"train/{label}/{i}.png", image)
    (tmp_path / "test").mkdir()
    single = f"single:{tmp_path}/train/0/0.png,{tmp_path}/train/1/1.png,beta=0.3"
    specs = ["scenes:8:0", "scenes:8:1", single, f"{single},flip=0", f"{single},color=0"]
    (before,) = digests(str(tmp_path))
    assert digests(str(tmp_path)) == [before]
    assert len({*digests(*specs)}) == len(specs)
    source = data.load(str(tmp_path), resize=SIDE, labels=True)
    seen = workdir.fingerprint(source)["sha256"]
    other = next(name for name in map(source.name, range(100)) if name not in seen)
    os.utime(tmp_path / "train" / other, ns=(0, 0))
    assert digests(str(tmp_path)) != [before]
    both = []
    for i in range(2):
        images[2] = i  # one that is not looked at
        np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, y_test=labels)
        both += digests(str(tmp_path / "a.npz"))
    assert both[0] != both[1]


def test_the_cache_removes_its_oldest_files_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "MOST", 25)
    names = [*(f"{i:032x}.npz" for i in range(3)), "mine.npz"]
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(b"0123456789")
        os.utime(tmp_path / name, (i, i))
    for name in ("old", "new"):
        (tmp_path / f"{cache.ASIDE}{name}").mkdir()
    os.utime(tmp_path / f"{cache.ASIDE}old", (0, 0))
    cache.make_room(tmp_path, 10)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {names[2], "mine.npz", f"{cache.ASIDE}new"}


@pytest.mark.parametrize(
    ("specs", "received"),
    [
        ([tf.TensorSpec((None, None, None, 3))] * 2, r"a \(.*float32, b \("),
        ([tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8)], r"a \(.*uint8"),
        ([tf.TensorSpec((8, SIDE, SIDE, 3))], r"a \(8, 12, 12, 3\)"),
        ([tf.TensorSpec((None, 64, 64, 3))], r"a \(None, 64, 64, 3\)"),
    ],
)
def test_a_savedmodel_that_takes_other_images_is_refused(tmp_path, specs, received):
    def stage(*images):
        return {"stage1": tf.cast(images[0], tf.float32) * 2.0}

    named = [tf.TensorSpec(s.shape, s.dtype, name) for s, name in zip(specs, "ab", strict=False)]
    model = tf.Module()
    model.call = tf.function(stage)
    signatures = {"features": model.call.get_concrete_function(*named)}
    tf.saved_model.save(model, str(tmp_path / "model"), signatures)
    with pytest.raises(UserError, match=f"--encoder: .* one argument.*Received: {received}"):
        judged._opened(str(tmp_path / "model"), (SIDE, SIDE, 3), 9600)


@pytest.mark.parametrize(
    ("flag", "specs"),
    [
        ("a.npz, b.npz", ["a.npz", "b.npz"]),
        ("single:a,b,beta=0.1", ["single:a,b,beta=0.1"]),
        ("photos,single:a,b,single:c", ["photos", "single:a,b", "single:c"]),
        ("", [""]),
    ],
)
def test_what_follows_a_single_is_its_own(flag, specs, monkeypatch):
    monkeypatch.setattr(data, "load", lambda spec, split, **options: split)
    assert [*Probe(dataset=flag, image_size=SIDE, encoder="mini").sources] == specs


def test_a_savedmodel_is_judged_beside_small(place, tmp_path, capsys):
    folder = tmp_path / "foreign"
    shutil.copytree(place / "lion" / "1", folder)
    shutil.rmtree(folder / "assets.extra", ignore_errors=True)
    rows = probe(place, tmp_path, encoder=str(folder), image_size=SIDE).run()
    own = probe(place, tmp_path).run()
    assert rows[0]["accuracy"] == pytest.approx(own[0]["accuracy"], abs=0.02)
    assert "`small`, untrained, its best stage" in capsys.readouterr().out
    assert "last" in probe(place, tmp_path, encoder=str(folder), kind="invariance").twin_name
    assert rows[0]["random_accuracy"] > 0.4


def test_a_backbone_by_its_name_and_a_keras_file(place, tmp_path):
    (row,) = probe(place, tmp_path, encoder="mini", image_size=SIDE).run()
    assert len(row["stages"]) == 5
    encoder().save(tmp_path / "bare.keras")
    bare = probe(place, tmp_path, encoder=str(tmp_path / "bare.keras"), image_size=SIDE).run()
    assert bare[0]["accuracy"] > 0.9
    with pytest.raises(UserError, match=r"--image_size.*Received: 0"):
        probe(place, tmp_path, encoder=str(tmp_path / "bare.keras")).run()


def trained(monkeypatch, learned):
    """What is trained on and how, without training."""
    seen = []

    def finetune(head, source, **settings):
        seen.append((head, settings))

    def scratch(encoder, source, classes, side, seed, **settings):
        seen.append(("scratch", settings))
        return untrained(learned, classes, side)

    monkeypatch.setattr(probes, "finetune", finetune)
    monkeypatch.setattr(probes, "scratch", scratch)
    return seen


def test_controls_stand_beside_the_score_and_tell_what_was_gained(place, tmp_path, monkeypatch):
    seen, answers = trained(monkeypatch, encoder()), iter([0.7, 0.9])
    monkeypatch.setattr(Probe, "_tested", lambda *a: next(answers))
    monkeypatch.setattr(probes, "random_twin", lambda *a: blind())
    (row,) = probe(place, tmp_path, controls=True, draws=1, epochs=32).run()
    assert (row["scratch_accuracy"], row["supervised_accuracy"]) == (0.7, 0.9)
    assert row["random_accuracy"] == row["majority"]
    way = 0.9 - row["random_accuracy"]
    assert row["gained"] == pytest.approx((row["accuracy"] - row["random_accuracy"]) / way)
    few, every = (settings for _, settings in seen)
    assert len({*few["table"]}) == 60
    assert every["table"] is None
    assert few["steps"] == every["steps"] == 32 * 140 // 64
    assert few["learning_rate"] == 0.1


def test_scratch_sees_the_images_that_the_plane_saw(place, tmp_path):
    asked = probe(place, tmp_path)
    draw = asked.label_draws(str(place / "a.npz"))[1]
    indices = [int(e["index"]) for e in draw.examples()]
    assert [*asked.drawn(draw)] == indices


def test_finetune_and_scratch_train(place, tmp_path):
    tiny_encoder().save(tmp_path / "tiny.keras")
    flags = {"encoder": str(tmp_path / "tiny.keras"), "image_size": SIDE, "epochs": 8}
    (row,) = probe(place, tmp_path, kind="finetune", shares=(0.5,), draws=1, **flags).run()
    assert row["labels"] == 70
    assert row["accuracy"] > 0.8
    assert row["scratch_accuracy"] > 0.8


def test_draws_of_finetune_share_no_seed(place, tmp_path, monkeypatch):
    seeds = []
    own, scratch = (lambda s, spec, table, seed: seeds.append(seed) or 0.5 for _ in range(2))
    monkeypatch.setattr(Probe, "_finetuned", own)
    monkeypatch.setattr(Probe, "_scratch", scratch)
    for seed in (0, 1):
        probe(place, tmp_path, kind="finetune", shares=(0.5,), draws=2, seed=seed).run()
    assert seeds[::2] == seeds[1::2]
    assert len({*seeds}) == 4


def test_what_is_found_is_written_at_once(place, tmp_path, monkeypatch):
    kind = probe(place, tmp_path, kind="finetune", shares=(0.5, 1.0), draws=1)
    answers = iter([0.7, 0.6])
    monkeypatch.setattr(Probe, "_finetuned", lambda *a: next(answers))
    monkeypatch.setattr(Probe, "_scratch", lambda *a: next(answers))
    with pytest.raises(RuntimeError, match="StopIteration"):
        kind.run()
    (row,) = json.loads((tmp_path / "out/probe.json").read_text())["rows"]
    assert (row["labels"], row["accuracy"], row["scratch_accuracy"]) == (70, 0.7, 0.6)


def test_low_shot_has_a_row_for_each_number_of_labels(place, tmp_path, monkeypatch):
    seen, curves = trained(monkeypatch, encoder()), []
    answers = iter([0.2, 0.3, 0.4, 0.5, 0.6])
    monkeypatch.setattr(Probe, "_tested", lambda *a: next(answers))
    monkeypatch.setattr(chart, "lines", lambda x, *a, **k: curves.append(x) or np.zeros((4, 4, 3)))
    flags = {"kind": "low_shot", "shots": (1, 2, 8), "draws": 0, "controls": True}
    rows = probe(place, tmp_path, **flags).run()
    assert [(r["shots"], r["labels"]) for r in rows] == [(1, 3), (2, 6), (8, 24)]
    assert [r["draws"] for r in rows] == [5] * 3
    assert all(r["std"] is not None and 0 <= r["random_accuracy"] <= 1 for r in rows)
    assert [len({*settings["table"]}) for _, settings in seen] == [3, 6, 6, 24, 24]
    assert [getattr(head, "stage", head) for head, _ in seen] == [
        *["scratch", "stage2", "scratch", "stage2", "scratch"]
    ], "a head wants two images of each class"
    assert [r.get("finetuned_accuracy") for r in rows] == [None, 0.3, 0.5]
    assert curves[-1]["fine-tuned"] == {"2": [30.0], "8": [50.0]}
    assert curves[-1]["from scratch"] == {"1": [20.0], "2": [40.0], "8": [60.0]}
    for name, whose in (("frozen", ""), ("random init, frozen", "random_")):
        found = [row[f"{whose}accuracies"] for row in rows]
        assert [*curves[-1][name].values()] == [[100 * x for x in y] for y in found]
        assert [row[f"{whose}accuracy"] for row in rows] == pytest.approx([*np.mean(found, 1)])
    assert (tmp_path / "out/low_shot_a.png").is_file()


def test_retrieval_tells_and_draws_what_is_nearest(place, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(retrieved, "picture", lambda *a: drawn.append(a) or np.zeros((4, 4, 3)))
    run = probe(place, tmp_path, kind="retrieval")
    (row,) = run.run()
    assert row["stage"] == "stage2"
    assert len(row["stages"]) == 4
    assert row["stages"][0]["recall@1"] > 0.8, "stage1 shows colours"
    assert row["recall@1"] <= row["recall@5"] <= row["recall@10"]
    assert row["random_recall@1"] == row["stages"][3]["recall@1"]
    ((queries, answers, right),) = drawn
    assert right.shape == (8, 10)
    brightest = [image.mean((0, 1)).argmax() for image in queries]
    for kind, found, fine in zip(brightest, answers, right, strict=True):
        assert [image.mean((0, 1)).argmax() == kind for image in found] == [*fine]
    assert (tmp_path / "out/retrieval_a.png").is_file()


def test_invariance_has_a_row_for_each_change_and_a_picture(place, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(chart, "histograms", lambda *a, **k: drawn.append(a) or np.zeros((4, 4, 3)))
    rows = probe(place, tmp_path, kind="invariance").run()
    moved = {row["change"]: row for row in rows}
    assert {row["stage"] for row in rows} == {"stage2"}
    assert {row["images"] for row in rows} == {70}
    assert moved["order"]["distance"] is None, "stage2 is blind"
    assert moved["grey"]["stages"][0]["distance"] > 0.5, "stage1 shows colours"
    assert moved["order"]["stages"][0]["distance"] < 1e-5 < moved["cut"]["stages"][0]["distance"]
    ((panels, _),) = drawn
    assert [*panels] == [*moved]
    assert len(panels["order"]["random init"]) == 70
    assert (tmp_path / "out/invariance_a.png").is_file()
    with pytest.raises(UserError, match=r"--image_size: expected 6 .*Received: 5"):
        probe(place, tmp_path, kind="invariance", image_size=5).run()


def test_finetune_has_a_row_for_each_share_and_leaves_the_encoder_alone(
    place, tmp_path, monkeypatch
):
    seen = trained(monkeypatch, encoder())
    run = probe(place, tmp_path, kind="finetune", shares=(0.2, 1.0), draws=0, frozen_below="stage2")
    rows = run.run()
    assert [(r["labels"], r["std"], r["scratch_std"]) for r in rows] == [
        (28, None, None),
        (140, None, None),
    ]
    heads = [(head, settings) for head, settings in seen if head != "scratch"]
    assert [len(settings["table"]) for _, settings in heads] == [28, 140]
    for (head, settings), (_, other) in zip(heads, seen[1::2], strict=True):
        assert settings["frozen_below"] == "stage2"
        assert settings["learning_rate"] == 0.05
        np.testing.assert_array_equal(settings["table"], other["table"])
        assert head.encoder is not run.model
        assert head.stage == "stage2"
    few = probe(place, tmp_path, kind="finetune", shares=(1.0, 0.01))
    seen.clear()
    with pytest.raises(UserError, match=r"--shares: 0\.01 of .*two training images of each"):
        few.run()
    assert not seen, "it is said before the work"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"frozen_below": "stage7"}, "--frozen_below: expected a stage of .*stage2.*: stage7"),
        ({"encoder": ""}, "--encoder: expected a name.*Received: ''"),
        ({"encoder": "wolf"}, "--encoder: expected a name in the zoo.*Received: 'wolf'"),
        ({"dataset": "photos,/not/there"}, "--dataset: .*/not/there"),
        ({"draws": -1}, "--draws: expected 0 to .*Received: -1"),
        ({"workdir": " "}, "--workdir: expected a folder. Received: ' '"),
        ({"workdir": "/dev/null"}, "--workdir: expected a folder.*Received: /dev/null"),
    ],
)
def test_wrong_flags_are_refused_before_the_work(place, tmp_path, flags, words):
    with pytest.raises(UserError, match=words):
        probe(place, tmp_path, **flags).run()
    assert not (tmp_path / "out").exists()


def test_a_table_shows_shares_in_percent_and_what_is_not_there():
    rows = [{"name": "a", "accuracy": 0.5, "std": 0.01, "n": 5000}, {"name": "bcd", "n": 7}]
    shown = results.table(rows, {"name": "name", "n": "labels", "accuracy": "accuracy"})
    assert shown.splitlines() == [
        "name  labels       accuracy",
        "a      5,000  50.00% ± 1.00",
        "bcd        7              -",
    ]
