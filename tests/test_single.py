"""One image as a data set: boxes, angles, pixels (arXiv:1904.13132), and what a wrong spec says."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import photo

from sslzoo import data
from sslzoo.data.pyramid import Pyramid
from sslzoo.errors import UserError
from sslzoo.images import color

PLAIN = "beta=1,gamma=1,rotate=0,flip=0,color=0"
MIDDLE = [0.5, 0.5]


def save(path, image):
    tf.io.write_file(str(path), tf.io.encode_png(image))
    return path


@pytest.fixture
def wide(tmp_path):
    """A file of 120 x 160 pixels."""
    image = tf.image.resize(photo(160), [120, 160]).numpy()
    return save(tmp_path / "wide.png", np.uint8(255 * image))


def drawn(source, n=10_000):
    """What the first `n` views are, and the boxes: numbers (n, 4)."""
    raw = source.fetch(tf.range(n, dtype=tf.int64))
    return raw, source.boxes(raw).numpy()


def places(n, at=MIDDLE):
    return tf.constant([at] * n, tf.float32)


# === Boxes, angles, flips ===


@pytest.mark.parametrize(("beta", "gamma"), [(0.001, 0.75), (0.2, 0.5)])
def test_boxes_are_as_the_paper_has_them(wide, beta, gamma):
    raw, boxes = drawn(data.load(f"single:{wide},beta={beta},gamma={gamma}"))
    top, left, height, width = boxes.T
    assert min(top.min(), left.min()) >= 0
    assert (top + height).max() <= 120.001
    assert (left + width).max() <= 160.001
    area, aspect = height * width / (120 * 160), height / width
    assert area.min() >= 0.999 * beta
    assert area.min() < 1.1 * beta + 0.001, "the small ones are there"
    assert gamma * 0.999 <= aspect.min() < gamma * 1.01
    assert aspect.max() <= 1.001 / gamma
    assert abs(np.log(aspect).mean()) < 0.02
    assert area.max() > 0.95, "and such as hold nearly all of it"
    # Anywhere: the room beside a box lies as often on its left, whatever lies above it.
    free = np.array([top / (120 - height + 1e-3), left / (160 - width + 1e-3)])
    np.testing.assert_allclose(free.mean(1), 0.5, atol=0.02)
    assert abs(np.corrcoef(free)[0, 1]) < 0.05
    assert np.abs(np.corrcoef(raw["draws"].numpy().T) - np.eye(12)).max() < 0.05


@pytest.mark.parametrize("rotate", [35, 45, 0])
def test_no_pixel_of_a_view_lies_outside_of_its_box(wide, rotate):
    source = data.load(f"single:{wide},rotate={rotate}", resize=16)
    raw, boxes = drawn(source, 3000)
    degrees = np.degrees(source.angles(raw))
    assert np.abs(degrees).max() <= rotate
    assert np.abs(degrees).max() >= 0.99 * rotate
    assert abs(degrees.mean()) < 1.5
    rows, columns, _ = (x.numpy() for x in source.points(raw, places(3000), 0))
    top, left, height, width = boxes.T[:, :, None, None]
    assert (rows >= top - 0.01).all()
    assert (rows <= top + height + 0.01).all()
    assert (columns >= left - 0.01).all()
    assert (columns <= left + width + 0.01).all()
    # And no more is cut away than has to be: the pixels' middles of some view reach the edge.
    free = np.min(rows - top, axis=(1, 2)) / height[:, 0, 0]
    assert free.min() < 0.5 / 16 + 0.01


def test_a_view_is_turned_by_its_angle_and_not_sheared(wide):
    source = data.load(f"single:{wide},flip=0", resize=16)
    raw, boxes = drawn(source, 200)
    rows, columns, _ = (x.numpy() for x in source.points(raw, places(200), 0))
    rows, columns = rows / boxes[:, 2, None, None], columns / boxes[:, 3, None, None]
    down = (rows[:, -1, 0] - rows[:, 0, 0]) + 1j * (columns[:, -1, 0] - columns[:, 0, 0])
    across = (rows[:, 0, -1] - rows[:, 0, 0]) + 1j * (columns[:, 0, -1] - columns[:, 0, 0])
    np.testing.assert_allclose(np.angle(down), source.angles(raw), atol=1e-3)
    np.testing.assert_allclose(np.angle(across / down), np.pi / 2, atol=1e-3)
    np.testing.assert_allclose(np.abs(across), np.abs(down), rtol=1e-3)


def test_neighbours_are_as_far_apart_as_the_ratio_says(wide):
    source = data.load(f"single:{wide}", resize=16)
    raw, _ = drawn(source, 200)
    rows, columns, ratio = (x.numpy() for x in source.points(raw, places(200), 0))
    for axis in (1, 2):
        step = np.hypot(np.diff(rows, axis=axis), np.diff(columns, axis=axis))
        assert (step.max((1, 2)) <= ratio * 1.001).all()
        assert (step.min((1, 2)) >= ratio * 0.7).all()


@pytest.mark.parametrize("flip", [0.5, 0.1])
def test_views_are_mirrored_as_often_as_said(wide, flip):
    source = data.load(f"single:{wide},rotate=0,flip={flip}", resize=8)
    raw, _ = drawn(source)
    _, columns, _ = source.points(raw, places(10_000), 0)
    assert np.mean(columns[:, 0, 0] > columns[:, 0, -1]) == pytest.approx(flip, abs=0.02)


def test_images_take_turns_and_classes_are_files(tmp_path):
    for i, name in enumerate(("b.png", "a.png", "c.png")):
        save(tmp_path / name, np.full((40, 40, 3), 60 * (i + 1), np.uint8))
    listed = f"single:{tmp_path}/b.png,{tmp_path}/a.png,{tmp_path}/c.png,color=0,beta=0.1,n=20"
    source = data.load(listed, labels=True)
    assert [round(255 * float(source.read(i)[5, 5, 0])) for i in range(4)] == [60, 120, 180, 60]
    assert source.class_names == [f"{tmp_path}/{name}.png" for name in "bac"]
    elements = [*source.examples(crop=8).as_numpy_iterator()]
    assert len(elements) == source.size == 20
    for e in elements:
        assert round(255 * float(e["image"][3, 3, 0])) == 60 * (e["label"] + 1)
    folder = data.load(f"single:{tmp_path},color=0,beta=0.1")
    assert [path.name for path in folder.paths] == ["a.png", "b.png", "c.png"]
    assert round(255 * float(folder.read(0)[5, 5, 0])) == 120
    assert folder.name(4) == f"{tmp_path}/b.png, view 4"


# === Purity ===


def test_a_view_is_a_function_of_seed_split_index_and_file(wide, tmp_path):
    other = save(tmp_path / "other.png", np.uint8(255 * photo(128, 5)))
    spec = f"single:{wide},n=40"
    source = data.load(spec)
    assert (source.size, data.load(spec, "test").size) == (40, 4)
    view = source.read(3).numpy()
    np.testing.assert_array_equal(view, data.load(spec).read(3))
    np.testing.assert_array_equal(view, data.load(f"single:{wide}").read(3), "whatever n")
    apart = {
        "index": source.read(4),
        "split": data.load(spec, "test").read(3),
        "seed": data.load(f"{spec},seed=1").read(3),
    }
    for what, image in apart.items():
        assert np.abs(view - image).max() > 0.05, what
    draws = [x.fetch(tf.constant([3], tf.int64))["draws"] for x in (source, data.load(spec))]
    np.testing.assert_array_equal(*draws)
    changed = data.load(f"single:{other}").fetch(tf.constant([3], tf.int64))["draws"]
    assert np.abs(changed - draws[0]).max() > 0, "so a resumed run sees that the file is another"


def test_examples_are_crops_of_whole_views(wide):
    source = data.load(f"single:{wide},n=20", resize=24)
    options = {"seed": 3, "crop": 16, "stop": 30, "epoch_size": 20}
    once = [*source.examples(**options).as_numpy_iterator()]
    again = [*source.examples(**options, start=25).as_numpy_iterator()]
    for a, b in zip(once[25:], again, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
    assert all(e["image"].shape == (16, 16, 3) for e in once)
    raw = source.fetch(tf.constant([5], tf.int64))
    full, corner = (source.points(raw, places(1, at), 16)[0] for at in ([0.0, 0.0], [0.99, 0.99]))
    whole = source.points(raw, places(1), 0)[0]
    np.testing.assert_allclose(full, whole[:, :16, :16])
    np.testing.assert_allclose(corner, whole[:, 8:, 8:])
    assert source.examples(crop=0).element_spec["image"].shape == (24, 24, 3)


# === Pixels ===


@pytest.mark.parametrize("side", [64, 96, 45, 12])
def test_the_plainest_view_is_the_resized_image(tmp_path, side):
    image = np.uint8(255 * photo(96))
    save(tmp_path / "x.png", image)
    view = data.load(f"single:{tmp_path}/x.png,{PLAIN}", resize=side).read(7).numpy()
    resized = tf.image.resize(image / 255, [side, side], antialias=True)
    assert view.shape == (side, side, 3)
    np.testing.assert_allclose(view, resized, atol=1e-6 if side == 96 else 0.04)


def test_the_finest_detail_is_averaged_not_picked(tmp_path):
    """A chessboard of pixels is grey from afar: a sampling without levels shows a pattern."""
    board = np.indices((256, 256)).sum(0) % 2 * 255
    save(tmp_path / "board.png", np.uint8(np.repeat(board[..., None], 3, -1)))
    spec = f"single:{tmp_path}/board.png,beta=0.5,color=0"
    views = np.stack([data.load(spec, resize=32).read(i).numpy() for i in range(10)])
    assert np.abs(views - 0.5).max() < 0.05


def test_levels_of_images_of_all_shapes_lie_where_they_should():
    images = [np.uint8(255 * photo(side, side)) for side in (6, 160, 60)]
    images[1] = images[1][:70]
    pyramid = Pyramid(images)
    for i, image in enumerate(images):
        height, width = image.shape[:2]
        for ratio in (1.0, 1.5, 3.0, 8.0):
            h, w = max(int(height / ratio), 2), max(int(width / ratio), 2)
            rows = (np.arange(h) + 0.5) / h * height
            columns = (np.arange(w) + 0.5) / w * width
            grid = [np.float32(g)[None] for g in np.meshgrid(rows, columns, indexing="ij")]
            apart = tf.constant([max(height / h, width / w)], tf.float32)
            got = pyramid.sample(tf.constant([i]), *grid, apart)[0]
            expected = tf.image.resize(image / 255, [h, w], antialias=True)
            np.testing.assert_allclose(got, expected, atol=0.12)


def test_half_of_the_views_are_recoloured_and_stay_colours(wide):
    plain, vivid = (data.load(f"single:{wide},color={c}", resize=8) for c in (0, 0.4))
    raw = plain.fetch(tf.range(400, dtype=tf.int64))
    before, after = (s.open_chunk(raw, places(400), 8).numpy() for s in (plain, vivid))
    changed = np.abs(before - after).max((1, 2, 3)) > 1e-4
    assert changed.mean() == pytest.approx(0.5, abs=0.08)
    assert after.min() >= 0
    assert after.max() <= 1


def test_recoloring_is_brightness_contrast_saturation_and_hue():
    images = tf.constant(np.stack([photo(8, i) * 0.4 + 0.3 for i in range(2)]))
    one, none = tf.ones(2), tf.zeros(2)
    np.testing.assert_allclose(color.recolor(images, one, one, one, none), images, atol=1e-6)
    factor = tf.constant([0.8, 1.3])
    by = factor[:, None, None, None]
    np.testing.assert_allclose(
        color.recolor(images, factor, one, one, none), tf.minimum(images * by, 1), atol=1e-6
    )
    mean = tf.reduce_mean(color.grey(images), [1, 2], keepdims=True)
    found = color.recolor(images, one, factor, one, none)
    np.testing.assert_allclose(found, mean + (images - mean) * by, atol=1e-6)
    greys = color.grey(images)
    found = color.recolor(images, one, one, factor, none)
    np.testing.assert_allclose(found, greys + (images - greys) * by, atol=1e-6)
    # A third of the circle is a change of places; red becomes green.
    found = color.recolor(images, one, one, one, one / 3)
    np.testing.assert_allclose(found, tf.roll(images, 1, -1), atol=1e-6)


def test_the_built_in_photograph():
    source = data.load("single:")
    assert source.size == 25_000
    assert source.read(0).shape == (64, 64, 3)
    assert "motorcycle" in source.name(0)


# === What a wrong spec says ===


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("speed=3", "expected images, a folder of them, or n=, beta=.*=. Received: 'speed=3'"),
        ("n=0", "n: expected a whole number, 1 to .* Received: '0'"),
        ("n=2.5", "n: expected a whole number"),
        ("beta=0", "beta: expected a number, more than 0, at most 1. Received: '0'"),
        ("gamma=2", "gamma: expected a number"),
        ("rotate=46", "rotate: expected a number, 0 to 45. Received: '46'"),
        ("color=nan", "color: expected a number, 0 to 1. Received: 'nan'"),
        ("flip=often", "flip: expected a number, 0 to 1. Received: 'often'"),
        ("seed=-1", "seed: expected a whole number"),
        ("beta=0.8", "wide.png: beta: expected at most 0.562,.* Received: 0.8"),
    ],
)
def test_wrong_options(wide, options, message):
    with pytest.raises(UserError, match=message):
        data.load(f"single:{wide},{options}")


def test_wrong_files(wide, tmp_path):
    with pytest.raises(UserError, match=r"expected an image.*Received: .*none.jpg, No such file"):
        data.load(f"single:{wide},{tmp_path}/none.jpg")
    with pytest.raises(UserError, match="expected an image, or a folder"):
        data.load("single:a\0.jpg")
    (tmp_path / "text.jpg").write_text("a shopping list")
    with pytest.raises(UserError, match=r"expected an image: JPEG.*bytes that are none"):
        data.load(f"single:{tmp_path}/text.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="expected images in the folder"):
        data.load(f"single:{tmp_path}/empty")
    small = save(tmp_path / "small.png", np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(UserError, match=r"3 pixels a side; beta=0.0075 would.*40 x 40") as error:
        data.load(f"single:{small}")
    assert "\n" not in str(error.value)
    assert data.load(f"single:{small},beta=0.0075").size
    with pytest.raises(UserError, match="labels are the files, so they need two"):
        data.load(f"single:{wide}", labels=True)


def test_a_crop_larger_than_the_views(wide):
    with pytest.raises(UserError, match=r"--resize=80 enlarge it. Received: views of 64 x 64"):
        data.load(f"single:{wide}").examples(crop=80)


def test_a_file_may_be_called_like_an_option(wide, tmp_path):
    named = wide.rename(tmp_path / "n=5.png")
    assert data.load(f"single:{named}").paths == [named]
