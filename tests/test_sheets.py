"""Run sheets: what their text says is what their flags do, and what their table says."""

import dataclasses
import functools
import importlib
import json
import pathlib
import re
import subprocess
import sys
import types

import pytest
from conftest import SHARED_DATA

from sslzoo import cli
from sslzoo.flags import idle, signature

ROOT = pathlib.Path(__file__).parents[1]
SHEETS = sorted((ROOT / "recipes").glob("*.flags"))
IMAGES = SHARED_DATA / "cifar10_medium.npz"  # the table's 25,000
SIGMA = 0.011  # of a score in the table
STEPS = re.compile(
    r"(SRGAN: )?([\d,]+) images, ([\d,]+) steps an epoch, ([\d,]+) in all"
    r"(?:; the rate drops after ([\d, and]+))?[.:]"
)
each_sheet = pytest.mark.parametrize("sheet", SHEETS, ids=lambda path: path.stem)


def recipe_of(sheet):
    """The recipe whose flags a sheet holds."""
    return max((name for name in cli.modules("recipes") if sheet.stem.startswith(name)), key=len)


@functools.cache
def parsed(sheet):
    """(what the command line gives `main`, all flags by name, the comments as one line)."""
    main = importlib.import_module(f"sslzoo.recipes.{recipe_of(sheet)}").main
    given = signature.parse(main, ["x", f"--flagfile={sheet}"])
    flags = {flag.name: flag.default for flag in signature.flags_of(main, given)}
    comments = [line[1:] for line in sheet.read_text().splitlines() if line.startswith("#")]
    return given, flags, " ".join(" ".join(comments).split())


def number(text):
    return int(text.replace(",", ""))


@each_sheet
def test_it_is_of_a_recipe_and_says_what_to_expect(sheet):
    given, _, text = parsed(sheet)
    signature.check(importlib.import_module(f"sslzoo.recipes.{recipe_of(sheet)}").main, given)
    assert given["run"].workdir.startswith(f"runs/{recipe_of(sheet)}")
    assert sheet.read_text().startswith("#")
    assert "xpected" in text or "no number to expect" in text
    assert not re.search(r"\b([A-Z])\1\b", text), "a number that was to be filled in"


@each_sheet
def test_each_of_its_flags_does_something(sheet):
    main = importlib.import_module(f"sslzoo.recipes.{recipe_of(sheet)}").main
    defaults = {flag.name: flag.default for flag in signature.flags_of(main)}
    assert not [*idle.idle(parsed(sheet)[1], defaults)]


def test_the_scenes_sheet_spells_out_the_default():
    given, _, _ = parsed(ROOT / "recipes/jigsaw_scenes.flags")
    main = importlib.import_module("sslzoo.recipes.jigsaw").main
    default = signature.parse(main, ["jigsaw"])
    assert given["puzzle"].keywords == default["puzzle"].keywords
    assert given["run"] == default["run"]


def test_a_folder_that_has_parts_is_given_whole():
    """`.../train` would lose a tenth of its images to the probe."""
    for sheet in SHEETS:
        assert pathlib.PurePath(parsed(sheet)[0]["run"].dataset).name not in ("train", "val")


# === Steps ===


@each_sheet
def test_the_steps_that_it_names_are_those_of_its_flags(sheet):
    given, flags, text = parsed(sheet)
    found = {bool(words[0]): words[1:] for words in STEPS.findall(text)}
    assert found.keys() == ({True, False} if flags.get("gan_epochs") else {False})
    for gan, (images, per_epoch, total, drops) in found.items():
        run = as_it_runs(given, number(images), gan)
        assert run.steps_per_epoch == number(per_epoch)
        assert run.epochs * run.steps_per_epoch == number(total)
        assert drops_of(run) == [number(n) for n in re.findall(r"[\d,]*\d", drops)]


