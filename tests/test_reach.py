"""Every flag of every recipe arrives: at the pretext, its optimizers, the run, the callbacks."""

import contextlib
import dataclasses
import importlib
import types
import typing

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import tiny_encoder

from sslzoo import cli, data, training
from sslzoo.flags import signature
from sslzoo.pictures import album
from sslzoo.pretexts import bigan, inpainting, superres
from sslzoo.recipes import inpainting as inpainting_recipe
from sslzoo.recipes import superres as superres_recipe
from sslzoo.training import devices
from sslzoo.training.run import Run

RECIPES = cli.modules("recipes")
IMAGES = 64
# Values that go together; any other flag gets another value than its default.
BUDGET = {
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 0.02,
    "schedule": "step",
    "warmup_epochs": 1.0,
    "decay_epochs": (2.0,),
    "decay_factor": 0.25,
    "weight_decay": 0.004,
    "encoder": "tiny",
    "xla": "on",
}
TOGETHER = {
    "bigan": {"crop": 16, "network": "conv"},
    "colorization": {"crop": 68, "width": 8},
    "deepcluster": {},
    "inpainting": {"crop": 48, "mask": "blocks", "overlap": 0, "width": 16},
    "jigsaw": {"crop": 40, "grid": 2, "tile": 11, "channel_jitter": 2, "num_permutations": 7},
    "npid": {},
    "pirl": {"task": "jigsaw+rotation", "puzzle": 62, "grid": 2, "tile": 12, "num_permutations": 5},
    "reconstruction": {"crop": 48, "center": 0.5},
    "relative_patch": {
        "crop": 64,
        "patch": 10,
        "gap": 6,
        "jitter": 5,
        "min_area": 0.5,
        "color": "project",
    },
    "rotation": {"num_rotations": 8},
    "synthetic": {"crop": 16, "adapt": "on", "stage": "stage1"},
    "superres": {
        "crop": 32,
        "scale": 2,
        "content": "vgg22",
        "discriminator_width": 4,
        "gan_epochs": 4,
    },
}


def other(flag):
    """Another value than the default, of the same type and in its range."""
    if typing.get_origin(flag.kind) is typing.Literal:
        return next(c for c in typing.get_args(flag.kind) if c != flag.default)
    if typing.get_origin(flag.kind) is tuple:
        return tuple(typing.get_args(flag.kind)[0](i) for i in (7, 8))
    changes = {
        bool: lambda v: not v,
        str: lambda v: f"{v}x",
        int: lambda v: v + 1,
        float: lambda v: v / 2 or 0.25,
    }
    return changes[flag.kind](flag.default)


