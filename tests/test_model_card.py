"""What a card says in words follows from its numbers; its command makes the encoder again."""

import csv
import importlib
import json
import shlex
import subprocess

import keras
import numpy as np
import pytest
from conftest import tiny_encoder
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_pipeline import RECIPES, TINY
from toy import UpsideDown

from sslzoo import data, training
from sslzoo.commands import classify
from sslzoo.export import model_card
from sslzoo.flags import signature
from sslzoo.training import Run, remade

SETS = {"dataset": {"name": "cats.npz", "images": 25000}}
PROBE = {"dataset": "dogs.npz", "labels": 5000, "draws": 3, "test_images": 2000}


def main_of(recipe):
    return importlib.import_module(f"sslzoo.recipes.{recipe}").main


def texts(main, given=None):
    """All flags of a recipe as text, as `cli.recipe` hands them to `Run.start`."""
    return signature.texts(signature.flags_of(main, given))


def commanded(recipe, *flags):
    """(the words of the command of a card, what its run was told)."""
    main = main_of(recipe)
    told = texts(main, signature.parse(main, [recipe, *flags]))
    return shlex.split(remade.command(recipe, told, texts(main))), told


# === The command ===


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_command_of_every_recipe_gives_its_flags_back(recipe):
    flags = ["--workdir=runs/x", "--epochs=3", "--formats=onnx,litert", *TINY[recipe]]
    words, told = commanded(recipe, *flags)
    assert words[:3] == ["python", "-m", f"sslzoo.recipes.{recipe}"]
    again = texts(main_of(recipe), signature.parse(main_of(recipe), words[2:]))
    assert again == told | {"workdir": again["workdir"]}
    assert again["workdir"] != "runs/x", "where it is done is the reader's business"


def test_the_command_has_no_flag_at_its_default_and_none_twice():
    main = main_of("rotation")
    encoder = texts(main)["encoder"]
    flags = ["--dataset=cats", f"--encoder={encoder}", "--workdir=runs/x", "--noflip", "--pad=4"]
    words, _ = commanded("rotation", *flags)
    assert words[2:] == ["sslzoo.recipes.rotation", "--dataset=cats", "--flip=False", "--pad=4"]
    assert commanded("rotation")[0] == ["python", "-m", "sslzoo.recipes.rotation"]


HARD = 'my cats\' "best" $HOME `ls` *; --seed=9 \\ #'
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    dataset=NAMES,
    epochs=st.lists(st.floats(0, 1e6), max_size=3),
    rate=st.floats(1e-9, 1e3),
    flip=st.booleans(),
    schedule=st.sampled_from(["constant", "cosine", "step"]),
)
@example(
    dataset=HARD,
    epochs=[30.0, 60.5],
    rate=1e-05,
    flip=False,
    schedule="step",
)
def test_whatever_a_flag_holds_comes_back(dataset, epochs, rate, flip, schedule):
    flags = [f"--dataset={dataset}", f"--decay_epochs={','.join(map(str, epochs))}"]
    flags += [f"--learning_rate={rate}", f"--flip={flip}", f"--schedule={schedule}"]
    words, told = commanded("rotation", *flags)
    again = texts(main_of("rotation"), signature.parse(main_of("rotation"), words[2:]))
    assert again == told
    assert (again["dataset"], again["learning_rate"]) == (dataset, str(rate))


def test_a_shell_reads_it_as_it_was():
    line = remade.command("rotation", {"dataset": HARD, "seed": "1"}, {})
    told = subprocess.run(["sh", "-c", f"printf '%s\n' {line}"], capture_output=True, text=True)
    assert told.stdout.splitlines()[3:] == [f"--dataset={HARD}", "--seed=1"]


def test_a_recipe_of_ones_own_is_a_file():
    assert remade.command("toy", {"seed": "1"}, {"seed": "0"}) == "python toy.py --seed=1"
    assert remade.command("../recipes/toy", {}, {}) == "python ../recipes/toy.py"


# === The clock ===


def test_cpu_minutes_are_those_of_all_epochs_of_all_phases(tmp_path):
    for name, seconds in (("run", (60, 45.5)), ("run/srgan", (30.25,))):
        (tmp_path / name).mkdir()
        rows = [f"{epoch},{value}\n" for epoch, value in enumerate(seconds)]
        (tmp_path / name / "log.csv").write_text("".join(["epoch,cpu_seconds\n", *rows]))
    folders = [str(tmp_path / name) for name in ("run", "run/srgan")]
    assert remade.minutes(folders[:1], "cpu_seconds") == pytest.approx(105.5 / 60)
    assert remade.minutes(folders, "cpu_seconds") == pytest.approx(135.75 / 60)


