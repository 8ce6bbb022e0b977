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

from sslzoo import export, probes
from sslzoo.commands.compare import Compare
from sslzoo.comparison import child, controls, leaderboard, trial
from sslzoo.comparison.trial import Speed
from sslzoo.errors import UserError
from sslzoo.report import page, reading
from sslzoo.training import devices
from sslzoo.training.run import Run

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
    speed = trial.speed_of("rotation", "wall", flags)
    assert speed.steps_per_epoch == 32
    assert 0 < speed.step < 5
    assert 0 < speed.between < 30
    monkeypatch.setitem(trial.CLOCKS, "cpu", iter(range(0, 100, 7)).__next__)
    few = trial.speed_of("rotation", "cpu", [*flags, "--batch_size=64"])
    assert few.steps_per_epoch == 1
    assert (few.between, few.step) == (7, 7)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.npz"]


# === Comparison ===


@pytest.fixture
def children(monkeypatch):
    """What `compare` starts, recipes whose names are in `broken` fail; they leave a card."""
    calls = []

    def run(arguments, log):
        calls.append(arguments)
        name = arguments[1].rpartition(".")[2]
        if name == "trial":
            log.write_text("starting\nerror: --crop: too large\n")
            speed = {"step": 0.5, "between": 0.0, "steps_per_epoch": 60}
            if arguments[2] not in run.broken:
                log.write_text(f"hello\n{json.dumps(speed)}\nsome library's last word\n")
            return arguments[2] not in run.broken
        if name == "controls":
            given = json.loads(arguments[2])
            accuracy = 0.4 + 0.3 * (given["labels"] == 0) + given["seed"] / 100
            found = {"labels": given["labels"], "epochs": 7, "minutes": 2, "accuracy": accuracy}
            log.write_text(json.dumps(found))
            return True
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

    run.broken, run.calls, run.pages = (), calls, []
    monkeypatch.setattr(child, "run", run)
    monkeypatch.setattr(reading, "runs", lambda folders: folders)
    monkeypatch.setattr(page, "write", lambda *what: run.pages.append(what[:2]))
    return run


