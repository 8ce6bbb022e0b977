"""How far changes move an embedding: what each does, and cutting told from the order."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import photo

from sslzoo.errors import UserError
from sslzoo.images import color
from sslzoo.pictures import chart
from sslzoo.probes import features, results
from sslzoo.probes.cache import Cached
from sslzoo.probes.invariance import CHANGES, Changed, changes, invariance, shares

SIDE, CELL = 24, 12


class Source:
    """Twenty photographs."""

    spec, resize, size = "x", 0, 20

    def examples(self, crop, stop, seed=0, **options):
        pictures = np.stack([photo(crop, i) for i in range(stop)])
        seeds = np.stack([np.arange(stop), np.full(stop, seed)], 1).astype(np.int32)
        labels = np.arange(stop)
        return tf.data.Dataset.from_tensor_slices(
            {"image": pictures, "seed": seeds, "label": labels}
        )


def encoder(kernel, strides=1):
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 1, activation="tanh", name="stage1")(images)
    x = keras.layers.Conv2D(8, kernel, strides, activation="tanh", name="stage2")(x)
    return keras.Model(images, x)


def embedder(model, folder=None):
    return Cached(features.Embedder(model, (SIDE, SIDE, 3), max_features=1), folder)


def images(side=SIDE):
    return Changed(Source(), "digest", side, 20, 0)


def cells(picture, start=0, stop=CELL):
    """Pixels `start` to `stop` of each of the four cells."""
    return [
        picture[i + start : i + stop, j + start : j + stop] for i in (0, CELL) for j in (0, CELL)
    ]


def test_each_change_does_what_it_says():
    image = photo(SIDE)
    seeds = [tf.constant([i, 5]) for i in range(3)]
    made = [{k: v.numpy() for k, v in changes(tf.constant(image), seed).items()} for seed in seeds]
    assert {*made[0]} == {*CHANGES}
    for k in (1, 2, 3):
        np.testing.assert_array_equal(made[0][f"rotation {90 * k}"], np.rot90(image, k))
    np.testing.assert_array_equal(made[0]["mirror"], image[:, ::-1])
    np.testing.assert_allclose(made[0]["grey"], color.grey(tf.constant(image)), atol=1e-6)
    for name in ("crop", "jitter"):
        assert made[0][name].shape == image.shape
        gap = np.abs(made[0][name] - made[1][name]).mean()
        assert gap > 0.01, f"{name}: each image has its own"


def test_cut_and_order_have_the_same_tiles_and_borders():
    image, firsts = photo(SIDE + 1), set()
    for i in range(30):
        made = changes(tf.constant(image), tf.constant([i, 5]))
        cut, order = (made[name].numpy()[:SIDE, :SIDE] for name in ("cut", "order"))
        for own, there in zip(cells(image, 1, CELL - 1), cells(cut, 1, CELL - 1), strict=True):
            np.testing.assert_allclose(own, there, atol=1e-6)
        places = [
            [np.array_equal(tile, other) for other in cells(cut)].index(True)
            for tile in cells(order)
        ]
        assert sorted(places) == [0, 1, 2, 3]
        assert all(place != own for own, place in enumerate(places)), "none stays"
        firsts.add(tuple(places))
        for made_of in made["cut"].numpy(), made["order"].numpy():
            for border in (made_of[0], made_of[CELL], made_of[:, CELL - 1], made_of[:, SIDE]):
                np.testing.assert_allclose(border, np.tile(image.mean((0, 1)), (25, 1)), atol=1e-6)
    assert len(firsts) == 6, "all cycles"


@pytest.mark.parametrize(
    ("kernel", "strides", "moves"),
    [(1, 1, False), (CELL, CELL, False), (CELL, 3, True), (SIDE, 1, True)],
    ids=["pixels", "tiles", "across tiles", "whole images"],
)
def test_cutting_moves_all_encoders_and_order_those_that_see_beyond_a_tile(kernel, strides, moves):
    model = encoder(kernel, strides)
    rows, _ = invariance([embedder(model)] * 2, images())
    moved = {row["change"]: row["distance"] for row in rows}
    assert moved["cut"] > 0.01
    assert (moved["order"] > 0.01) == moves
    assert moved["order"] < 1e-5 or moves


def test_shares_by_hand():
    turn = np.deg2rad([0, 90, 0, 0, 0, 0, 0, 0, 60, 120])  # image, then its changes
    one = np.stack([np.cos(turn), np.sin(turn)], 1) * 7  # lengths do not count
    found = shares(np.float32(np.concatenate([one, one[:, ::-1]])))
    far = 1 - np.cos(np.pi / 2)  # of the two images
    assert {*found} == {*CHANGES, "another image"}
    np.testing.assert_allclose(found["rotation 90"], [1 / far] * 2, atol=1e-6)
    np.testing.assert_allclose(found["mirror"], 0, atol=1e-6)
    np.testing.assert_allclose(found["cut"], [0.5 / far] * 2, atol=1e-6)
    np.testing.assert_allclose(found["order"], [0.5 / far] * 2, atol=1e-6)  # 60 degrees, not 120
    np.testing.assert_allclose(found["another image"], [1, 1], atol=1e-6)
    rows = np.random.default_rng(0).normal(size=(5 * 10, 3))
    image = rows[::10] / np.linalg.norm(rows[::10], axis=1, keepdims=True)
    far = (1 - image @ image.T)[~np.eye(5, dtype=bool)].mean()
    turned = 1 - np.sum(image * rows[1::10], 1) / np.linalg.norm(rows[1::10], axis=1)
    np.testing.assert_allclose(shares(rows)["rotation 90"], turned / far, rtol=1e-4)


def test_rows_of_both_encoders_and_a_cache_of_averages(tmp_path):
    own, random = encoder(1), encoder(SIDE)
    kept = [embedder(model, tmp_path) for model in (own, random)]
    rows, (moved, _) = invariance(kept, images())
    assert [row["change"] for row in rows] == [*CHANGES]
    for row in rows:
        stages = {(r["stage"], r["of"]): r["distance"] for r in row["stages"]}
        assert [*stages] == [("stage1", 0), ("stage2", 0), ("stage1", 1), ("stage2", 1)]
        assert (row["stage"], row["distance"]) == ("stage2", stages["stage2", 0])
        assert row["random_distance"] == stages["stage2", 1] != row["distance"]
        assert row["distance"] == pytest.approx(moved[row["change"]].mean())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 50_000
    assert images().name != super(Changed, images()).name


def test_where_all_images_are_one_there_is_no_share():
    model = encoder(1)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    rows, (moved, _) = invariance([embedder(model), embedder(encoder(1))], images())
    assert {row["distance"] for row in rows} == {None}
    assert all(row["random_distance"] is not None for row in rows)
    assert chart.histograms({"a": {"none": moved["cut"]}}, "x").shape == (600, 960, 3)
    assert "-" in results.table(rows).splitlines()[1]
    assert json.loads(json.dumps(rows)) == rows
    with pytest.raises(UserError, match=r"two images or more\. Received: 1"):
        shares(np.ones((10, 2)))


def test_a_histogram_shows_what_is_in_it_and_what_lies_beyond():
    low, high, far = ([x] * 9 for x in (0.1, 1.9, 5.0))
    one, other, beyond = (chart.histograms({"a": {"b": x}}, "x") for x in (low, high, far))
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(beyond, chart.histograms({"a": {"b": [2.0] * 9}}, "x"))
    grey = chart.histograms({"a": {"b": low}}, "x", dashed=["b"])
    assert not np.array_equal(one, grey)
    assert (one.max(-1) - one.min(-1)).max() > 50 >= (grey.max(-1) - grey.min(-1)).max()
