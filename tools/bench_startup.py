"""Seconds of each phase of a short run, in fresh processes: what a first try of a recipe waits for.

    python tools/bench_startup.py --recipe=jigsaw --rounds=3 [--trees=../before,.]
        [--flags="--crop=30 --tile=8 --num_permutations=9 --fc6=8 --fc7=16"]

96 images of 32 pixels, two epochs of six steps. With two trees of the code these take turns, and
the last column is the ratio of their medians. `other` is Python's start and end, and logs.
"""

import importlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

RECIPE = flags.DEFINE_string("recipe", "jigsaw", "which")
JIGSAW = "--crop=30 --tile=8 --num_permutations=9 --fc6=8 --fc7=16"
FLAGS = flags.DEFINE_string("flags", JIGSAW, "of the recipe, for images of 32 pixels")
ROUNDS = flags.DEFINE_integer("rounds", 3, "runs of each tree; the medians count")
TREES = flags.DEFINE_list("trees", ["."], "folders of the code: one, or before and after")
SHARED = ["--resize=0", "--epochs=2", "--batch_size=16", "--probe_images=40", "--workdir=run"]
PHASES = ("import", "data", "model", "first step", "second step", "checkpoint", "contact sheet")
PHASES += ("probe", "export", "other", "total")


def main(_):
    """Prints a row for each phase."""
    found = {tree: [] for tree in TREES.value}
    for _ in range(ROUNDS.value):
        for tree, runs in found.items():
            runs.append(run(pathlib.Path(tree).resolve()))
    medians = {
        tree: {name: statistics.median(run.get(name, 0) for run in runs) for name in PHASES}
        for tree, runs in found.items()
    }
    for name in PHASES:
        seconds = [each[name] for each in medians.values()]
        ratio = f"  x {seconds[-1] / seconds[0]:.2f}" if seconds[1:] and seconds[0] else ""
        print(f"{name:14}" + "".join(f"{each:8.2f}" for each in seconds) + ratio)


def run(tree):
    """One run of a tree's code in a process of its own: {phase: seconds}."""
    with tempfile.TemporaryDirectory() as folder:
        x = np.random.default_rng(0).integers(0, 256, (96, 32, 32, 3), np.uint8)
        y = np.arange(96) % 2
        np.savez(f"{folder}/tiny.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
        line = [sys.executable, __file__, RECIPE.value, "--dataset=tiny.npz", *SHARED]
        env = {**os.environ, "PYTHONPATH": str(tree), "SSLZOO_PHASES": f"{folder}/phases.json"}
        started = time.time()
        done = subprocess.run(
            [*line, *FLAGS.value.split()], cwd=folder, env=env, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(done.stderr)
        phases = json.loads(pathlib.Path(folder, "phases.json").read_text())
        phases["total"] = time.time() - started
    return phases | {"other": phases["total"] - sum(phases[name] for name in PHASES[:-2])}


def watched(recipe, argv, file):
    """Runs a recipe with a clock at the functions where a phase begins or ends."""
    phases = dict.fromkeys(PHASES[:-2], 0.0)

    def timed(owner, name, phase):
        function = getattr(owner, name)

        def call(*args, **kwargs):
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                phases[phase] += time.perf_counter() - began

        setattr(owner, name, call)

    began = time.perf_counter()
    main = importlib.import_module(f"sslzoo.recipes.{recipe}").main
    phases["import"] = time.perf_counter() - began
    from sslzoo import cli, export, training
    from sslzoo.training import Run, callbacks, checkpoints

    steps, pretrain = [], training.pretrain

    def counted(*args, **kwargs):
        steps.append(time.perf_counter())
        phases["model"] = steps[0] - began - phases["import"] - phases["data"]
        return pretrain(*args, **kwargs)

    def step(guard, *args, inner=callbacks.Guard.on_train_batch_end, **kwargs):
        steps.append(time.perf_counter())
        return inner(guard, *args, **kwargs)

    training.pretrain, callbacks.Guard.on_train_batch_end = counted, step
    timed(Run, "start", "data")
    timed(Run, "probe", "probe")
    timed(checkpoints.Checkpoints, "save", "checkpoint")
    timed(callbacks.Pictures, "on_epoch_end", "contact sheet")
    timed(export, "save", "export")
    timed(export, "save_image_model", "export")
    cli.call(main, [recipe, *argv])
    phases["first step"], phases["second step"] = np.diff(steps)[:2].tolist()
    pathlib.Path(file).write_text(json.dumps(phases))


if __name__ == "__main__":
    if "SSLZOO_PHASES" in os.environ:
        watched(sys.argv[1], sys.argv[2:], os.environ["SSLZOO_PHASES"])
    else:
        app.run(main)
