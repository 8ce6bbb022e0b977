"""`tools/invariance.py`: an encoder that sees only colours is not moved by shuffled tiles."""

import csv

import keras
import numpy as np
import pytest
from absl import flags
from conftest import photo
from PIL import Image

from sslzoo import export


@pytest.fixture
def invariance(tool):
    return tool("invariance")


def encoder(kernel, strides=1):
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, kernel, strides, "same", activation="relu", name="stage1")(images)
    return keras.Model(images, x)


def cells(picture):
    """The four tiles of 6 pixels, as bytes."""
    return [picture[i : i + 6, j : j + 6].tobytes() for i in (0, 6) for j in (0, 6)]


def test_a_puzzle_is_the_tiles_of_its_image_in_any_order(invariance):
    pictures = np.stack([photo(12, i % 2) for i in range(200)])
    puzzles = invariance.shuffled(pictures, 2)
    assert puzzles.shape == pictures.shape
    orders = set()
    for picture, puzzle in zip(pictures, puzzles, strict=True):
        assert sorted(cells(puzzle)) == sorted(cells(picture))
        orders.add(tuple(cells(picture).index(tile) for tile in cells(puzzle)))
    assert len(orders) == 24


def test_order_moves_an_encoder_that_sees_more_than_a_tile(invariance):
    pictures = np.stack([photo(17, i) for i in range(20)])  # a row and a column too many
    for kernel, moves in [(1, False), (8, False), (16, True)]:  # pixels, tiles, whole images
        near, far = invariance.distances(encoder(kernel, kernel), pictures, 2)
        assert (np.median(near) > 1e-3) == moves
        assert np.median(far) > 1e-3


def test_csv_and_png_of_two_encoders(invariance, tmp_path):
    x = np.uint8([255 * photo(16, i) for i in range(12)])
    np.savez(tmp_path / "x.npz", x_train=x, x_test=x)
    names = {"colour": encoder(1), "shape": encoder(8, 8)}
    for name, model in names.items():
        export.save(model, tmp_path / name)
    paths = ",".join(str(tmp_path / name) for name in names)
    argv = ["tool", f"--encoders={paths}", f"--dataset={tmp_path / 'x.npz'}", "--crop=16"]
    flags.FLAGS([*argv, "--grid=2", "--images=10", f"--workdir={tmp_path}/out"])
    invariance.main(None)
    with open(tmp_path / "out/invariance.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["encoder"] for row in rows] == paths.split(",")
    for row in rows:
        ratio = float(row["puzzle"]) / float(row["image"])
        assert float(row["ratio"]) == pytest.approx(ratio, abs=1e-3)
    assert Image.open(tmp_path / "out/invariance.png").size == (640, 360)