@pytest.mark.parametrize(
    "log",
    [
        "epoch,seconds\n1,60\n",
        "epoch,cpu_seconds\n1,60\n2,\n",
        "epoch,cpu_seconds\n1,60\n2\n",
        None,
    ],
)
def test_a_log_that_does_not_say_it_all_says_nothing(log, tmp_path):
    if log is not None:
        (tmp_path / "log.csv").write_text(log)
    assert remade.minutes([str(tmp_path)], "cpu_seconds") is None


# === The words ===


def test_an_encoder_is_for_what_it_was_trained_on_and_no_classifier():
    card = model_card.of_encoder({**SETS, "probe": PROBE, "seed": 3}, 32)
    assert "images like those of cats.npz" in card["intended_use"]
    assert "32 x 32 pixels" in card["intended_use"]
    assert "not classes" in card["intended_use"]
    trained, scored, inherited = card["limits"]
    assert trained.startswith("Trained on 25,000 images of cats.npz, without class labels.")
    assert "5,000 labels of dogs.npz in each of 3 draws, on 2,000 test images" in scored
    assert "one seed, on one machine" in scored
    assert "biases" in inherited
    assert (card["seed"], card["dataset"]) == (3, SETS["dataset"]), "what was there is there"


def test_an_encoder_that_was_not_probed_says_so():
    limits = model_card.of_encoder(SETS, 32)["limits"]
    assert "Not probed: what it is worth is not known." in limits
    once = model_card.of_encoder({**SETS, "probe": {**PROBE, "draws": 1}}, 32)["limits"]
    assert "dogs.npz in one draw, on" in " ".join(once)


def test_a_licence_is_ours_and_no_data_sets():
    """Whose images else there were is named; what they allow is not made up."""
    licence = model_card.of_encoder(SETS, 32)["licence"]
    assert licence.startswith("Code and weights: Apache-2.0, as the LICENSE of sslzoo.")
    assert "The images of cats.npz have terms of their own, which are not recorded" in licence
    second = {"second_dataset": {"name": "photos", "images": 3000}}
    start = {"started_from": {"encoder": "lion", "dataset": {"name": "zebras", "images": 1}}}
    card = model_card.of_encoder({**SETS, **second, **start}, 32)
    assert "of cats.npz and of photos and of zebras have terms" in card["licence"]
    assert "started from, lion," in card["licence"]
    said = " ".join(card["limits"])
    assert "25,000 images of cats.npz and 3,000 squares of a few photographs (photos)" in said
    assert "It started from lion, trained on 1 image of zebras" in said


def test_rendered_scenes_have_no_terms_of_others():
    rendered = {"dataset": {"name": "scenes:96", "images": 96}}
    card = model_card.of_encoder(rendered, 64)
    assert "terms" not in card["licence"]
    assert "rendered by sslzoo itself" in card["licence"]
    assert "96 rendered scenes (scenes:96)" in card["limits"][0]
    start = {"started_from": {"encoder": "resnet50:imagenet"}}
    assert "resnet50:imagenet" in model_card.of_encoder({**rendered, **start}, 64)["licence"]


CLASSIFIER = {
    "dataset": {"name": "cats.npz", "images": 900, "test_images": 400},
    "classes": ["tabby", "lynx"],
    "labels": 300,
    "flags": {"finetune": "False", "head": "linear"},
    "scores": [{"accuracy": 0.583, "random_accuracy": 0.469, "majority_accuracy": 0.1}],
}


def test_a_classifier_names_classes_labels_and_what_its_accuracy_stands_beside():
    animal = {"recipe": "rotation", "dataset": {"name": "dogs.npz", "images": 25000}}
    card = model_card.of_classifier({**CLASSIFIER, "encoder": animal}, 32)
    assert "2 classes" in card["intended_use"]
    assert card["intended_use"].endswith("at about 32 x 32 pixels: tabby, lynx.")
    said = " ".join(card["limits"])
    assert "58.3 % of 400 test images were right, beside 46.9 % from a random-init encoder" in said
    assert "10.0 % by always answering the commonest class" in said
    flags = {"finetune": "True", "head": "linear"}
    through = model_card.of_classifier({**CLASSIFIER, "flags": flags}, 32)["limits"][1]
    assert "beside 46.9 % by the same network trained from scratch" in through
    assert "300 of 900 labelled images of cats.npz" in said
    assert "recipe rotation, trained on 25,000 images of dogs.npz" in said
    assert "of cats.npz and of dogs.npz have terms" in card["licence"]


