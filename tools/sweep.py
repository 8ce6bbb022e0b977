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
from PIL import Image, ImageDraw

RECIPES = flags.DEFINE_list("recipes", ["pirl"], "names of recipes that have the flag")
FLAG = flags.DEFINE_string("flag", "weight", "the flag that is varied")
VALUES = flags.DEFINE_list("values", None, "its values", required=True)
WORKDIR = flags.DEFINE_string("workdir", "runs/sweep", "folder of the runs, CSV and PNG")

SIZE, MARGIN = (640, 400), 48
COLORS = ["#d62728", "#1f77b4", "#2ca02c", "#9467bd"]


def scores(recipe, value, shared):
    """Runs the recipe with one value, or finds it done: the rows of its card."""
    folder = pathlib.Path(WORKDIR.value) / f"{recipe}_{value}"
    card = folder / "exported" / recipe / "card.json"
    if not card.exists():
        flagged = [argument.replace("{recipe}", recipe) for argument in shared]
        command = [sys.executable, "-m", f"sslzoo.recipes.{recipe}", *flagged]
        subprocess.run([*command, f"--{FLAG.value}={value}", f"--workdir={folder}"], check=True)
    return json.loads(card.read_text())["scores"]


def chart(lines, values):
    """{name: accuracies by value} as a picture, the axis from 0 to the best, rounded up."""
    picture = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(picture)
    top = -(-max(y for line in lines.values() for y in line) * 10 // 1) / 10
    width, height = SIZE[0] - 2 * MARGIN, SIZE[1] - 2 * MARGIN

    def place(i, y):
        return MARGIN + width * i / max(len(values) - 1, 1), SIZE[1] - MARGIN - height * y / top

    for tenth in range(round(top * 10) + 1):
        draw.line([place(0, tenth / 10), place(len(values) - 1, tenth / 10)], fill="#dddddd")
        draw.text((8, place(0, tenth / 10)[1] - 6), f"{tenth * 10} %", fill="black")
    for i, value in enumerate(values):
        draw.text((place(i, 0)[0] - 8, SIZE[1] - MARGIN + 8), value, fill="black")
    draw.text((MARGIN, SIZE[1] - 20), FLAG.value, fill="black")
    for row, (name, line) in enumerate(lines.items()):
        points, color = [place(i, y) for i, y in enumerate(line)], COLORS[row % len(COLORS)]
        draw.line(points, fill=color, width=2)
        for x, y in points:
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=color)
        draw.text((MARGIN + 8 + 200 * (row % 3), 8 + 14 * (row // 3)), name, fill=color)
    return picture


def main(argv):
    """Writes `scores.csv` and `scores.png`."""
    workdir, rows, lines = pathlib.Path(WORKDIR.value), [], {}
    for recipe in RECIPES.value:
        for value in VALUES.value:
            found = scores(recipe, value, argv[1:])
            rows += [{"recipe": recipe, FLAG.value: value, **row} for row in found]
            best = max(row["accuracy"] for row in found)
            lines.setdefault(f"{recipe}, best stage", []).append(best)
            lines.setdefault(f"{recipe}, last stage", []).append(found[-1]["accuracy"])
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / "scores.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    chart(lines, VALUES.value).save(workdir / "scores.png")
    print(f"wrote {workdir}/scores.csv and scores.png")


if __name__ == "__main__":
    app.run(main)
