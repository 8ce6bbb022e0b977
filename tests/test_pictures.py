"""Rows of named panels, with frames that say right or wrong."""

import keras
import numpy as np
import pytest

from sslzoo import encoders, pictures, probes
from sslzoo.pictures import chart, filters
from sslzoo.pictures.drawing import CAPTION, FRAME, GAP, RIGHT, WRONG

SIDE = 96 + 2 * FRAME
GREY = np.full((8, 8, 3), 0.5)


def frames(picture, columns):
    """The colour of each panel's frame, of panels no wider than their names."""
    return [tuple(picture[CAPTION, i * (SIDE + GAP)].tolist()) for i in range(columns)]


@pytest.mark.parametrize(("right", "colour"), [(True, RIGHT), (False, WRONG), (None, (255,) * 3)])
def test_only_the_answer_is_framed(right, colour):
    row = pictures.row({"puzzle": GREY, "truth": GREY, "answer": GREY}, right)
    assert row.shape == (SIDE + CAPTION, 3 * SIDE + 2 * GAP, 3)
    assert frames(row, 3) == [(255,) * 3, (255,) * 3, colour]


def test_names_stand_above_their_panels():
    row = pictures.row({"a": GREY, "b": GREY})
    left, right = row[:CAPTION, :SIDE], row[:CAPTION, SIDE + GAP :]
    assert left.min() < 100, "something is written"
    assert (left != right[:, : left.shape[1]]).any(), "and not twice the same"
    wide = pictures.row({"a name much longer than its panel is": GREY}, side=8)
    assert wide.shape[1] > 100


def test_panels_of_all_kinds_go_together():
    white = np.full((60, 20, 3), 255, np.uint8)
    row = pictures.row({"small": GREY, "high": white, "float": np.ones((96, 96, 3))})
    assert row.dtype == np.uint8
    middle = CAPTION + FRAME + 48
    assert row[middle, FRAME + 48].tolist() == [128] * 3


# === Filters of the first convolution ===


def convolution(kernel):
    """A model of one convolution with that kernel (k, k, C, filters)."""
    images = keras.Input((None, None, 3))
    mixed = keras.layers.Conv2D(kernel.shape[2], 1, trainable=False)(images)
    layer = keras.layers.Conv2D(kernel.shape[3], kernel.shape[0], use_bias=False)
    model = keras.Model(images, layer(images if kernel.shape[2] == 3 else mixed))
    layer.set_weights([kernel])
    return model


def drawn(kernel):
    """The tiles of the trained side, (filters, 32, 32, 3)."""
    other = convolution(np.ones_like(kernel))
    sheet = filters.draw(convolution(kernel), other)[CAPTION + FRAME :, FRAME:]
    return [sheet[: filters.SIDE, i * (filters.SIDE + 2) :][:, : filters.SIDE] for i in range(2)]


def test_filters_are_colours_about_grey_each_by_its_own_scale():
    kernel = np.zeros((2, 2, 3, 4), np.float32)
    kernel[0, 1, 0, 0], kernel[1, 0, 2, 0] = 0.01, -0.005  # red to the right above, less blue below
    kernel[..., 1] = 7.0
    first, second = drawn(kernel)
    assert first[0, 0].tolist() == [128, 128, 128]
    assert first[0, -1].tolist() == [255, 128, 128]
    assert first[-1, 0].tolist() == [128, 128, 64]
    assert (second == 255).all()


def test_filters_of_two_channels_are_greys_side_by_side():
    kernel = np.zeros((2, 2, 2, 1), np.float32)
    kernel[0, 1, 0, 0], kernel[1, 1, 1, 0] = 1.0, -1.0
    first, second = drawn(kernel)
    assert first[[0, -1], [-1, -1]].tolist() == [[255] * 3, [128] * 3]
    assert second[[0, -1], [-1, -1]].tolist() == [[128] * 3, [0] * 3]


@pytest.mark.parametrize("name", ["small", "small_sobel", "alexnet", "resnet18"])
def test_trained_filters_stand_left_of_random_ones(name):
    encoder = encoders.get(name)
    random = probes.random_twin(encoder, 1)
    sheet = filters.draw(encoder, random)
    half = (sheet.shape[1] - GAP) // 2
    left, right = sheet[CAPTION:, :half], sheet[CAPTION:, -half:]
    assert (left != right).any()
    swapped = filters.draw(random, encoder)
    np.testing.assert_array_equal(swapped[CAPTION:, -half:], left)


def test_without_a_convolution_of_pixels_there_is_no_picture():
    flat = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Dense(2)])
    assert filters.draw(flat, flat) is None
    many = convolution(np.ones((3, 3, 8, 4), np.float32))
    assert filters.draw(many, many) is None


def test_no_two_of_many_curves_look_alike(monkeypatch):
    from matplotlib.axes import Axes

    looks, draw = {}, Axes.errorbar
    monkeypatch.setattr(
        Axes, "errorbar", lambda *a, **k: looks.update({k["label"]: k}) or draw(*a, **k)
    )
    curves = {"random": {"a": [1.0]}, **{f"{i}": {"a": [2.0], "b": [3.0, 4.0]} for i in range(23)}}
    assert chart.lines(curves, "y", dashed=["random"]).shape == (600, 960, 3)
    assert looks.pop("random")["linestyle"] == "--"
    assert len({(look["color"], look["marker"]) for look in looks.values()}) == 23
