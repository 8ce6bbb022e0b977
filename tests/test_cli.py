"""The command line is the recipe's signature; what a user does wrong is one line."""

import gc
import importlib
import os
import pathlib
import subprocess
import sys
import typing
from functools import partial
from typing import Literal

import keras
import pytest

from sslzoo import cli
from sslzoo.commands import list as list_command
from sslzoo.commands import train
from sslzoo.errors import UserError
from sslzoo.flags import quick_import, ranges, signature
from sslzoo.recipes import jigsaw
from sslzoo.training import Run

RECIPES = [f"recipes.{name}" for name in cli.modules("recipes")]
ROOT = pathlib.Path(__file__).parents[1]
HEAVY = (
    "tensorflow_datasets",
    "sklearn.",
    "scipy.stats",
    "matplotlib.figure",
    "tensorboard",
    "skimage",
)


def shell(*arguments, cwd=None, **env):
    env = {**os.environ, **env}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def parse(*flags):
    return signature.parse(jigsaw.main, ["jigsaw", *flags])


def ours(stderr):
    """The lines that are not TensorFlow's start-up noise."""
    return [
        line for line in stderr.splitlines() if line.startswith(("error", "Traceback", "  File"))
    ]


def test_flags_have_the_types_of_the_signature():
    settings = parse("--epochs=3", "--learning_rate=0.5", "--decay_epochs=1,2.5", "--nobatch_norm")
    run = settings["run"]
    assert (run.epochs, run.learning_rate, run.decay_epochs) == (3, 0.5, (1.0, 2.5))
    assert settings["puzzle"].keywords["batch_norm"] is False
    assert run.workdir == "runs/jigsaw"
    assert settings["puzzle"].keywords["grid"] == 3


def test_words_stand_before_flags_and_are_all_of_it_where_there_are_no_flags():
    def both(*words: str, size: ranges.Count = 3):
        """Words and a flag."""
        seen.append((words, size))

    def words(*words: str):
        """Words alone."""
        seen.append(words)

    def flags(size: ranges.Count = 3):
        """A flag alone."""

    seen = []
    for line in (["x", "a", "b", "--size=5"], ["x", "--size=5"], ["x", "a"]):
        cli.call(both, line)
    cli.call(words, ["x", "a", "--size=5"])
    assert seen == [(("a", "b"), 5), ((), 5), (("a",), 3), ("a", "--size=5")]
    with pytest.raises(UserError, match=r"expected flags, --name=value\. Received: b"):
        cli.call(both, ["x", "a", "--size=5", "b"])
    with pytest.raises(UserError, match=r"expected flags, --name=value\. Received: a"):
        cli.call(flags, ["x", "a"])
    with pytest.raises(UserError, match="--size: expected 1 to"):
        cli.call(both, ["x", "a", "--size=0"])


def test_a_flag_file_may_hold_comments(tmp_path):
    file = tmp_path / "sheet.flags"
    file.write_text("# one machine, three minutes\n--grid=2\n\n--epochs=7\n")
    settings = parse(f"--flagfile={file}", "--epochs=8")
    assert settings["puzzle"].keywords["grid"] == 2
    assert settings["run"].epochs == 8


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--nope=1"], "Unknown command line flag 'nope'"),
        (["--epochs=many"], "epochs"),
        (["--xla=perhaps"], "<auto|on|off>"),
        (["--decay_epochs=1,b"], "--decay_epochs: expected numbers separated by commas"),
        (["runs/x"], "expected flags, --name=value. Received: runs/x"),
        (["--flagfile=/not/there"], "/not/there"),
    ],
)
def test_wrong_flags_are_refused(flags, words):
    with pytest.raises(UserError) as error:
        parse(*flags)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_value_called_help_is_none():
    assert parse("--dataset", "help")["run"].dataset == "help"


