"""The jigsaw's six facts (METHODS 1.8); permutation sets have a file of their own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import examples, photo, tiny_encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from sslzoo.errors import UserError
from sslzoo.images import color, geometry
from sslzoo.pretexts.jigsaw import PAPER_FIGURE_3, Jigsaw

SMALL = {"crop": 48, "grid": 3, "tile": 12, "num_permutations": 10, "fc6": 8, "fc7": 16}


def small(**kwargs):
    return Jigsaw(tiny_encoder(), **{**SMALL, **kwargs})


def example(image, seed=(1, 2)):
    return {"image": tf.constant(image), "index": tf.constant(0), "seed": tf.constant(seed)}


# === 1. Geometry ===


@pytest.mark.parametrize("geometry", [{"crop": 255, "tile": 64}, PAPER_FIGURE_3])
def test_paper_geometry(geometry):
    pretext = Jigsaw(tiny_encoder(), **geometry, num_permutations=10, fc6=2, fc7=2)
    tiles, k = pretext.transform(example(photo(256)))
    assert tiles.shape == (9, 64, 64, 3)
    assert 0 <= k < 10


@settings(max_examples=60, deadline=None)
@given(
    grid=st.integers(2, 4),
    cell=st.integers(8, 40),
    jitter=st.integers(0, 2),
    slack=st.integers(0, 20),
    seed=st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)),
)
def test_no_tile_leaves_its_cell(grid, cell, jitter, slack, seed):
    tile = max(1, cell - 2 * jitter - slack)
    pretext = object.__new__(Jigsaw)  # only the geometry: no network to build
    for name, value in {"grid": grid, "tile": tile, "channel_jitter": jitter}.items():
        object.__setattr__(pretext, name, value)
    object.__setattr__(pretext, "crop", grid * cell)
    corners = Jigsaw.windows(pretext, tf.constant(seed, tf.int32)).numpy()
    assert corners.shape == (grid * grid, 3, 2)
    for i, window in enumerate(corners):
        offset = window - [i // grid * cell, i % grid * cell]
        assert offset.min() >= 0
        assert (offset + tile).max() <= cell


def test_gap_between_neighbours_and_channel_jitter():
    pretext = Jigsaw(tiny_encoder(), num_permutations=10, fc6=2, fc7=2)
    corners = np.stack([pretext.windows(tf.constant([0, i])).numpy() for i in range(300)])
    middle = np.median(corners, axis=2)  # (300, 9, 2)
    gaps = middle[:, [1, 2, 4, 5, 7, 8], 1] - middle[:, [0, 1, 3, 4, 6, 7], 1] - 64
    assert gaps.mean() == pytest.approx(21, abs=0.7)
    assert gaps.min() >= 0
    assert gaps.max() <= 42
    spread = corners.max(2) - corners.min(2)
    assert spread.max() == 4, "channels differ by -2..2 from the base"
    assert spread.min() == 0


def test_windows_are_cut_and_greyed_channel_by_channel():
    image, rng = photo(48), np.random.default_rng(0)
    corners = rng.integers(0, 37, (4, 3, 2))
    planes = geometry.cut_planes(image, 12, corners.astype(np.int32))
    for i, c in np.ndindex(4, 3):
        y, x = corners[i, c]
        np.testing.assert_array_equal(planes[i, c], image[y : y + 12, x : x + 12, c])
    tiles = geometry.from_planes(planes)
    np.testing.assert_array_equal(tiles[..., 1], planes[:, 1])
    grey = geometry.from_planes(color.grey_planes(planes))
    np.testing.assert_allclose(grey, color.grey(tiles), atol=1e-6)
    projected = geometry.from_planes(color.planes_without_green_magenta(planes))
    np.testing.assert_allclose(projected, color.without_green_magenta(tiles), atol=1e-6)


@pytest.mark.parametrize(("side", "many"), [(12, False), (64, True)])
def test_planes_become_images_however_many_they_are(side, many):
    planes = np.random.default_rng(0).random((9, 3, side, side + 1), np.float32)
    assert (planes.size > geometry.SMALL) == many
    expected = planes.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(geometry.from_planes(tf.constant(planes)), expected)


# === 2. Order ===


def grid_image(crop=48, grid=3):
    """Each cell has a colour of its own."""
    image = np.zeros((crop, crop, 3), np.float32)
    cell = crop // grid
    for i in range(grid * grid):
        image[i // grid * cell :, i % grid * cell :][:cell, :cell] = (i + 1) / 10
    return image


def test_shown_tile_i_is_tile_perm_i_and_the_inverse_restores():
    pretext = small(normalize=False, grey=0.0)
    for seed in range(5):
        tiles, k = pretext.transform(example(grid_image(), seed=(seed, 3)))
        permutation = pretext.permutations[int(k)]
        shown = np.round(tiles.numpy().mean((1, 2, 3)) * 10) - 1
        np.testing.assert_array_equal(shown, permutation)
        restored = np.empty(9)
        restored[permutation] = shown
        np.testing.assert_array_equal(restored, np.arange(9))


def test_identity_permutation_is_the_identity():
    pretext = small(normalize=False, grey=0.0)
    pretext.permutations = np.arange(9)[None].repeat(10, 0)
    tiles, _ = pretext.transform(example(grid_image()))
    np.testing.assert_allclose(tiles.numpy().mean((1, 2, 3)), np.arange(1, 10) / 10, atol=1e-5)


def test_several_puzzles_an_image_lie_in_a_row_and_differ():
    several, darker = 8, 0.5
    pretext = small(normalize=False, grey=0.5, puzzles_per_image=several)
    both = [grid_image(), darker * grid_image()]
    data = [{**example(image, seed=(4, i))} for i, image in enumerate(both)]
    data = tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(lambda *x: tf.stack(x), *data))
    tiles, k = next(iter(pretext.puzzles(data, 2)))
    assert tiles.shape == (2 * several, 9, 12, 12, 3)
    shades = tiles.numpy().mean((2, 3, 4)) / np.repeat([1, darker], several)[:, None]
    np.testing.assert_array_equal(np.round(10 * shades) - 1, pretext.permutations[k.numpy()])
    assert min(len({*part}) for part in np.split(k.numpy(), 2)) > 2, "orders differ"
    pretext = small(normalize=False, grey=0.5, puzzles_per_image=several)
    tiles, k = pretext.transform(example(photo(48)))
    back = np.argsort(pretext.permutations[k.numpy()])
    home = np.take_along_axis(tiles.numpy(), back[..., None, None, None], 1)
    assert len(np.unique(home[:, 0, :2, :2].mean((1, 2, 3)))) == several, "windows differ"
    assert 0 < np.sum(np.ptp(home, axis=-1).max((1, 2, 3)) < 1e-6) < several, "colours differ"


# === 4. Context-freeness ===


def test_each_tile_is_encoded_alone():
    pretext = small()
    tower = keras.Model(pretext.input, pretext.get_layer("tower").output)
    tiles = np.random.default_rng(0).normal(size=(2, 9, 12, 12, 3)).astype(np.float32)
    order = np.random.default_rng(1).permutation(9)
    np.testing.assert_allclose(tower(tiles).numpy()[:, order], tower(tiles[:, order]), atol=1e-5)
    x = tf.constant(tiles)
    with tf.GradientTape() as tape:
        tape.watch(x)
        fourth = tf.reduce_sum(tower(x)[:, 4])
    slope = np.abs(tape.gradient(fourth, x).numpy()).max((0, 2, 3, 4))
    assert slope[4] > 0
    np.testing.assert_array_equal(np.delete(slope, 4), 0)


# === 5. Normalisation ===


def test_each_channel_of_each_tile_is_standardised():
    tiles, _ = small().transform(example(photo(48)))
    np.testing.assert_allclose(tiles.numpy().mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(tiles.numpy().std((1, 2)), 1, atol=1e-3)


def test_constant_image_gives_zeros():
    tiles, _ = small().transform(example(np.full((48, 48, 3), 0.3, np.float32)))
    np.testing.assert_array_equal(tiles, 0)


def test_grey_probability():
    pretext = small(normalize=False, grey=0.3, channel_jitter=2)
    data = examples(48, n=200).map(pretext.transform)
    grey = [np.ptp(tiles.numpy(), axis=-1).max() < 1e-6 for tiles, _ in data]
    assert np.mean(grey) == pytest.approx(0.3, abs=0.1)


def test_projection_takes_one_axis_of_the_colours_and_leaves_greys():
    def along(pretext, n=100):  # whether a puzzle has no green-magenta, whether it is grey
        found = [pretext.transform(e)[0].numpy() for e in examples(48, n)]
        free = [np.abs(x @ [-1, 2, -1]).max() < 1e-5 for x in found]
        return np.array(free), np.array([np.ptp(x, axis=-1).max() < 1e-5 for x in found])

    options = {"normalize": False, "grey": 0.5}
    free, grey = along(small(**options, project=0.5))
    assert free[grey].all()
    assert np.mean(free[~grey]) == pytest.approx(0.5, abs=0.17)
    np.testing.assert_array_equal(grey, along(small(**options))[1])
    assert not along(small(normalize=False, grey=0.0), 5)[0].any()
    tiles, _ = small(grey=0.0, project=1.0).transform(example(photo(48)))
    np.testing.assert_allclose(tiles.numpy().std((1, 2)), 1, atol=1e-3)  # after the projection


# === 6. Parameters and initial loss ===


@pytest.mark.parametrize("n", [10, 24])
def test_initial_loss_is_ln_n(n):
    pretext = small(num_permutations=n)
    pretext.compile("sgd")
    loss = pretext.evaluate(pretext.puzzles(examples(48, n=64), 64), verbose=0, return_dict=True)[
        "loss"
    ]
    assert loss == pytest.approx(np.log(n), rel=0.1)


# === Errors and pictures ===


@pytest.mark.parametrize(
    ("geometry", "flag"),
    [
        ({"grid": 5}, "--grid"),
        ({"crop": 50}, "--crop"),
        ({"tile": 13}, "--tile"),
        ({"grid": 2, "num_permutations": 25}, "--num_permutations"),
    ],
)
def test_impossible_geometry_names_the_flag(geometry, flag):
    with pytest.raises(UserError, match=f"{flag}.*Received"):
        small(**geometry)


def test_picture_arranges_by_the_truth_and_by_the_answer(panels):
    pretext = small(normalize=False, grey=0.0)
    tiles, k = pretext.transform(example(grid_image()))
    right = np.eye(10)[int(k)]
    wrong = np.eye(10)[int(k) - 1]
    shown, verdict = panels(pretext, tiles.numpy(), k.numpy(), right)
    truth = shown["truth"]
    assert verdict is True
    np.testing.assert_array_equal(truth, shown["answer"])
    np.testing.assert_array_equal(np.sort(truth[::32, 4, 0]), truth[::32, 4, 0])
    shown, verdict = panels(pretext, tiles.numpy(), k.numpy(), wrong)
    assert verdict is False
    assert (shown["answer"] != truth).any()
    assert (shown["puzzle"] != truth).any()
