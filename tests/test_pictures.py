"""Rows of named panels, with frames that say right or wrong."""

import numpy as np
import pytest

from sslzoo import pictures
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
