"""`sslzoo compare`: budgets, run sheets, what is kept, the table; how fast a recipe is."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import mirrored, tiny_encoder

from sslzoo.commands import compare
from sslzoo.commands.compare import Compare
from sslzoo.errors import UserError
from sslzoo.pictures import leaderboard
from sslzoo.report import page, reading
from sslzoo.training import devices, trial
from sslzoo.training.run import Run
from sslzoo.training.trial import Speed

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def images(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)
    np.savez(
        tmp_path / "tiny.npz", x_train=x, y_train=np.arange(64) % 2, x_test=x[:8], y_test=[0, 1] * 4
    )
    return tmp_path / "tiny.npz"


# === Speed ===


@pytest.mark.parametrize(("minutes", "epochs"), [(1, 2), (0.9, 2), (0.8, 1), (10, 24), (0.001, 1)])
def test_a_budget_is_a_number_of_epochs_but_never_none(minutes, epochs):
    assert Speed(step=0.2, between=5.0, steps_per_epoch=100).epochs(minutes) == epochs


def test_a_recipe_is_timed_and_leaves_nothing(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial, "STEPS", 12)
    monkeypatch.setattr(Run, "new_encoder", lambda self: tiny_encoder())
    monkeypatch.setattr(devices, "mirrored", lambda spec: mirrored(1))
    flags = [f"--dataset={images}", "--resize=0", "--crop=16", "--batch_size=2", "--epochs=9"]
    speed = compare.speed_of("rotation", "wall", flags)
    assert speed.steps_per_epoch == 32
    assert 0 < speed.step < 5
    assert 0 < speed.between < 30
    monkeypatch.setitem(trial.CLOCKS, "cpu", iter(range(0, 100, 7)).__next__)
    few = compare.speed_of("rotation", "cpu", [*flags, "--batch_size=64"])
    assert few.steps_per_epoch == 1
    assert (few.between, few.step) == (7, 7)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.npz"]


# === Comparison ===


@pytest.fixture
def children(monkeypatch):
    """What `compare` starts, recipes whose names are in `broken` fail; they leave a card."""
    calls = []

    def child(arguments, log):
        calls.append(arguments)
        name = arguments[1].rpartition(".")[2]
        if name == "compare":
            log.write_text("starting\nerror: --crop: too large\n")
            speed = {"step": 0.5, "between": 0.0, "steps_per_epoch": 60}
            if arguments[2] not in child.broken:
                log.write_text(f"hello\n{json.dumps(speed)}\nsome library's last word\n")
            return arguments[2] not in child.broken
        sheet, seed, folder = (flag.partition("=")[2] for flag in arguments[2:])
        epochs = re.search(r"--epochs=(\d+)", pathlib.Path(sheet).read_text())[1]
        card = pathlib.Path(folder, "exported", name, "card.json")
        card.parent.mkdir(parents=True)
        pathlib.Path(folder, "log.csv").write_text(
            "epoch,seconds,cpu_seconds\n1,60,120\n2,75,120\n"
        )
        rows = [
            {"stage": "stage1", "dims": 8, "accuracy": 0.3, "random_accuracy": 0.2},
            {
                "stage": "stage2",
                "dims": 8,
                "accuracy": 0.5 + int(seed) / 10,
                "random_accuracy": 0.4,
            },
        ]
        rows[1]["accuracy"] += name == "jigsaw"
        about = {"flags": {"epochs": epochs}, "minutes": 9, "seed": int(seed)}
        card.write_text(json.dumps({**about, "scores": None if name == "bigan" else rows}))
        return True

    child.broken, child.calls, child.pages = (), calls, []
    monkeypatch.setattr(compare, "_child", child)
    monkeypatch.setattr(reading, "runs", lambda folders: folders)
    monkeypatch.setattr(page, "write", lambda *what: child.pages.append(what[:2]))
    return child


def started(children):
    return [
        (call[1].rpartition(".")[2], call[3].removeprefix("--seed="))
        for call in children.calls
        if "commands" not in call[1]
    ]


@pytest.mark.parametrize(
    ("clock", "minutes", "unit"), [("wall", "2.2", "minutes"), ("cpu", "4.0", "CPU minutes")]
)
def test_each_recipe_gets_the_epochs_that_fit_and_every_seed(
    images, tmp_path, children, clock, minutes, unit
):
    folder = tmp_path / "compare"
    settings = {"dataset": str(images), "recipes": ("rotation", "jigsaw"), "workdir": str(folder)}
    settings["clock"] = clock
    table = Compare(**settings, minutes=2, seeds=2, seed=3, probe_images=20, resize=18).run()
    sheet = (folder / "sheets/jigsaw.flags").read_text()
    flags = {f"--dataset={images}", "--resize=18", "--encoder=small", "--probe_images=20"}
    flags |= {"--probe_dataset=", "--probe_resize=0"}
    assert flags | {"--epochs=4"} <= {*sheet.splitlines()}
    assert started(children) == [
        ("rotation", "3"),
        ("jigsaw", "3"),
        ("rotation", "4"),
        ("jigsaw", "4"),
    ]
    rows = [line.strip("| ").split(" | ") for line in str(table).splitlines()[2:4]]
    assert rows[0] == [
        "jigsaw",
        "4",
        minutes,
        "**185.0 ± 7.1 %** (`stage2`)",
        "40.0 ± 0.0 %",
        "+145.0",
    ]
    assert rows[1][0] == "rotation"
    assert str(table).startswith(f"| recipe | epochs | {unit} |")
    assert f"\n2 {unit} of training for each run on" in str(table)
    assert [call[3] for call in children.calls if "commands" in call[1]] == [clock] * 2
    assert "64 training images, 20 labels, 8 test images; 2 runs each, seeds from 3" in str(table)
    assert (folder / "table.md").read_text() == f"{table}\n"
    lines = (folder / "table.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 2 * 2
    assert lines[-1].startswith("jigsaw,4,stage2,8,1.9,0.4")
    assert (folder / "stages.png").stat().st_size > 5000
    ((runs, file),) = children.pages
    assert {*runs} == {f"{folder}/jigsaw/seed3", f"{folder}/rotation/seed3"}
    assert file == folder / "report.html"


def test_the_same_command_goes_on_and_another_one_is_refused(images, tmp_path, children):
    settings = {
        "dataset": str(images),
        "recipes": ("npid", "jigsaw"),
        "workdir": str(tmp_path / "c"),
    }
    Compare(**settings, seeds=1).run()
    (tmp_path / "c/jigsaw/seed0/exported/jigsaw/card.json").unlink()
    (tmp_path / "c/jigsaw/seed0/exported/jigsaw").rmdir()
    children.calls.clear()
    Compare(**settings, seeds=1).run()
    assert started(children) == [("jigsaw", "0")]
    assert len(children.calls) == 1, "nothing is measured twice"
    with pytest.raises(UserError, match=r"--workdir: expected the flags .*Received: .*--minutes=3"):
        Compare(**settings, minutes=3).run()


def test_a_recipe_that_cannot_is_left_out_and_said(images, tmp_path, children, caplog):
    children.broken = ("npid",)
    with caplog.at_level("WARNING", logger="absl"):
        table = Compare(
            dataset=str(images), recipes=("npid", "jigsaw"), workdir=str(tmp_path / "c")
        ).run()
    assert [*table.cards] == ["jigsaw"]
    assert "npid is left out: error: --crop: too large" in caplog.text


def test_a_run_that_could_not_be_probed_is_left_out_and_said(images, tmp_path, children, caplog):
    settings = {"dataset": str(images), "recipes": ("bigan", "jigsaw")}
    with caplog.at_level("WARNING", logger="absl"):
        table = Compare(**settings, workdir=str(tmp_path / "c")).run()
    assert [*table.cards] == ["jigsaw"]
    assert "bigan is left out: no probe" in caplog.text


def test_a_signal_is_handed_on_to_the_child_which_ends_in_its_own_way(tmp_path):
    """It is in a session of its own, so that Ctrl-C reaches it once."""
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # if ignored
    script = f"""{listen}
