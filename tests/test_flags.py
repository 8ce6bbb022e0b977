"""Every flag of every recipe: what is out of its range is refused at once, by its name."""

import functools
import importlib
import math

import numpy as np
import pytest
from conftest import tiny_encoder

from sslzoo import cli, training
from sslzoo.commands import classify, report
from sslzoo.errors import UserError
from sslzoo.flags import idle, ranges, signature

MAINS = {
    name: importlib.import_module(f"sslzoo.recipes.{name}").main for name in cli.modules("recipes")
}
MAINS |= {"classify": classify.main, "report": report.main}
NUMBERS = [
    pytest.param(main, flag, id=f"{name}-{flag.name}")
    for name, main in MAINS.items()
    for flag in signature.flags_of(main)
    if flag.kind in (int, float)
]


class Reached(Exception):
    """Nothing was refused before the long work."""


def outside(flag):
    """Values that no such flag may have, as text."""
    found = [-1, flag.allowed.low - 1, -(10**30)]
    if flag.kind is float:
        found += [math.nan, -math.inf, math.inf]
    if flag.allowed.high < math.inf:
        found += [flag.kind(2 * flag.allowed.high + 1), 10**40]
    return found


@pytest.mark.parametrize(("main", "flag"), NUMBERS)
def test_a_number_out_of_its_range_is_refused_by_the_flag_s_name(main, flag):
    assert flag.allowed, "every number has a range"
    for value in outside(flag):
        line = ["x", f"--{flag.name}={value}"]
        with pytest.raises(UserError, match=rf"--{flag.name}: expected .*Received: "):
            signature.check(main, signature.parse(main, line))
    for value in ("", "many", "²", "1e400x"):
        with pytest.raises(UserError, match=flag.name):
            signature.parse(main, ["x", f"--{flag.name}={value}"])


@pytest.mark.parametrize("recipe", cli.modules("recipes"))
def test_the_least_values_are_refused_in_a_line_or_can_be_built(recipe, tmp_path, monkeypatch):
    """One flag after the other at the end of its range."""
    x = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "tiny.npz", x_train=x, x_test=x)

    def reached(*_, **__):
        raise Reached

    monkeypatch.setattr(training, "pretrain", reached)
    monkeypatch.setattr(training.Run, "start", started)
    monkeypatch.setattr(training.Run, "new_encoder", lambda self, **own: tiny_encoder())
    main = MAINS[recipe]
    run = [f"--dataset={tmp_path}/tiny.npz", f"--workdir={tmp_path}/run"]
    for flag in signature.flags_of(main):
        if flag.parameter == "run" or flag.kind not in (int, float):
            continue
        line = ["x", *run, f"--{flag.name}={flag.kind(flag.allowed.low)}"]
        with pytest.raises((UserError, Reached)) as end:
            cli.call(main, line)
        if end.type is UserError:
            assert "Received" in str(end.value), (line, end.value)


def started(self, recipe, flags, defaults=None):
    """`Run.start` without a folder and without determinism."""
    self.recipe, self.flags, self.started = recipe, flags, 0.0


@pytest.mark.parametrize(
    ("allowed", "inside", "beyond"),
    [
        (ranges.Range(0, 1), [0, 0.5, 1], [-1e-9, 1.1, math.nan]),
        (ranges.Range(0, 1, above=True), [1e-9, 1], [0, 2]),
        (ranges.Range(0, 1, below=True), [0, 0.999], [1]),
        (ranges.Range(0, above=True, below=True), [1e-30, 1e30], [0, math.inf, math.nan]),
    ],
    ids=str,
)
def test_ranges(allowed, inside, beyond):
    assert all(value in allowed for value in inside)
    assert not any(value in allowed for value in beyond)


def test_a_tuple_is_checked_item_by_item():
    def main(steps: tuple[ranges.Weight, ...] = ()):
        """Nothing."""

    signature.check(main, {"steps": (0.0, 3.0)})
    with pytest.raises(UserError, match=r"--steps: expected 0 to .*Received: \(1.0, nan\)"):
        signature.check(main, {"steps": (1.0, math.nan)})


def test_what_a_partial_holds_is_checked_too():
    def network(width: ranges.Width = 1):
        """Nothing."""

    def main(puzzle=functools.partial(network, width=2)):
        """Nothing."""

    with pytest.raises(UserError, match=r"--width: expected 1 to 65536. Received: 0"):
        signature.check(main, {"puzzle": functools.partial(network, width=0)})


# === Flags that do nothing ===


@pytest.mark.parametrize(
    ("recipe", "line", "told"),
    [
        ("pirl", "--negatives=0 --estimator=infonce", ["--estimator=infonce", "--negatives=0"]),
        ("pirl", "--negatives=9 --estimator=infonce", []),
        ("npid", "--estimator=nce", []),  # the default
        ("pirl", "--task=rotation --grid=2", ["--grid=2", "--task=rotation"]),
        ("inpainting", "--adversarial=0 --gan=wgan", ["--gan=wgan", "--adversarial=0.0"]),
        ("superres", "--gan_learning_rate=1", ["--gan_learning_rate=1.0", "--gan_epochs=0"]),
        ("deepcluster", "--fc=0 --dropout=0.5", ["--dropout=0.5", "--fc=0"]),
        ("colorization", "--uniform=0.1", ["--uniform=0.1", "--prior="]),
        ("jigsaw", "--decay_epochs=3", ["--decay_epochs=3.0", "--schedule=cosine"]),
        ("jigsaw", "--schedule=step --decay_epochs=3", []),
    ],
    ids=str,
)
def test_a_flag_that_does_nothing_is_told(recipe, line, told, monkeypatch, caplog):
    def reached(self, *_):
        raise Reached

    monkeypatch.setattr(training.Run, "start", reached)
    with pytest.raises(Reached):
        cli.call(MAINS[recipe], ["x", *line.split()])
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ([f"{told[0]} does nothing beside {told[1]}"] if told else [])


def test_flags_that_may_do_nothing_are_there():
    known = {flag.name for main in MAINS.values() for flag in signature.flags_of(main)}
    for switch, _, others in idle.IDLE:
        assert {switch, *others} <= known


@pytest.mark.parametrize(
    ("recipe", "line"),
    [
        ("deepcluster", "--reassign=0"),
        ("deepcluster", "--top_momentum=1"),
        ("deepcluster", "--dropout=1.5"),
        ("jigsaw", "--dropout=1.5"),
        ("bigan", "--width=0"),
        ("pirl", "--min_area=0"),
        ("pirl", "--puzzle_area=2"),
        ("pirl", "--hue=0.7"),
        ("npid", "--hue=0.7"),
        ("npid", "--jitter=3"),
        ("relative_patch", "--jitter=30"),
    ],
)
def test_what_was_a_traceback_is_a_line(recipe, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = line.partition("=")[0]
    with pytest.raises(UserError, match=rf"{name}: expected .*Received: "):
        cli.call(MAINS[recipe], ["x", line, "--probe_images=0"])
