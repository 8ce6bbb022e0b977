"""Nearest neighbours are exact, recall is the share of queries with a right one among k."""

import functools

import numpy as np
import pytest
from conftest import photo, tiny_encoder

from sslzoo import data, probes
from sslzoo.pictures import drawing, retrieved
from sslzoo.pretexts.inpainting import Inpainting


def test_neighbours_are_those_of_the_largest_cosine():
    rng = np.random.default_rng(0)
    rows, queries = np.float32(rng.normal(size=(40, 6))), np.float32(rng.normal(size=(300, 6)))
    rows *= np.float32(rng.uniform(1, 9, (40, 1)))  # lengths do not count
    cosines = queries @ rows.T / np.linalg.norm(rows, axis=1)
    expected = np.argsort(-cosines, axis=1)[:, :7]
    np.testing.assert_array_equal(probes.neighbours(rows, queries, 7), expected)
    assert probes.neighbours(rows, queries, 99).shape == (300, 40)


class Read:
    """Two stages of 2 x 2 cells of two channels, whose mean is the direction of an image."""

    def __init__(self, turned=0.0):
        self.channels = {"stage1": 2, "stage2": 2}
        self.turned = turned

    def __call__(self, data):
        angles, y = data
        angles = np.deg2rad(np.asarray(angles, float))
        x = np.stack([np.cos(angles), np.sin(angles)], -1)
        cells = np.repeat(x[:, None], 4, 1) + np.array([1, -1, 2, -2])[:, None]
        other = np.roll(cells, 1, 0) if self.turned else cells
        flat = {"stage1": cells.reshape(len(y), -1), "stage2": other.reshape(len(y), -1)}
        return {name: np.float32(part) for name, part in flat.items()}, np.array(y)


def test_recall_by_hand():
    train, test = ([0, 10, 90, 100], [1, 0, 1, 2]), ([2, 92, 101], [0, 1, 0])
    rows, answers = probes.retrieval([Read(), Read(1)], train, test, (1, 2, 4))
    first = {"stage": "stage1", "of": 0, "recall@1": 1 / 3, "recall@2": 2 / 3, "recall@4": 1.0}
    assert rows[0] == pytest.approx(first)
    assert [(row["stage"], row["of"]) for row in rows] == [
        ("stage1", 0),
        ("stage2", 0),
        ("stage1", 1),
        ("stage2", 1),
    ]
    assert rows[2] == pytest.approx({**first, "of": 1})
    np.testing.assert_array_equal(answers["stage1"][:, 0], [0, 2, 3])


def test_by_context_finds_the_same_surroundings_and_shows_the_image(tmp_path):
    """Every test image is three training images but for its middle, and a grey level elsewhere."""
    train = np.stack([photo(16, i % 7) * 255 for i in range(21)]).astype(np.uint8)
    test = train[6::-1].copy()
    test[:, 4:12, 4:12] = 255 - test[:, 4:12, 4:12]
    test[:, 0, 0] ^= 1
    np.savez(tmp_path / "x.npz", x_train=train, x_test=test)
    sources = [data.load(str(tmp_path / "x.npz"), split) for split in ("train", "test")]
    settings = {"crop": 16, "bottleneck": 0, "width": 8, "overlap": 0, "adversarial": 0}
    pretext = Inpainting(tiny_encoder(), **settings)
    ask = functools.partial(probes.by_context, pretext, *sources, images=19, queries=3)
    queries, answers = ask(seed=1)
    assert (len(queries), [len(row) for row in answers]) == (3, [8, 8, 8])
    for query, row in zip(queries, answers, strict=True):
        np.testing.assert_array_equal(query[1:4], row[0][1:4])
        assert np.abs(query[0, 0] - row[0][0, 0]).min() > 0.003, "it is no training image"
        middle = row[0][4:12, 4:12]
        assert np.ptp(middle, (0, 1)).min() > 0.1, "an answer is shown whole"
        assert np.ptp(query[4:12, 4:12], (0, 1)).max() == 0
        assert np.abs(row[0] - row[3]).max() > 0.1, "there are three at most"
    again, other = (ask(seed=seed)[0] for seed in (1, 2))
    np.testing.assert_array_equal(again, queries)
    assert not np.array_equal(other, queries)


def test_answers_without_labels_have_no_frames():
    images = np.random.default_rng(0).random((6, 8, 8, 3))
    sheet = retrieved.picture(images[:2], [images[2:4], images[4:]])
    assert sheet.shape == (2 * 72 + 2, 3 * 72 + 4, 3)
    assert {*np.ravel(sheet[:: 72 + 2])} == {255}


def test_wrong_answers_have_a_red_frame_and_right_ones_a_green_one():
    images = np.random.default_rng(0).random((6, 8, 8, 3))
    right = np.array([[True, False], [False, True]])
    sheet = retrieved.picture(images[:2], [images[2:4], images[4:]], right)
    side = 64 + 2 * drawing.FRAME
    corners = [[tuple(sheet[i * (side + 2), j * (side + 2)]) for j in (1, 2)] for i in (0, 1)]
    assert corners == [[drawing.RIGHT, drawing.WRONG], [drawing.WRONG, drawing.RIGHT]]
    assert tuple(sheet[0, 0]) == (255, 255, 255), "the query has none"
    inside = sheet[drawing.FRAME, side + 2 + drawing.FRAME]
    np.testing.assert_array_equal(inside, drawing.to_uint8(images[2][0, 0]))