@pytest.fixture
def arrived(monkeypatch, tmp_path):
    """Function of a recipe's name: its flags' values, and what came of them without training."""
    x = np.zeros((IMAGES, 48, 48, 3), np.uint8)
    np.savez(tmp_path / "tiny.npz", x_train=x, x_test=x)
    source = data.load(str(tmp_path / "tiny.npz"))
    source.size = IMAGES
    prior = np.linspace(1, 2, 313) / np.linspace(1, 2, 313).sum()
    np.save(tmp_path / "prior.npy", prior)
    seen = types.SimpleNamespace(
        trained=[], finished=[], scored=[], blocks=[], loaded=[], prior=prior
    )

    def start(self, recipe, flags, defaults=None):
        self.recipe, self.flags, self.defaults = recipe, flags, defaults

    def load(spec, *split, **how):
        seen.loaded.append((spec, how))
        return source

    def pretrain(pretext, run, extra=(), table=None, source=None):
        seen.trained.append((pretext, run, [*extra]))

    def new_encoder(self, **own):
        made = own["srresnet"]() if "srresnet" in own else None
        return made or tiny_encoder()

    def finish(self, pretext, *models, **named):
        seen.finished.append((pretext, self, named.get("judge")))

    monkeypatch.setattr(Run, "start", start)
    monkeypatch.setattr(Run, "_source", lambda self, split: source)
    monkeypatch.setattr(Run, "new_encoder", new_encoder)
    monkeypatch.setattr(Run, "finish", finish)
    monkeypatch.setattr(devices, "mirrored", lambda spec: tf.distribute.get_strategy())
    monkeypatch.setattr(training, "pretrain", pretrain)
    monkeypatch.setattr(data, "load", load)
    monkeypatch.setattr(bigan.BiGAN, "reconstruction", lambda self, puzzles: (0.0, 0.0))
    for scored in (superres.Superres, inpainting.Inpainting):
        monkeypatch.setattr(scored, "scored", lambda self, _, n: seen.scored.append(n))
    monkeypatch.setattr(superres, "vgg_features", lambda content, weights: lambda x: x)
    monkeypatch.setattr(superres_recipe, "srresnet", lambda *sizes: seen.blocks.append(sizes))
    monkeypatch.setattr(inpainting_recipe, "save_png", lambda *arguments: None)
    for picture in ("clusters", "neighbors"):
        monkeypatch.setattr(album, picture, lambda *arguments: None)

    def call(recipe):
        main = importlib.import_module(f"sslzoo.recipes.{recipe}").main
        chosen = {**BUDGET, **TOGETHER[recipe], "prior": str(tmp_path / "prior.npy")}
        flags = signature.flags_of(main)
        seen.values = {flag.name: chosen.get(flag.name, other(flag)) for flag in flags}
        seen.of = {flag.name: flag.parameter for flag in flags}
        line = [f"--{name}={signature.text(value)}" for name, value in seen.values.items()]
        cli.call(main, [recipe, *line])
        return seen

    return call


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_flag_arrives(recipe, arrived):
    seen = arrived(recipe)
    pretext, _, extra = seen.trained[-1]
    config = pretext.get_config()
    for name, value in seen.values.items():
        if seen.of[name] == "puzzle":
            assert config[name] == value, name
    assert seen.finished[0][0] is pretext
    for got in (seen.trained[0][1], seen.finished[0][1]):
        assert {f.name: getattr(got, f.name) for f in dataclasses.fields(got) if f.init} == {
            name: value for name, value in seen.values.items() if seen.of[name] == "run"
        }
    assert pretext.xla or pretext.jit_compile
    for name, optimizer in optimizers_of(pretext).items():
        check_optimizer(name, optimizer, seen.values)
    check_own(recipe, seen, extra)


def optimizers_of(pretext):
    """By name, the main one's is ""; without what scales their losses."""
    found = {"": pretext.optimizer, **getattr(pretext, "optimizers", {})}
    return {name: getattr(made, "inner_optimizer", made) for name, made in found.items()}


def check_optimizer(name, optimizer, values):
    """It has the flags' rates, decay and momenta."""
    peak = values.get("gan_learning_rate", values["learning_rate"])
    peak = values.get(f"{name}_learning_rate", peak)
    rate = optimizer._learning_rate
    rates = [float(rate(step)) for step in (0, *range(1, 60), 10_000)]
    assert max(rates) == pytest.approx(peak)
    assert rates[0] < peak / 2, "the warm-up"
    factor = 0.1 if "gan_learning_rate" in values else values["decay_factor"]  # SRGAN: its own
    assert rates[-1] == pytest.approx(peak * factor)
    if isinstance(optimizer, keras.optimizers.SGD):
        momentum = values["top_momentum"] if name == "top" else 0.9
        assert optimizer.momentum == momentum
        decay = values.get(f"{name}_weight_decay", values["weight_decay"])
        assert optimizer.weight_decay == pytest.approx(decay / (1 - momentum))
    else:
        assert optimizer.weight_decay == values["weight_decay"]
        assert optimizer.beta_1 == values.get("beta_1", 0.9)
        assert optimizer.beta_2 == values.get("beta_2", 0.999)


