"""What can be learned from a single image (arXiv:1904.13132)? Two tables of CIFAR-10, and a chart.

    python tools/single_image.py --dataset=cifar10.npz [--images=FOLDER] [--epochs=2]
        [--label_epochs=10] [--workdir=runs/single_image] [-- --batch_size=64 ...]

The first table, also as CSV and PNG: the linear probe of each stage after rotation and DeepCluster
on views of 1 image, of 10, of 100, on all training images, of random init, and after training with
all labels. The second: the accuracy of a classifier whose first two stages stay as they were after
training on one image, beside those of random init, a fixed bank of Gabor filters, and a classifier
all of which is trained.

The run sheets are recipes/*_single.flags; what follows `--` goes to each recipe. Without
`--images` the images are the photographs of scikit-image, as many as there are. Every row has a
folder in `workdir`, and the same command goes on where it was stopped.
"""

import csv
import json
import pathlib
import subprocess
import sys

from absl import app, flags

from sslzoo import pictures
from sslzoo.data import photos
from sslzoo.data.folder import list_images
from sslzoo.pictures import chart

DATASET = flags.DEFINE_string("dataset", "cifar10.npz", "32 x 32 images with labels")
IMAGES = flags.DEFINE_string("images", "", "folder of photographs; empty takes scikit-image's")
COUNTS = flags.DEFINE_list("counts", ["1", "10", "100"], "numbers of images that views are made of")
VIEWS = flags.DEFINE_integer("views", 25_000, "of one image, or of all of those together")
RECIPES = flags.DEFINE_list("recipes", ["rotation", "deepcluster"], "that have a sheet for views")
ENCODER = flags.DEFINE_string("encoder", "mini", "a new one by its name")
EPOCHS = flags.DEFINE_integer("epochs", 2, "passes over the views, or over all images")
LABEL_EPOCHS = flags.DEFINE_integer("label_epochs", 10, "passes of a classifier over the labels")
PROBE_IMAGES = flags.DEFINE_integer("probe_images", 5000, "labelled images for the probe")
WORKDIR = flags.DEFINE_string("workdir", "runs/single_image", "folder of runs and results")

ROOT = pathlib.Path(__file__).resolve().parents[1]


def files():
    """The photographs that there are."""
    if IMAGES.value:
        return [pathlib.Path(IMAGES.value) / name for name in list_images(IMAGES.value)]
    # The first is the one that `single:` alone takes.
    stems = sorted(photos.STEMS, key=lambda stem: stem != "motorcycle_left")
    found = [path for stem in stems for path in photos.wheel().glob(f"{stem}.*")]
    return [path for path in found if path.suffix in (".png", ".jpg")]


def sources():
    """{name: --dataset} of each number of images, evenly among those there are, and of all."""
    there, named = files(), {}
    for count in sorted({min(int(count), len(there)) for count in COUNTS.value}):
        folder = pathlib.Path(WORKDIR.value) / f"images_{count}"
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            path = there[i * len(there) // count].resolve()
            link = folder / f"{i:04d}{path.suffix}"
            link.unlink(missing_ok=True)
            link.symlink_to(path)
        named[str(count)] = f"single:{folder},n={VIEWS.value}"
    return named | {"all": DATASET.value}


def pretrained(recipe, name, dataset, more):
    """Runs a recipe on a source, or finds it done: (folder of its encoder, rows of its card)."""
    folder = pathlib.Path(WORKDIR.value) / f"{recipe}_{name}"
    exported = folder / "exported" / recipe
    if not (exported / "card.json").exists():
        sheet = f"--flagfile={ROOT}/recipes/{recipe}_single.flags"
        own = [f"--dataset={dataset}", f"--probe_dataset={DATASET.value}", f"--workdir={folder}"]
        own += [f"--encoder={ENCODER.value}", f"--epochs={EPOCHS.value}"]
        own.append(f"--probe_images={PROBE_IMAGES.value}")
        command = [sys.executable, "-m", f"sslzoo.recipes.{recipe}", sheet, *more, *own]
        subprocess.run(command, check=True)
    return exported, json.loads((exported / "card.json").read_text())["scores"]


def supervised(name, *own):
    """Runs `supervised.py`, or finds it done: its card."""
    card = pathlib.Path(WORKDIR.value) / f"labels_{name}.json"
    if not card.exists():
        shared = [f"--dataset={DATASET.value}", f"--epochs={LABEL_EPOCHS.value}"]
        tool = [str(ROOT / "tools/supervised.py"), *shared, f"--card={card}"]
        command = [sys.executable, *tool, f"--probe_images={PROBE_IMAGES.value}", *own]
        subprocess.run(command, check=True)
    return json.loads(card.read_text())


def markdown(rows):
    """A list of dicts of the same keys as a table."""
    lines = [[*rows[0]], ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def stages(more):
    """({row: accuracies by stage}, the encoders that have seen the fewest images, by recipe)."""
    lines, encoders = {}, {}
    for recipe in RECIPES.value:
        for name, dataset in sources().items():
            exported, rows = pretrained(recipe, name, dataset, more)
            lines[f"{recipe}, {name}"] = [row["accuracy"] for row in rows]
            encoders.setdefault(recipe, exported)
    lines["random init"] = [row["random_accuracy"] for row in rows]
    rows = supervised("all", f"--encoder={ENCODER.value}")["scores"]
    return lines | {"all labels": [row["accuracy"] for row in rows]}, encoders


def classifiers(encoders):
    """{what the first two stages are: accuracy}."""
    new, quick = f"--encoder={ENCODER.value}", "--probe_images=0"
    found = {"trained with labels, like the rest": supervised("all", new)}
    found["random init, frozen"] = supervised("random", new, "--frozen=2", quick)
    for recipe, path in encoders.items():
        name = f"{recipe} on {path.parts[-3].split('_')[-1]}, frozen"
        found[name] = supervised(recipe, f"--encoder={path}", "--frozen=2", quick)
    found["Gabor filters"] = supervised("gabor", new, "--front=gabor", quick)
    return {name: card["accuracy"] for name, card in found.items()}


def main(argv):
    """Writes `stages.csv`, `stages.png` and `tables.md`, and prints the tables."""
    workdir = pathlib.Path(WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    lines, encoders = stages(argv[1:])
    ticks = [f"stage{i + 1}" for i in range(max(map(len, lines.values())))]
    with open(workdir / "stages.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["images", *ticks], *([name, *line] for name, line in lines.items())])
    curves = {
        name: {tick: [100 * y] for tick, y in zip(ticks, line, strict=False)}
        for name, line in lines.items()
    }
    drawn = chart.lines(curves, "linear probe on CIFAR-10, %", dashed=["random init"])
    pictures.save_png(workdir / "stages.png", drawn)
    percent = {name: [f"{100 * y:.1f} %" for y in line] for name, line in lines.items()}
    rows = [{"images": name} | dict(zip(ticks, y, strict=True)) for name, y in percent.items()]
    second = [
        {"first two stages": name, "test images": f"{100 * accuracy:.1f} %"}
        for name, accuracy in classifiers(encoders).items()
    ]
    text = f"{markdown(rows)}\n{markdown(second)}"
    (workdir / "tables.md").write_text(text)
    print(text)


if __name__ == "__main__":
    app.run(main)
