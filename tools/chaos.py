"""Kills runs at random moments and compares what they end with, bit for bit, with quiet ones.

    python tools/chaos.py --kills=10 --recipes=jigsaw,npid,deepcluster,bigan,inpainting

Each recipe is run once undisturbed, then again and again in another folder, with SIGKILL, SIGTERM
or SIGINT after a random time, until it was stopped `--kills` times; then it may finish. Weights,
memories, optimizers, `log.csv` (but for times) and the exported encoder must be the same bits. The
other attacks are tests: damaged checkpoints (tests/test_checkpoints.py), every flag
(tests/test_flags.py), hostile files (tests/test_hostile.py), tampered animals (tests/test_zoo.py).
"""

import csv
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

KILLS = flags.DEFINE_integer("kills", 5, "how often each run is stopped")
RECIPES = flags.DEFINE_list(
    "recipes", ["jigsaw", "npid", "deepcluster", "bigan", "inpainting"], "which recipes"
)
SEED = flags.DEFINE_integer("seed", 0, "of the moments and the signals")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
EXITS = {signal.SIGKILL: (-9,), signal.SIGTERM: (143,), signal.SIGINT: (130,)}
TIMES = ("data_wait", "seconds", "cpu_seconds")  # columns of the log that no two runs share
TINY = {
    "jigsaw": ["--crop=30", "--tile=8", "--num_permutations=9", "--fc6=8", "--fc7=16"],
    "npid": ["--crop=32", "--view=24", "--dims=8", "--negatives=20"],
    "pirl": ["--crop=32", "--view=24", "--puzzle=32", "--grid=2", "--tile=12", "--dims=8"],
    "deepcluster": ["--crop=32", "--view=24", "--k=6"],
    "bigan": ["--crop=16", "--codes=8", "--width=4"],
    "inpainting": ["--crop=32"],
    "rotation": ["--crop=32"],
}
SHARED = ["--resize=0", "--epochs=40", "--batch_size=16", "--probe_images=40"]
SHARED += ["--backup_minutes=0.02"]  # so that a SIGKILL finds a checkpoint of its own epoch


def main(_):
    """Prints a line for each recipe, and exits with 1 if anything differs."""
    draw = random.Random(SEED.value)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        images(folder / "tiny.npz")
        found = [attack(recipe, folder, draw) for recipe in RECIPES.value]
    sys.exit(not all(found))


def images(path):
    """96 images of two classes."""
    x = np.random.default_rng(0).integers(0, 256, (96, 32, 32, 3), np.uint8)
    y = np.arange(96) % 2
    x[y == 1] //= 2
    np.savez(path, x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])


def attack(recipe, folder, draw):
    """Whether a run that is stopped again and again ends as an undisturbed one."""
    start = time.monotonic()
    command = [sys.executable, "-m", f"sslzoo.recipes.{recipe}", f"--dataset={folder}/tiny.npz"]
    command += [*SHARED, *TINY[recipe]]
    quiet, killed = folder / f"{recipe}_quiet", folder / f"{recipe}_killed"
    subprocess.run([*command, f"--workdir={quiet}"], check=True, capture_output=True)
    seconds, stopped, odd = time.monotonic() - start, {}, []
    while sum(stopped.values()) < KILLS.value:
        with open(folder / "stderr.txt", "wb") as errors:
            run = subprocess.Popen([*command, f"--workdir={killed}"], stdout=errors, stderr=errors)
            signum = draw.choice(SIGNALS)
            try:
                code = run.wait(draw.uniform(0.3, 0.9) * seconds)
            except subprocess.TimeoutExpired:
                run.send_signal(signum)
                code = run.wait()
                stopped[signum.name] = stopped.get(signum.name, 0) + 1
                if code not in (*EXITS[signum], 0):  # 0: all was done, its end was not
                    odd.append(f"{signum.name} gave {code}")
            else:  # it was through before its time had come: once more, with less
                seconds, stopped = 0.8 * seconds, {}
                shutil.rmtree(killed)
        if b"Traceback" in (folder / "stderr.txt").read_bytes():
            odd.append(f"a traceback after {signum.name}")
    subprocess.run([*command, f"--workdir={killed}"], check=True, capture_output=True)
    odd += differences(quiet, killed)
    told = ", ".join(f"{count} {name}" for name, count in sorted(stopped.items())) or "none"
    print(f"{recipe}: {told}: {'; '.join(odd) or 'the same bits'}", flush=True)
    return not odd


def differences(quiet, killed):
    """What differs between two finished runs, in words."""
    found = []
    newest = [max(run.glob("checkpoints/step_*.npz")) for run in (quiet, killed)]
    with np.load(newest[0]) as a, np.load(newest[1]) as b:
        if a.files != b.files:
            found.append("other arrays in the checkpoint")
        found += [f"{n} differs" for n in a.files if n in b and a[n].tobytes() != b[n].tobytes()]
    if rows(quiet) != rows(killed):
        found.append("log.csv differs")
    for run in (quiet, killed):
        if list(run.glob("exported/*/.tmp-*")):
            found.append(f"{run.name} keeps a temporary folder")
    return found


def rows(run):
    """The rows of `log.csv` without their times."""
    with open(run / "log.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


if __name__ == "__main__":
    app.run(main)