@pytest.mark.parametrize(
    "encoder",
    [
        {},
        {"recipe": None, "dataset": None},
        {"dataset": {"images": 3}},
        {"dataset": {"name": ""}},
        {"recipe": "x", "dataset": {"name": "dogs", "images": "many"}},
    ],
)
def test_an_encoder_of_which_little_is_known_is_no_error(encoder):
    card = model_card.of_classifier({**CLASSIFIER, "encoder": encoder}, 32)
    known = "dogs" in str(encoder)
    assert ("What its encoder was trained on is not known." in card["limits"]) != known
    assert ("dogs" in card["licence"]) == known


def test_of_many_classes_some_are_named():
    classes = [f"class{i}" for i in range(1000)]
    use = model_card.of_classifier({**CLASSIFIER, "classes": classes}, 32)["intended_use"]
    assert "1,000 classes" in use
    assert use.endswith("class19 and 980 more.")


def test_a_painter_is_no_evidence():
    card = model_card.of_painter(SETS)
    assert "made up" in card["limits"][0]
    assert {"intended_use", "limits", "licence"} <= card.keys()


# === In a run ===


def test_a_run_leaves_all_of_it_in_its_card(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)
    y = np.arange(64) % 2
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    np.savez(tmp_path / "real.npz", x_train=x[:9])
    settings = {"epochs": 2, "batch_size": 8, "probe_images": 30}
    run = Run(dataset=str(tmp_path / "x.npz"), workdir=str(tmp_path / "run"), **settings)
    run.start("toy", {"epochs": "2", "seed": "0"}, {"epochs": "20", "seed": "0"})
    with run.scope():
        pretext = UpsideDown(tiny_encoder())
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        pretext.compile(keras.optimizers.SGD(0.05), loss, metrics=["accuracy"])
    pair = data.Paired(run.train_source, data.load(str(tmp_path / "real.npz")))
    training.pretrain(pretext, run, source=pair)
    pixels = keras.Input((None, None, 3))
    painter = keras.Model(pixels, keras.layers.Rescaling(1.0)(pixels), name="painter")
    run.finish(pretext, image_model=painter)
    cards = (tmp_path / "run/exported" / name / "card.json" for name in ("toy", "toy_painter"))
    card, of_painter = (json.loads(file.read_text()) for file in cards)
    assert card["command"] == of_painter["command"] == "python toy.py --epochs=2"
    log = csv.DictReader((tmp_path / "run/log.csv").read_text().splitlines())
    assert card["cpu_minutes"] == round(sum(float(row["cpu_seconds"]) for row in log) / 60, 1)
    expected = {"dataset": run.dataset, "labels": 30, "draws": 3, "test_images": 20}
    assert card["probe"] == expected
    assert card["second_dataset"] == {"name": str(tmp_path / "real.npz"), "images": 9}
    assert "16 x 16 pixels" in card["intended_use"]
    assert len(card["limits"]) == 3
    assert "no evidence" in of_painter["limits"][0]
    assert "probe" not in of_painter
    assert card["licence"] == of_painter["licence"]


def test_a_phase_counts_as_part_of_its_run(tmp_path):
    x = np.zeros((8, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "x.npz", x_train=x, x_test=x)
    flags = {"workdir": str(tmp_path / "run")}
    run = Run(dataset=str(tmp_path / "x.npz"), batch_size=8, probe_images=0, **flags)
    run.start("toy", flags)
    second = run.phase("srgan")
    assert run.folders == [run.workdir, second.workdir]
    assert remade.command("toy", second.flags, {}) == "python toy.py"


def test_the_command_of_a_classifier_gives_its_flags_back():
    given = classify.Classify(encoder="my lion", finetune=True, flip=False, workdir="runs/x")
    flags = texts(classify.main, {"classify": given})
    line = model_card.command(["sslzoo", "classify"], flags, texts(classify.main))
    words = shlex.split(line)
    assert words == ["sslzoo", "classify", "--encoder=my lion", "--finetune=True", "--flip=False"]
    parsed = signature.parse(classify.main, words[1:])
    assert texts(classify.main, parsed) == flags | {"workdir": "runs/classifier"}