def check_own(recipe, seen, extra):
    """What a recipe alone has; a flag that is checked nowhere is an error."""
    own = {
        name: value for name, value in seen.values.items() if seen.of[name] not in ("puzzle", "run")
    }
    for name in ("beta_1", "beta_2", "top_momentum"):
        own.pop(name, None)  # of optimizers
    for name in optimizers_of(seen.trained[-1][0]):
        own.pop(f"{name}_learning_rate", None)
        own.pop(f"{name}_weight_decay", None)
    if "scored_images" in own:
        assert {*seen.scored} == {own.pop("scored_images")}
    if recipe == "colorization":
        np.testing.assert_array_equal(seen.trained[0][0].prior, seen.prior)
        del own["prior"]
    if "fill_bank" in own:
        assert own.pop("fill_bank") == bool(extra)
    if recipe == "deepcluster":
        assert (extra[0].every, extra[0].seed) == (own.pop("reassign"), seen.values["seed"])
    if recipe == "synthetic":
        (first, how), (second, _) = seen.loaded
        assert how["maps"]
        assert (first, second) == (seen.values["dataset"], own.pop("real_dataset"))
        assert own.pop("adapt") == "on"
    if recipe == "superres":
        second = seen.trained[1][1]
        assert (second.epochs, second.learning_rate) == (
            own.pop("gan_epochs"),
            own.pop("gan_learning_rate"),
        )
        assert second.workdir == seen.values["workdir"] + "/srgan"
        assert seen.blocks == [(own.pop("blocks"), own.pop("width"))]
        assert len(seen.scored) == 2
    if "features" in own:
        assert own.pop("features") == "discriminator"
        assert seen.finished[0][2].name == "judge"
    assert not own


# === What a run does with its own ===


def run_of(**fields):
    """A `Run` of 64 images that need not be there, in four steps an epoch."""
    run = Run(
        **{"batch_size": 16, "epochs": 4, "schedule": "step", "decay_epochs": (1.0,), **fields}
    )
    vars(run)["train_source"] = types.SimpleNamespace(size=IMAGES)
    return run


@pytest.mark.parametrize(
    "changed",
    [
        {"batch_size": 8},
        {"learning_rate": 0.5},
        {"schedule": "cosine"},
        {"schedule": "constant"},
        {"warmup_epochs": 0.5},
        {"decay_epochs": (2.0,)},
        {"decay_factor": 0.3},
        {"weight_decay": 0.1},
        {"schedule": "cosine", "epochs": 5},
    ],
    ids=str,
)
def test_a_flag_of_the_budget_changes_the_optimizers(changed):
    alike = {name: value for name, value in changed.items() if name == "schedule"}
    before = run_of(**(alike if len(changed) > 1 else {}))
    for make in (Run.sgd, Run.adam):
        assert described(make(before)) != described(make(run_of(**changed)))


def described(optimizer):
    """Its settings, and its rate at some steps."""
    settings = {name: v for name, v in optimizer.get_config().items() if name != "learning_rate"}
    return settings, [float(optimizer._learning_rate(step)) for step in range(20)]


@pytest.mark.parametrize("name", ["dataset", "data_dir", "resize", "probe_dataset", "probe_resize"])
def test_a_flag_of_the_images_changes_what_is_opened(name, monkeypatch):
    """With and without labels."""

    def opened(**fields):
        calls = []

        def load(*arguments, **named):
            calls.append((arguments, named))
            return types.SimpleNamespace(size=IMAGES, labels=np.arange(IMAGES) % 2)

        monkeypatch.setattr(data, "load", load)
        run = Run(**fields)
        with contextlib.suppress(AttributeError):
            _ = run.train_source, run.test_source
        return calls

    assert opened() != opened(**{name: 24 if "resize" in name else "elsewhere"})


def test_the_other_flags_of_a_run(monkeypatch):
    asked = []
    monkeypatch.setattr(devices, "mirrored", asked.append)
    _ = Run(devices="gpu:1").strategy
    assert asked == ["gpu:1"]
    assert [Run(xla=word).jit_compile for word in ("on", "off")] == [True, False]
    assert Run(probe_images=0).labelled is None
    assert Run(probe_images=0).monitors(None) == []
    assert Run(encoder="mini").new_encoder().name == "mini"