def test_help_names_every_flag_and_says_what_it_does(capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "arXiv:1603.09246" in text
    lines = text.splitlines()
    flags = [i for i, line in enumerate(lines) if line.startswith("  --")]
    assert len(flags) > 25
    for i in flags:
        assert lines[i + 1].startswith("      "), f"{lines[i]} has no help"
    assert max(map(len, lines)) <= 100


def test_bad_input_is_one_line_and_exit_code_2_and_nothing_heavy_was_imported(tmp_path):
    command = ["-X", "importtime", "-m", "sslzoo.recipes.jigsaw", "--dataset=/not/there"]
    done = shell(*command, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = ours(done.stderr)
    assert "--dataset" in line
    assert "'/not/there'" in line
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "keras.src.models" in imported, "no fake of it"
    assert not [name for name in imported if name.startswith(HEAVY)]


def test_what_a_quick_import_leaves_out_can_be_imported_after_it(monkeypatch):
    for name in quick_import.UNUSED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    quick_import.begin()
    for name in quick_import.UNUSED:
        with pytest.raises(ImportError):
            importlib.import_module(name)
    assert not gc.isenabled()
    quick_import.end()
    assert gc.isenabled()
    assert not {*quick_import.UNUSED} & {*sys.modules}
    monkeypatch.setitem(sys.modules, "sklearn", quick_import)
    quick_import.begin()
    quick_import.end()
    assert sys.modules["sklearn"] is quick_import, "one that was there stays"


def test_a_wrong_flag_is_refused_before_data_is_touched(tmp_path):
    done = shell("-m", "sslzoo.recipes.jigsaw", "--dataset=/not/there", "--nope", cwd=tmp_path)
    assert done.returncode == 2
    assert "nope" in done.stderr
    assert "/not/there" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def no_libraries(tmp_path_factory):
    """Environment in which the import of TensorFlow or Keras is an error."""
    folder = tmp_path_factory.mktemp("fakes")
    for name in ("tensorflow", "keras"):
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} was imported')\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


COMMANDS = [f"commands.{name}" for name in ("classify", "compare", "probe", "report")]


@pytest.mark.parametrize("module", [*COMMANDS, *RECIPES])
def test_help_is_the_same_without_tensorflow_and_keras(module, no_libraries, capsys):
    main = importlib.import_module(f"sslzoo.{module}").main
    with pytest.raises(SystemExit):
        signature.parse(main, ["x", "--help"])
    package, name = module.split(".")
    command = ["sslzoo.recipes." + name] if package == "recipes" else ["sslzoo", name]
    helped = shell("-m", *command, "--help", **no_libraries)
    assert (helped.stderr, helped.returncode) == ("", 0)
    assert helped.stdout == capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sslzoo.recipes.pirl --nope", "error: Unknown command line flag 'nope'"),
        ("sslzoo.recipes.pirl --hue=0.6", "error: --hue: expected 0 to 0.5. Received: 0.6"),
        ("sslzoo.recipes.pirl --xla=perhaps", "<auto|on|off>"),
        ("sslzoo train jigsaw --epochs=0", "error: --epochs: expected 1 to "),
        ("sslzoo train jigsaw --epochs=0 --debug", "Traceback"),
        ("sslzoo classify --top_k=0", "error: --top_k: expected 1 to "),
        ("sslzoo probe --shots=4,0", "error: --shots: expected 1 to "),
        ("sslzoo train nobody", "Received: 'nobody'"),
        ("sslzoo report --images=0 /not/there", "Received: /not/there"),
        ("sslzoo report /not/there --images=0", "error: --images: expected 1 to "),
        ("sslzoo report /not/there", "error: sslzoo report: expected the folder of a run"),
        ("sslzoo list --root=/not/there", "--root: expected a folder"),
    ],
)
def test_a_wrong_line_is_refused_without_tensorflow_and_keras(line, words, no_libraries):
    done = shell("-m", *line.split(), **no_libraries)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(ours(done.stderr)) == 1 or "--debug" in line


@pytest.mark.parametrize("line", ["--help", "list", "train --help", "serving-config --help"])
def test_the_small_commands_import_neither_tensorflow_nor_keras(line, no_libraries):
    done = shell("-m", "sslzoo", *line.split(), **no_libraries)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout


def test_what_names_alone_cannot_tell_the_libraries_do(no_libraries):
    code = "from sslzoo import cli; cli.names_only.install = lambda: 1 / 0; cli.console()"
    assert shell("-c", code, "list", **no_libraries).stdout.startswith("name ")


def test_the_sslzoo_command_trains_and_lists(tmp_path):
    helped = shell("-m", "sslzoo", "train", "jigsaw", "--help")
    assert helped.stdout == shell("-m", "sslzoo.recipes.jigsaw", "--help").stdout
    code = "from sslzoo.cli import console; console()"
    assert shell("-c", code, "list", SSLZOO_ZOO=str(tmp_path)).stdout == "the zoo is empty\n"


def test_the_list_has_a_header_over_its_columns(capsys):
    list_command.main(root=str(pathlib.Path(__file__).parents[1] / "exported"))
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "recipe", "images", "best", "linear", "probe", "size"]
    line = next(line for line in lines if line.startswith("rotation "))
    assert line[header.index("recipe") :].startswith("rotation ")
    assert line[header.index("size") :].endswith(" MB")


def test_a_recipe_can_be_called_from_python_and_is_started_first(tmp_path):
    @cli.recipe
    def main(run=Run(batch_size=4, probe_images=0), size=3):
        return run, size

    run, size = main(Run(dataset="photos", workdir=str(tmp_path / "a"), batch_size=8), size=5)
    assert (run.recipe, size) == ("test_cli", 5)
    lines = (tmp_path / "a/flags.txt").read_text().splitlines()
    assert {"--batch_size=8", "--size=5"} <= {*lines}


