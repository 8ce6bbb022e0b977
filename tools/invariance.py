"""How far does a puzzle move an embedding? Encoders side by side, as CSV and PNG.

    python tools/invariance.py --encoders=runs/pirl/exported/pirl,runs/jigsaw/exported/jigsaw \
        --dataset=cifar10.npz --crop=32 --grid=2

For PIRL's figure of invariance (arXiv:1912.01991): the distance between the unit vectors (last
stage, averaged) of an image and of the same image put together from its tiles in another order,
between two images (random pairs), and the ratio of the medians: 0 is an encoder that the order does
not move, 1 one that it moves as far as another image lies. PIRL is trained for a small one, the
jigsaw is not. Tiles are seen together: averages over tiles that are seen alone would not depend on
their order. What remains of the cutting are the seams between tiles.
"""

import sslzoo  # noqa: F401, first: it tells TensorFlow how to use the CPU

# isort: split
import csv
import pathlib

import numpy as np
import tensorflow as tf
from absl import app, flags
from PIL import Image, ImageDraw

from sslzoo import data, zoo

ENCODERS = flags.DEFINE_list("encoders", None, "exported encoders: folder/name", required=True)
DATASET = flags.DEFINE_string("dataset", "photos", "as for a recipe; its test images")
RESIZE = flags.DEFINE_integer("resize", 0, "shorter side in pixels; 0 leaves it")
CROP = flags.DEFINE_integer("crop", 60, "side of the square image in pixels")
GRID = flags.DEFINE_integer("grid", 3, "tiles per side")
IMAGES = flags.DEFINE_integer("images", 500, "how many")
WORKDIR = flags.DEFINE_string("workdir", "runs/invariance", "folder of the CSV and PNG")

BINS = np.linspace(0, 2, 41)
COLORS = ["#d62728", "#1f77b4", "#2ca02c", "#9467bd"]


def unit(x):
    """Rows of length 1."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def embed(model, pictures):
    """(N, H, W, 3) -> (N, C), averaged over space."""
    parts = [model(pictures[i : i + 256], training=False) for i in range(0, len(pictures), 256)]
    return np.concatenate([tf.reduce_mean(part, (1, 2)) for part in parts])


def shuffled(pictures, grid, seed=0):
    """(N, H, W, 3) with the tiles of each image in a random order; H and W multiples of `grid`."""
    random, n, side = np.random.default_rng(seed), len(pictures), pictures.shape[1] // grid
    cells = pictures.reshape(n, grid, side, grid, side, 3).swapaxes(2, 3)
    cells = cells.reshape(n, grid * grid, side, side, 3)
    orders = random.permuted(np.tile(np.arange(grid * grid), (n, 1)), axis=1)
    cells = cells[np.arange(n)[:, None], orders]
    cells = cells.reshape(n, grid, grid, side, side, 3).swapaxes(2, 3)
    return cells.reshape(n, grid * side, grid * side, 3)


def distances(model, pictures, grid):
    """Of each image to its puzzle, and to the next image: (N,), (N,)."""
    side = pictures.shape[1] // grid * grid
    pictures = pictures[:, :side, :side]
    image, puzzle = (unit(embed(model, x)) for x in (pictures, shuffled(pictures, grid)))
    far = np.linalg.norm(image - np.roll(image, 1, axis=0), axis=1)
    return np.linalg.norm(image - puzzle, axis=1), far


def histogram(rows):
    """{name: distances, as shares of that to another image} as a picture of outlines."""
    picture = Image.new("RGB", (640, 360), "white")
    draw = ImageDraw.Draw(picture)
    counts = {name: np.histogram(d, BINS)[0] / len(d) for name, d in rows.items()}
    top = max(c.max() for c in counts.values())
    for row, (name, count) in enumerate(counts.items()):
        color = COLORS[row % len(COLORS)]
        points = [(40 + 14 * i, 320 - 270 * c / top) for i, c in enumerate(count)]
        draw.line(points, fill=color, width=2)
        draw.text((48, 6 + 14 * row), name, fill=color)
    for i in range(0, len(BINS), 10):
        draw.text((36 + 14 * i, 326), f"{BINS[i]:.1f}", fill="black")
    label = "distance to the own puzzle, as a share of that to another image"
    draw.text((40, 342), label, fill="black")
    return picture


def main(_):
    """Writes `invariance.csv` and `invariance.png`."""
    source = data.load(DATASET.value, "test", resize=RESIZE.value)
    taken = source.examples(crop=CROP.value, stop=min(IMAGES.value, source.size))
    pictures = np.stack([e["image"] for e in taken.as_numpy_iterator()])
    rows, near = [], {}
    for path in map(pathlib.Path, ENCODERS.value):
        moved, far = distances(zoo.encoder(path.name, path.parent), pictures, GRID.value)
        middle = float(np.median(moved)), float(np.median(far))
        near[path.name] = moved / max(middle[1], 1e-12)
        ratio = round(float(np.median(near[path.name])), 4)
        rows.append({"encoder": str(path), "puzzle": middle[0], "image": middle[1], "ratio": ratio})
        print(f"{path.name}: {middle[0]:.3f} to its puzzle, {middle[1]:.3f} to others: {ratio}")
    workdir = pathlib.Path(WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / "invariance.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    histogram(near).save(workdir / "invariance.png")


if __name__ == "__main__":
    app.run(main)
