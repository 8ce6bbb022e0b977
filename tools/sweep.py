"""One flag of one or more recipes, many values: the linear probe of every stage as CSV and PNG.

    python tools/sweep.py --recipes=pirl --flag=weight --values=0,0.25,0.5,0.75,1 \
        --workdir=runs/lambda -- --dataset=cifar10.npz --flagfile=recipes/pirl_cifar10.flags

PIRL's own questions (arXiv:1912.01991, section 4): `--flag=weight` (lambda), `--flag=negatives`,
and `--recipes=pirl,jigsaw --flag=num_permutations` (0 means all orders for PIRL alone). What
follows `--` goes to every recipe; `{recipe}` in it is replaced by the name. Each run has a folder
in `workdir`, and the same command goes on where it was stopped.
"""

import csv
import json
import pathlib
import subprocess
import sys

from absl import app, flags

from sslzoo import pictures
from sslzoo.pictures import chart

RECIPES = flags.DEFINE_list("recipes", ["pirl"], "names of recipes that have the flag")
FLAG = flags.DEFINE_string("flag", "weight", "the flag that is varied")
VALUES = flags.DEFINE_list("values", None, "its values", required=True)
WORKDIR = flags.DEFINE_string("workdir", "runs/sweep", "folder of the runs, CSV and PNG")


def scores(recipe, value, shared):
    """Runs the recipe with one value, or finds it done: the rows of its card."""
    folder = pathlib.Path(WORKDIR.value) / f"{recipe}_{value}"
    card = folder / "exported" / recipe / "card.json"
    if not card.exists():
        flagged = [argument.replace("{recipe}", recipe) for argument in shared]
        command = [sys.executable, "-m", f"sslzoo.recipes.{recipe}", *flagged]
        subprocess.run([*command, f"--{FLAG.value}={value}", f"--workdir={folder}"], check=True)
    return json.loads(card.read_text())["scores"]


def main(argv):
    """Writes `scores.csv` and `scores.png`."""
    workdir, rows, lines = pathlib.Path(WORKDIR.value), [], {}
    for recipe in RECIPES.value:
        for value in VALUES.value:
            found = scores(recipe, value, argv[1:])
            rows += [{"recipe": recipe, FLAG.value: value, **row} for row in found]
            best = max(row["accuracy"] for row in found)
            ends = {"best": best, "last": found[-1]["accuracy"]}
            for name, accuracy in ends.items():
                lines.setdefault(f"{recipe}, {name} stage", {})[value] = [100 * accuracy]
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / "scores.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    pictures.save_png(workdir / "scores.png", chart.lines(lines, f"accuracy by --{FLAG.value}, %"))
    print(f"wrote {workdir}/scores.csv and scores.png")


if __name__ == "__main__":
    app.run(main)