def test_an_encoder_of_the_recipes_own():
    assert Run(encoder="own").new_encoder(own=lambda: "made") == "made"
    with pytest.raises(
        UserError, match=r"--encoder: expected one of mine, alexnet, .*Received: 'own'"
    ):
        Run(encoder="own").new_encoder(mine=lambda: "made")


@pytest.mark.parametrize("field", ["epochs", "batch_size", "learning_rate", "backup_minutes"])
def test_numbers_out_of_range_are_named(field, tmp_path):
    run = Run(workdir=str(tmp_path / "run"), **{field: 0})
    with pytest.raises(UserError, match=f"--{field}: expected (more than 0|1 to).*Received: 0"):
        run.start("toy", {})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("devices", ["tpu:1", "cpu", "cpu:0", "gpu:1"])
def test_devices_that_are_not_there_are_refused(devices, tmp_path):
    run = Run(workdir=str(tmp_path / "run"), devices=devices)
    with pytest.raises(UserError, match="--devices: expected"):
        run.start("toy", {})


# === A class stands for its settings ===


class Puzzle:
    """A puzzle.

    Args:
        encoder: the recipe's to give.
        tiles: number of
            tiles.
        rule: how.
        prior: cannot be typed.
    """

    def __init__(self, encoder, tiles=9, rule: Literal["near", "far"] = "near", prior=None):
        self.settings = (encoder, tiles, rule, prior)


def puzzled(run=Run(workdir="runs/x"), puzzle=partial(Puzzle, tiles=4), prior="", seed=5):
    """Something.

    Args:
        prior: a file.
        seed: its own.
    """


def flags(main):
    return {flag.name: flag for flag in signature.flags_of(main)}


def test_a_class_gives_its_defaults_types_choices_and_help():
    found = flags(puzzled)
    assert (found["tiles"].default, found["tiles"].about) == (4, "number of tiles.")
    assert typing.get_args(found["rule"].kind) == ("near", "far")
    assert found["prior"].about == "a file.", "what the recipe names wins over the class"
    assert found["seed"].default == 5, "and over the run"
    assert "seed" in {flag.name for flag in signature.flags_of(jigsaw.main)}
    assert found["workdir"].parameter == "run"
    assert len(found) == len(signature.flags_of(puzzled)), "each name once"


def test_the_command_line_fills_the_class_and_leaves_the_rest_to_the_recipe():
    line = ["x", "--rule=far", "--tiles=3", "--epochs=2", "--prior=p.npy"]
    given = signature.parse(puzzled, line)
    assert given["puzzle"]("E").settings == ("E", 3, "far", None)
    assert (given["run"].epochs, given["prior"], given["seed"]) == (2, "p.npy", 5)
    assert puzzled.__defaults__[1].keywords == {"tiles": 4}, "the recipe's own numbers stay"
    with pytest.raises(UserError, match=r"<near\|far>"):
        signature.parse(puzzled, ["x", "--rule=wide"])


def test_a_setting_that_would_be_lost_is_an_error_of_the_recipe():
    def untyped(puzzle=partial(Puzzle)):
        """`prior` has no type."""

    class Epochs:
        """Has a setting that a run has."""

        def __init__(self, epochs=3):
            pass

    def clash(run=Run(workdir="runs/x"), puzzle=partial(Epochs)):
        """`epochs` of which?"""

    with pytest.raises(TypeError, match=r"--prior cannot be of <class 'NoneType'>"):
        signature.flags_of(untyped)
    with pytest.raises(TypeError, match="--epochs is there twice"):
        signature.flags_of(clash)


def test_flags_txt_holds_what_a_python_caller_chose(tmp_path):
    run = Run(workdir=str(tmp_path / "run"), probe_images=0)
    cli.recipe(puzzled)(run, puzzle=partial(Puzzle, tiles=2, rule="far"))
    lines = {*(tmp_path / "run/flags.txt").read_text().splitlines()}
    assert {"--tiles=2", "--rule=far", "--seed=5", "--prior="} <= lines


def test_python_m_sslzoo_is_the_command():
    helped = shell("-m", "sslzoo", "--help").stdout
    assert all(word in helped for word in ("list", "train", "classify", "probe", "pirl"))


def test_train_without_a_name_and_with_help(capsys):
    train.main("--help")
    assert "pirl" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"sslzoo train NAME.*jigsaw.*Received: 'puzzle'"):
        train.main("puzzle")


def test_an_encoder_that_could_not_be_exported_is_refused_before_training(tmp_path):
    x = keras.Input((8, 8, 3))
    keras.Model(x, keras.layers.Conv2D(4, 3)(x)).save(tmp_path / "fixed.keras")
    with pytest.raises(UserError, match=r"--encoder: .*images of any size.*\(None, 8, 8, 3\)"):
        Run(encoder=str(tmp_path / "fixed.keras")).new_encoder()