def as_it_runs(given, images, gan=False):
    """The sheet's `Run`, or the one of its second part, with that many images."""
    changes = {}
    if gan:  # what `superres` hands to `Run.phase`
        epochs = given["gan_epochs"]
        changes = {"epochs": epochs, "schedule": "step", "decay_epochs": (epochs / 2,)}
    run = dataclasses.replace(given["run"], **changes)
    vars(run)["train_source"] = types.SimpleNamespace(size=images)
    return run


def drops_of(run):
    """The last steps before the learning rate falls at once, as its schedule has them."""
    if run.schedule == "cosine":
        return []
    rate, total = run.learning_rate_schedule(), run.epochs * run.steps_per_epoch
    body = getattr(rate, "schedule", rate)
    inside = [step for step in body.boundaries if step < total]
    assert all(float(rate(step + 1)) < 0.6 * float(rate(step)) for step in inside)
    return inside


# === What else it says ===

ENCODERS = {
    "AlexNet": "alexnet",
    "ResNet-50": "resnet50",
    "dilated network": "dilated_vgg",
    "`mini`": "mini",
}
WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
# What the text says -> what the flags `f` and the number of images `n` make of it.
CLAIMS = {
    r"[Ee]xpected on ([\d,]+) images": lambda f, n: [n],
    r"Quarters of the image \((\d+) px cells, (\d+) px tiles\)": lambda f, n: [
        f["crop"] // f["grid"],
        f["tile"],
    ],
    r"quarters of the image \((\d+) px cells, (\d+) px patches\)": lambda f, n: [
        f["puzzle"] // f["grid"],
        f["tile"],
    ],
    r"all (\d+) orders|with (\d+) permutations": lambda f, n: [f["num_permutations"]],
    r"in any order": lambda f, n: [] if f["num_permutations"] == 0 else None,
    r"[Ff]ull softmax": lambda f, n: [] if f["negatives"] == 0 else None,
    r"no mirroring": lambda f, n: None if f["flip"] else [],
    r"random regions": lambda f, n: [] if f["mask"] == "region" else None,
    r"reconstruction only": lambda f, n: None if f["adversarial"] else [],
    r"code's (\d+)\.": lambda f, n: [f["overlap"]],
    r"Patches of (\d+) px, (\d+) px apart": lambda f, n: [f["patch"], f["gap"]],
    r"Images are resized to (\d+) px": lambda f, n: [f["resize"], f["crop"]][:1],
    r"(\d+) clusters, anew before each epoch": lambda f, n: [f["k"]] * f["reassign"],
    r"(\d+) epochs are the authors' code": lambda f, n: [f["epochs"]],
    r"(\d+) epochs of (\d+) images": lambda f, n: [f["epochs"], f["batch_size"]],
    r"released code's \((\d+) epochs\)": lambda f, n: [f["epochs"]],
    r"so (\d+) epochs see fewer pairs": lambda f, n: [f["epochs"]],
    r"(\w+) epochs of four rotations each: ([\d,]+) turned images": lambda f, n: [
        f["epochs"],
        f["epochs"] * f["num_rotations"] * n,
    ],
    r"(\d+) images(?: are|,) (\d+) rows": lambda f, n: [
        f["batch_size"],
        f["batch_size"] * f["num_rotations"],
    ],
    r"for a batch of (\d+)": lambda f, n: [f["batch_size"]],
    r"its rate for (\d+) pairs": lambda f, n: [f["batch_size"]],
    r"(\d+) blocks, (\d+) channels": lambda f, n: [f["blocks"], f["width"]],
    r"its (\d+) held-back photographs, whole, x(\d)": lambda f, n: [f["scored_images"], f["scale"]],
    r"from (\d+) to (\d+) pixels": lambda f, n: [f["crop"] // f["scale"], f["crop"]],
    r"at (\d+) pixels": lambda f, n: [f["crop"]],
    r"at epochs (\d+) and (\d+)": lambda f, n: [*f["decay_epochs"]],
    r"The rate drops to ([\d.]+), ([\d.]+) and ([\d.]+)\.(?!\d)": lambda f, n: [
        round(f["learning_rate"] * f["decay_factor"] ** i, 9) for i in (1, 2, 3)
    ],
    r"memory bank takes (\d+) MB": lambda f, n: [round(n * f["dims"] * 4 / 1e6)],
    r"--resize=(\d+) --images": lambda f, n: [f["resize"]],
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_a_text_says_is_what_the_flags_do(claim):
    checked = 0
    for sheet in SHEETS:
        _, flags, text = parsed(sheet)
        images = number(STEPS.search(text)[2])
        for match in re.finditer(claim, text):
            said = [value(word) for word in match.groups() if word]
            assert said == CLAIMS[claim](flags, images), (sheet.stem, match[0])
            checked += 1
    assert checked, "no sheet says so any more"


def value(word):
    word = word.lower().replace(",", "")
    return WORDS[word] if word in WORDS else float(word)


@each_sheet
def test_the_encoder_that_it_names_is_the_one_it_trains(sheet):
    _, flags, text = parsed(sheet)
    for words, encoder in ENCODERS.items():
        if f"with {words}" in text or f"paper's {words}" in text or f": {words} on" in text:
            assert flags["encoder"].startswith(encoder)


# === The table ===


def rows():
    """The rows of the table that have a sheet: {sheet's name: cells}."""
    texts = (ROOT / "recipes/README.md").read_text()
    table = re.search(r"## What each sheet gives\n.*?\n\n(\|.*?)\n\n", texts, re.S)
    cells = [line.strip("| ").split(" | ") for line in table[1].splitlines()[2:]]
    sheets = {re.search(r"recipes/(\w+)\.flags|$", row[-1])[1]: row for row in cells}
    return {name: row for name, row in sheets.items() if name}


def percent(cell):
    return float(re.search(r"[\d.]+", cell)[0])


@pytest.mark.parametrize("name", rows())
def test_a_row_of_the_table_says_what_its_sheet_says(name):
    recipe, _, _, pretext, best, random, _ = rows()[name]
    recipe = recipe.split()[0]  # behind it the encoder, if it is another
    sheet = ROOT / f"recipes/{name}.flags"
    _, flags, text = parsed(sheet)
    assert recipe_of(sheet) == recipe
    said = re.search(r"best stage ([\d.]+) %, random init ([\d.]+) %", text)
    assert [percent(best), percent(random)] == [float(number) for number in said.groups()]
    if pretext[0].isdigit() or pretext.startswith(("kNN", "PSNR", "squared")):
        assert re.search(r"[\d.]+", pretext)[0] in text
    labels = re.search(r"\(([\d,]+) training labels,", (ROOT / "recipes/README.md").read_text())
    assert flags["probe_images"] == number(labels[1])


@pytest.mark.slow
@pytest.mark.skipif(not IMAGES.exists(), reason=f"wants {IMAGES}")
@pytest.mark.parametrize("name", rows())
def test_a_row_comes_out_again(name, tmp_path):
    """Minutes: `pytest -m slow -k reconstruction` runs one."""
    recipe, _, _, _, best, random, _ = rows()[name]
    recipe = recipe.split()[0]
    flags = [f"--flagfile={ROOT}/recipes/{name}.flags", f"--dataset={IMAGES}", "--workdir=run"]
    if recipe == "synthetic":
        flags += [f"--real_dataset={IMAGES}", f"--probe_dataset={IMAGES}", "--dataset=scenes"]
    if recipe == "colorization":
        prior = [ROOT / "tools/colour_prior.py", f"--dataset={IMAGES}", "--output=colours.npy"]
        subprocess.run([sys.executable, *prior], cwd=tmp_path, check=True)
        flags.append("--prior=colours.npy")
    command = [sys.executable, "-m", f"sslzoo.recipes.{recipe}", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / f"run/exported/{recipe}/card.json").read_text())["scores"]
    found = [max(row[key] for row in scores) for key in ("accuracy", "random_accuracy")]
    assert found == pytest.approx([percent(best) / 100, percent(random) / 100], abs=2 * SIGMA)
