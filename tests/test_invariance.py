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


def test_tiles_are_the_cells_of_each_image(invariance):
    pictures = np.stack([photo(13), photo(13, 1)])
    tiles = invariance.tiles(pictures, 2)
    assert tiles.shape == (8, 6, 6, 3)
    np.testing.assert_array_equal(tiles[1], pictures[0, :6, 6:12])
    np.testing.assert_array_equal(tiles[6], pictures[1, 6:12, :6])


def test_a_puzzle_of_equal_tiles_does_not_move_an_embedding(invariance):
    tile = np.stack([photo(8, i) for i in range(5)])
    near, far = invariance.distances(encoder(1), np.tile(tile, (1, 3, 3, 1)), 3)
    np.testing.assert_allclose(near, 0, atol=1e-5)
    assert far.min() > 1e-3


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