def started(children):
    return [
        (call[1].rpartition(".")[2], call[3].removeprefix("--seed="))
        for call in children.calls
        if "recipes" in call[1]
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
    flags |= {"--probe_dataset=", "--probe_resize=60"}  # of the crop: whole images, none cut
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
    assert [call[3] for call in children.calls if "trial" in call[1]] == [clock] * 2
    assert "64 training images, 20 labels, 8 test images; 2 runs each, seeds from 3" in str(table)
    assert (folder / "table.md").read_text() == f"{table}\n"
    lines = (folder / "table.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 2 * 2 + 2 * 2
    assert lines[-5].startswith("jigsaw,4,stage2,8,1.9,0.4")
    assert (folder / "stages.png").stat().st_size > 5000
    ((runs, file),) = children.pages
    assert {*runs} == {f"{folder}/jigsaw/seed3", f"{folder}/rotation/seed3"}
    assert file == folder / "report.html"


def test_beside_the_recipes_stands_what_labels_alone_give(images, tmp_path, children):
    settings = {"dataset": str(images), "recipes": ("rotation", "jigsaw"), "clock": "cpu"}
    settings |= {"minutes": 2, "seeds": 2, "probe_images": 20, "workdir": str(tmp_path / "c")}
    table = Compare(**settings).run()
    few, every = str(table).splitlines()[4:6]
    assert few == "| from scratch, the same labels | 7 | 2.0 | 40.5 ± 0.7 % | | |"
    assert every == "| from scratch, all labels | 7 | 2.0 | 70.5 ± 0.7 % | | |"
    lines = (tmp_path / "c/table.csv").read_text().splitlines()
    assert '"from scratch, all labels",1,,,0.71,,,' in lines
    given = [json.loads(call[2]) for call in children.calls if "controls" in call[1]]
    assert [(one["labels"], one["seed"]) for one in given] == [(20, 0), (0, 0), (20, 1), (0, 1)]
    assert given[0] == {
        "encoder": f"{tmp_path}/c/jigsaw/seed0/exported/jigsaw",
        "dataset": str(images),
        "data_dir": "",
        "labels": 20,
        "minutes": 2,
        "clock": "cpu",
        "seed": 0,
    }
    children.calls.clear()
    Compare(**settings).run()
    assert not children.calls, "they are kept"
    settings |= {"controls": False, "workdir": str(tmp_path / "d")}
    assert "scratch" not in str(Compare(**settings).run())
    assert "scratch, the" not in str(
        Compare(**{**settings, "controls": True, "probe_images": 64, "workdir": "c2"})._controls
    )


def test_a_control_is_trained_on_its_labels_alone_for_its_minutes(images, monkeypatch):
    calls = []

    def scratch(model, source, classes, side, seed, watched_by=(), **settings):
        calls.append(settings)
        for watch in watched_by:  # a step takes a tenth of a second, but for the first
            watch.on_train_begin()
            now[0] += 6
            for step in range(settings["steps"]):
                now[0] += 0.1
                watch.on_train_batch_end(step)
            watch.on_train_end()
        now[0] += settings["steps"] / 10
        return Head()

    class Head(probes.Head):
        def __init__(self):
            pass

        def predict(self, examples):
            assert examples.element_spec["image"].shape == (16, 16, 3)
            labels = np.array([e["label"] for e in examples.as_numpy_iterator()])
            return labels, np.zeros_like(labels)

    now = [0.0]
    monkeypatch.setitem(trial.CLOCKS, "cpu", lambda: now[0])
    monkeypatch.setattr(controls.probes, "scratch", scratch)
    monkeypatch.setattr(controls.zoo, "open_encoder", lambda name: (name, {"image_size": 16}))
    given = {"dataset": str(images), "data_dir": "", "minutes": 2, "clock": "cpu", "seed": 1}
    found = controls.from_scratch("mini", **given, labels=20)
    assert found.pop("minutes") == pytest.approx(2, abs=0.01)
    assert found == {"labels": 20, "epochs": pytest.approx(3840, abs=4), "accuracy": 0.5}
    assert calls[0]["steps"] == trial.STEPS
    assert calls[1]["steps"] == pytest.approx(1200, abs=1)
    assert [one.get("choose", True) for one in calls] == [False, True]
    run = Run(dataset=str(images), resize=0, probe_images=20, seed=1)
    seen = run._probe_examples(run.labelled, 16)["train"][0]
    assert [*calls[-1]["table"]] == [int(e["index"]) for e in seen]
    controls.from_scratch("mini", **given, labels=0)
    assert [*calls[-1]["table"]] == [*range(64)]


def test_a_control_learns(tmp_path, monkeypatch):
    """For real: dark and bright images are told apart, by a network that has seen none."""
    monkeypatch.setattr(trial, "STEPS", 12)
    y = np.arange(64) % 2
    x = np.random.default_rng(0).integers(0, 128, (64, 16, 16, 3)).astype(np.uint8)
    x = (x + 127 * y[:, None, None, None]).astype(np.uint8)
    np.savez(tmp_path / "two.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    path = tmp_path / "exported/tiny"
    export.save(tiny_encoder(), path, image_size=16)
    given = {"encoder": str(path), "dataset": str(tmp_path / "two.npz"), "data_dir": ""}
    found = controls.from_scratch(**given, labels=40, minutes=0.03, clock="cpu", seed=0)
    assert found["accuracy"] > 0.9
    assert found["labels"] == 40


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
    with pytest.raises(
        UserError, match=r"--workdir: expected the command .*Received: .*--minutes=3"
    ):
        Compare(**settings, minutes=3).run()
    Compare(**settings, minutes=10).run()  # as the default, but no float


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("command.txt", b"\xff\xfe\x00"),
        ("controls/from_scratch_all_labels_0.json", b""),
        ("jigsaw/seed0/exported/jigsaw/card.json", b"{"),
    ],
)
def test_a_damaged_file_is_named(images, tmp_path, children, name, content):
    settings = {"dataset": str(images), "recipes": ("jigsaw",), "workdir": str(tmp_path / "c")}
    Compare(**settings).run()
    (tmp_path / "c" / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: expected .*Received: ") as error:
        Compare(**settings).run()
    assert "\n" not in str(error.value)


def test_more_seeds_add_to_what_is_there_and_controls_stay_of_one_network(
    images, tmp_path, children
):
    settings = {"dataset": str(images), "recipes": ("rotation", "jigsaw"), "probe_images": 64}
    settings["workdir"] = str(tmp_path / "c")
    assert "; 1 run each, seeds from 0: `" in str(Compare(**settings).run())
    card = tmp_path / "c/rotation/seed0/exported/rotation/card.json"
    card.write_text(card.read_text().replace("0.5", "9.5"))  # it is ahead now
    children.calls.clear()
    more = Compare(**settings, seeds=2)
    table = str(more.run())
    assert started(children) == [("rotation", "1"), ("jigsaw", "1")]
    given = [json.loads(call[2]) for call in children.calls if "controls" in call[1]]
    assert [(pathlib.Path(one["encoder"]).name, one["seed"]) for one in given] == [("jigsaw", 1)]
    assert "; 2 runs each, seeds from 0: `" in table
    assert " --seeds=2 " in table
    with pytest.raises(UserError, match=r"began with, .* --seeds=2 .* or more --seeds"):
        Compare(**settings).run()
    (tmp_path / "c/jigsaw/seed1/exported/jigsaw/card.json").unlink()
    assert "; 1 to 2 runs each, seeds from 0: `" in more.caption


def test_a_recipe_that_cannot_is_left_out_and_said(images, tmp_path, children, caplog):
    children.broken = ("npid",)
    with caplog.at_level("INFO", logger="absl"):
        table = Compare(
            dataset=str(images), recipes=("npid", "jigsaw"), workdir=str(tmp_path / "c")
        ).run()
    assert [*table.cards] == ["jigsaw"]
    assert "npid is left out: --crop: too large" in caplog.text
    said = [text for text in caplog.messages if re.search("1 of ", text)]
    assert ["npid" in text for text in said] == [False]


def test_controls_come_when_all_recipes_have_their_seeds(images, tmp_path, children, monkeypatch):
    """With the second seed rotation overtakes jigsaw."""
    settings = {"recipes": ("rotation", "jigsaw"), "seeds": 2, "workdir": str(tmp_path / "c")}
    run = child.run

    def overtaken(arguments, log):
        ended = run(arguments, log)
        if "rotation/seed1" in arguments[-1]:
            (card,) = tmp_path.glob("c/rotation/seed1/exported/rotation/card.json")
            card.write_text(card.read_text().replace("0.6", "9.6"))
        return ended

    monkeypatch.setattr(child, "run", overtaken)
    Compare(**settings, dataset=str(images), probe_images=64).run()
    given = [json.loads(call[2]) for call in children.calls if "controls" in call[1]]
    assert [one["encoder"].split("/")[-1] for one in given] == ["rotation", "rotation"]


def test_an_encoder_that_no_recipe_knows_is_an_error_and_leaves_the_folder_free(
    images, tmp_path, children
):
    settings = {
        "dataset": str(images),
        "recipes": ("npid", "jigsaw"),
        "workdir": str(tmp_path / "c"),
    }
    children.broken = settings["recipes"]
    with pytest.raises(UserError, match=r"^no recipe could be started: --crop: too large$"):
        Compare(**settings, encoder="unheard").run()
    assert not started(children)
    children.broken = ()
    assert {*Compare(**settings).run().cards} == {"npid", "jigsaw"}


@pytest.mark.parametrize("module", ["trial", "controls"])
def test_a_child_says_what_the_user_can_put_right_in_one_line(images, tmp_path, module):
    """For real, in a process of its own."""
    line = ["rotation", "cpu", "--encoder=unheard", f"--dataset={images}"]
    if module == "controls":
        given = {"encoder": "unheard", "dataset": str(images), "data_dir": "", "labels": 0}
        line = [json.dumps({**given, "minutes": 1, "clock": "cpu", "seed": 0})]
    assert not child.run(["-m", f"sslzoo.comparison.{module}", *line], tmp_path / "log.txt")
    assert "Traceback" not in (tmp_path / "log.txt").read_text()
    expected = r"(--encoder: expected one of .*|a name in the zoo .*)Received: 'unheard'"
    assert re.fullmatch(expected, child.reason(tmp_path / "log.txt"))


def test_what_a_child_tells_is_its_answer(tmp_path):
    script = (
        "from sslzoo.comparison import child; print('hello'); child.tell(lambda: {'a': [1, 2.5]})"
    )
    assert child.run(["-c", script], tmp_path / "log.txt")
    assert child.answer(tmp_path / "log.txt") == {"a": [1, 2.5]}


def test_a_table_of_nothing_is_an_error(images, tmp_path, children):
    settings = {"dataset": str(images), "recipes": ("bigan",), "workdir": str(tmp_path / "c")}
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results -->\nof before\n<!-- /results -->\n")
    with pytest.raises(UserError, match=f"no run has ended with a probe.*{tmp_path}/c/logs"):
        Compare(**settings, readme=str(readme)).run()
    assert "of before" in readme.read_text()


def test_a_log_that_does_not_say_the_time_is_named(images, tmp_path, children):
    settings = {"dataset": str(images), "recipes": ("jigsaw",), "workdir": str(tmp_path / "c")}
    Compare(**settings).run()
    log = tmp_path / "c/jigsaw/seed0/log.csv"
    log.write_text("epoch,cpu_seconds\n1,60\n")
    with pytest.raises(UserError, match=f"{log}: expected a column seconds"):
        Compare(**settings).run()


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
from sslzoo.comparison import child
child.run(["-c", {script!r}], pathlib.Path("log.txt"))
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