import time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    print("saved", flush=True)
"""
    parent = f"""{listen}
import pathlib
from sslzoo.commands.compare import _child
_child(["-c", {script!r}], pathlib.Path("log.txt"))
"""
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path, stderr=subprocess.PIPE)
    while not (tmp_path / "log.txt").exists() or "ready" not in (tmp_path / "log.txt").read_text():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert (tmp_path / "log.txt").read_text() == "ready\nsaved\n"
    assert process.returncode


def test_sheets_are_found_by_their_recipes_names(tmp_path):
    chosen = Compare(sheets=f"{ROOT}/recipes/*_cifar10.flags").chosen
    assert pathlib.Path(chosen["relative_patch"]).name == "relative_patch_cifar10.flags"
    assert "colorization" in chosen
    some = Compare(sheets=f"{ROOT}/recipes/*_cifar10.flags", recipes=("npid", "synthetic")).chosen
    assert [*some] == ["npid", "synthetic"]


def test_who_renders_its_own_images_takes_these_as_real(images, tmp_path):
    flags = Compare(dataset=str(images), workdir=str(tmp_path))._flags("synthetic")
    assert f"--real_dataset={images}" in flags
    assert f"--probe_dataset={images}" in flags
    assert not [flag for flag in flags if flag.startswith("--dataset")]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"recipes": ("puzzle",)}, "--recipes: expected some of bigan.*Received: puzzle"),
        ({"sheets": "nowhere/*.flags"}, "--sheets: expected a pattern"),
        ({"minutes": 0}, "--minutes: expected more than 0"),
        ({"dataset": "nowhere"}, "--dataset: expected.*nowhere"),
        ({"readme": "nowhere.md"}, "--readme: expected a Markdown file"),
        ({"workdir": " "}, "--workdir"),
    ],
)
def test_wrong_flags_are_said_before_the_long_work(settings, expected, children):
    with pytest.raises(UserError, match=expected):
        Compare(**settings).run()
    assert not children.calls


# === Table ===


def test_the_table_takes_its_place_between_the_markers(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"# Title\n{leaderboard.MARKERS[0]}\nold\n{leaderboard.MARKERS[1]}\nend\n")
    leaderboard.Table({}, "What it is of").put_into(path)
    text = path.read_text()
    assert text.startswith(f"# Title\n{leaderboard.MARKERS[0]}\n| recipe |")
    assert text.endswith(f"What it is of\n{leaderboard.MARKERS[1]}\nend\n")
    assert "old" not in text
