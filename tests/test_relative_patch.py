"""Relative patch location's five facts (METHODS 4.6), its options and pictures."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import examples, photo, tiny_encoder

from sslzoo.errors import UserError
from sslzoo.images import color, geometry
from sslzoo.pretexts.relative_patch import MODERN, OFFSETS, SMALL_IMAGES, RelativePatch

PAPER = {}
DOUBLED = {**SMALL_IMAGES, "crop": 64, "patch": 24, "gap": 8, "jitter": 8}
SHEET = pathlib.Path(__file__).parents[1] / "recipes/relative_patch_cifar10.flags"


def make(settings, **kwargs):
    return RelativePatch(tiny_encoder(), **{**settings, "fc6": 8, "fc7": 8, **kwargs})


def small(**kwargs):
    return make(SMALL_IMAGES, **{"grey": 0.0, "batch_norm": False, **kwargs})


def example(image, seed=(1, 2)):
    return {"image": tf.constant(image), "index": tf.constant(0), "seed": tf.constant(seed)}


def corners(pretext, side, n=400):
    """Top left corners (n, 2, 2) and labels (n,) of `n` pairs."""
    labels = tf.range(n) % 8
    seeds = tf.stack([tf.range(n), tf.ones(n, tf.int32)], 1)
    cut = tf.function(lambda label, seed: pretext.corners(label, side, seed))
    return np.array([cut(k, s) for k, s in zip(labels, seeds, strict=True)]), labels.numpy()


# === 1. Labels ===


def test_labels_of_a_pair_in_both_orders_sum_to_7():
    np.testing.assert_array_equal(OFFSETS[::-1], -OFFSETS)
    around = [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]]
    np.testing.assert_array_equal(OFFSETS, around)


def test_the_label_says_where_the_second_patch_lies():
    pretext = make(PAPER, color="keep", degrade=0.0)
    rows, columns = np.mgrid[:670, :670] / 670
    image = np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.float32)
    pretext.prepare = lambda patch, seed: patch
    for seed in range(12):
        patches, label = pretext.transform(example(image, (seed, 0)))
        first, second = patches.numpy().mean((1, 2))
        direction = np.sign(np.round(second[:2] - first[:2], 1))
        np.testing.assert_array_equal(direction, OFFSETS[int(label)])


# === 2. Geometry ===


@pytest.mark.parametrize("settings", [PAPER, MODERN, SMALL_IMAGES, DOUBLED])
def test_a_step_is_patch_and_gap_before_the_jitter_and_nothing_leaves_the_image(settings):
    pretext = make(settings)
    patch, gap, jitter = pretext.patch, pretext.gap, pretext.jitter
    side = int(pretext.crop * pretext.min_area**0.5)
    cut, labels = corners(pretext, side)
    assert cut.min() >= 0
    assert (cut + patch).max() <= side
    moved = cut[:, 1] - cut[:, 0] - (patch + gap) * OFFSETS[labels]
    assert moved.min() == -jitter
    assert moved.max() == jitter
    apart = np.abs(cut[:, 1] - cut[:, 0]).max(1) - patch
    assert apart.min() >= gap - jitter
    pretext.jitter = 0
    still, labels = corners(pretext, side, n=64)
    np.testing.assert_array_equal(still[:, 1] - still[:, 0], (patch + gap) * OFFSETS[labels])


def own_places(pretext, side):
    """P(label, place of the first patch (rows, columns)) for a square of `side`: (8, n, n)."""
    n, step = side - pretext.patch + 1, pretext.patch + pretext.gap
    axis = {}
    for direction in (-1, 0, 1):
        room = side - pretext.patch - pretext.jitter - abs(direction) * step
        starts = np.arange(room + 1) + max(-direction * step, 0)
        places = np.add.outer(starts, np.arange(pretext.jitter + 1)).ravel()
        axis[direction] = np.bincount(places, minlength=n) / len(places)
    return np.stack([np.outer(axis[row], axis[column]) for row, column in OFFSETS]) / 8


@pytest.mark.parametrize(
    ("settings", "side", "expected"),
    [
        (SMALL_IMAGES, 32, 0.824),
        (DOUBLED, 64, 0.848),
        (MODERN, 255, 0.466),
        (PAPER, 387, 0.504),
        (PAPER, 670, 0.226),
    ],
)
def test_how_often_the_place_of_one_patch_gives_the_label_away(settings, side, expected):
    pretext = make(settings)
    shares = own_places(pretext, side)
    assert shares.max(0).sum() == pytest.approx(expected, abs=1e-3)
    cut, labels = corners(pretext, side, n=800)
    rows, columns = cut[:, 0].T
    guesses = shares[:, rows, columns]
    assert (guesses[labels, range(800)] > 0).all()
    assert np.mean(guesses.argmax(0) == labels) == pytest.approx(expected, abs=0.06)


def test_the_sheet_has_the_geometry_for_small_images_and_says_what_a_place_gives_away():
    lines = SHEET.read_text().splitlines()
    flags = dict(line[2:].split("=") for line in lines if line.startswith("--") and "=" in line)
    lengths = ("crop", "patch", "gap", "jitter")
    assert {name: int(flags[name]) for name in lengths} == {k: SMALL_IMAGES[k] for k in lengths}
    assert f"the label {100 * own_places(small(), 32).max(0).sum():.0f} %" in "\n".join(lines)


def test_the_paper_steps_144_pixels_with_14_of_jitter_and_gaps_of_34():
    pretext = make(PAPER)
    assert pretext.patch + pretext.gap == 144
    assert pretext.jitter == 14
    assert pretext.gap - pretext.jitter == 34
    assert pretext.transform(example(photo(680)))[0].shape == (2, 96, 96, 3)


def test_the_crop_shrinks_to_150_000_to_450_000_pixels():
    pretext, sizes = make(PAPER), []
    pretext.corners = lambda label, side, seed: sizes.append(int(side)) or tf.zeros((2, 2), "int32")
    for seed in range(120):
        pretext.transform(example(np.zeros((670, 670, 3), np.float32), (seed, 0)))
    area = np.square(sizes)
    assert 148_000 < area.min() < 165_000
    assert 435_000 < area.max() < 450_000
    assert area.mean() == pytest.approx(300_000, rel=0.07)


# === 3. Chance ===


def test_classes_are_balanced_and_the_initial_loss_is_ln_8():
    pretext = small()
    pretext.compile("sgd")
    puzzles = pretext.puzzles(examples(32, n=400), 400)
    counts = np.bincount(next(iter(puzzles))[1], minlength=8)
    assert len(counts) == 8
    assert counts.min() > 25
    assert counts.max() < 80
    assert pretext.chance_loss == pytest.approx(2.0794, abs=1e-4)
    loss = pretext.evaluate(puzzles, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(np.log(8), rel=0.1)


@pytest.mark.parametrize("normalize", ["rms", "standardize"])
def test_a_constant_image_gives_nothing_to_go_by(normalize):
    pretext = small(normalize=normalize)
    flat = np.full((32, 32, 3), 0.3, np.float32)
    for seed in range(4):
        np.testing.assert_array_equal(pretext.transform(example(flat, (seed, 0)))[0], 0)
    logits = np.repeat(9 * pretext(np.zeros((1, 2, 12, 12, 3), np.float32)), 8, axis=0)
    loss = keras.losses.sparse_categorical_crossentropy(np.arange(8), logits, from_logits=True)
    assert np.mean(loss) >= np.log(8) - 1e-5


# === 4. Preparation ===


def test_colour_dropping_keeps_one_channel_and_the_rms_is_50():
    pretext, patch, kept = make(PAPER, degrade=0.0), photo(96), set()
    for seed in range(12):
        prepared = pretext.prepare(tf.constant(patch), tf.constant([seed, 0])).numpy()
        like = [np.corrcoef(prepared[..., c].flat, patch[..., c].flat)[0, 1] for c in range(3)]
        assert sorted(np.round(np.abs(like), 1)) == [0, 0, 1]
        kept.add(int(np.argmax(like)))
        assert np.sqrt(np.mean(np.square(prepared))) == pytest.approx(50, rel=1e-4)
        faint = np.delete(prepared, np.argmax(like), axis=-1).std()
        assert 0 < faint < 0.03 * prepared.std()
    assert kept == {0, 1, 2}


def test_the_two_patches_are_prepared_each_by_its_own_dice():
    pretext, image = small(color="drop", normalize="rms"), tf.constant(photo(32))
    kept = [
        np.argmax(pretext.transform(example(image, (seed, 0)))[0].numpy().std((1, 2)), axis=-1)
        for seed in range(40)
    ]
    assert 0.4 < np.mean([first != second for first, second in kept]) < 0.9


def test_projection_removes_green_against_magenta_and_keeps_greys():
    patch = photo(12)
    flat = color.without_green_magenta(tf.constant(patch)).numpy()
    np.testing.assert_allclose(flat @ [-1, 2, -1], 0, atol=1e-6)
    np.testing.assert_allclose(color.without_green_magenta(tf.constant(flat)), flat, atol=1e-6)
    grey = color.grey(tf.constant(patch))
    np.testing.assert_allclose(color.without_green_magenta(grey), grey, atol=1e-6)
    prepared = small(color="project", normalize="rms").prepare(photo(12), tf.constant([0, 0]))
    np.testing.assert_allclose(prepared.numpy() @ [-1, 2, -1], 0, atol=1e-3)


def test_standardised_channels_have_mean_0_and_deviation_1():
    patches, _ = small().transform(example(photo(32)))
    np.testing.assert_allclose(patches.numpy().mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(patches.numpy().std((1, 2)), 1, atol=1e-3)


def test_a_third_of_the_patches_is_degraded():
    noise = np.random.default_rng(0).random((96, 96, 3)).astype(np.float32)
    degrade = tf.function(lambda seed: geometry.random_degrade(tf.constant(noise), 0.33, seed))
    results = [degrade(tf.constant([seed, 0])).numpy() for seed in range(150)]
    blurred = [r for r in results if not np.array_equal(r, noise)]
    assert len(blurred) / 150 == pytest.approx(0.33, abs=0.1)
    slopes = [np.abs(np.diff(r, axis=0)).mean() for r in blurred]
    assert max(slopes) < np.abs(np.diff(noise, axis=0)).mean()
    assert min(slopes) < 0.5 * max(slopes), "how far it goes differs"


def test_grey_probability():
    data = examples(32, n=200).map(small(normalize="rms", grey=0.66).transform)
    grey = [np.ptp(patches.numpy(), axis=-1).max() < 1e-2 for patches, _ in data]
    assert np.mean(grey) == pytest.approx(0.66, abs=0.1)


def test_it_says_what_its_encoder_was_trained_on():
    assert make(PAPER).sees == (
        "patches of 96 of 670 pixels, normalised, with one colour channel each"
    )
    assert small().sees == "patches of 12 of 32 pixels, normalised, in colour"


# === 5. The shared tower ===


def test_swapped_patches_swap_their_codes():
    pretext = small()
    tower = keras.Model(pretext.input, pretext.get_layer("tower").output)
    pairs = np.random.default_rng(0).normal(size=(3, 2, 12, 12, 3)).astype(np.float32)
    np.testing.assert_allclose(tower(pairs[:, ::-1]), tower(pairs).numpy()[:, ::-1], atol=1e-5)
    codes = tower(pairs[:, [0, 0]]).numpy()
    np.testing.assert_allclose(codes[:, 0], codes[:, 1], atol=1e-6)
    assert np.abs(pretext(pairs) - pretext(pairs[:, ::-1])).max() > 1e-3


# === Errors and pictures ===


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"patch": 13}, "--patch"),
        ({"min_area": 0.9}, "--patch"),
        ({"min_area": 0.0}, "--min_area"),
        ({"jitter": 5}, "--jitter"),
        ({"color": "sepia"}, "--color"),
        ({"normalize": "lrn"}, "--normalize"),
    ],
)
def test_impossible_settings_name_the_flag(settings, flag):
    with pytest.raises(UserError, match=f"{flag}.*Received"):
        small(**settings)


def test_picture_puts_the_second_patch_around_the_first(panels):
    pretext = small()
    patches = np.stack([np.full((12, 12, 3), -9.0), np.full((12, 12, 3), 9.0)])  # black, white
    for label, (row, column) in enumerate(OFFSETS):
        shown, verdict = panels(pretext, patches, label, np.eye(8)[7 - label])
        for name, place in (("truth", (row, column)), ("answer", (-row, -column))):
            assert shown[name][74, 74].max() == 0
            assert shown[name][74 + 50 * place[0], 74 + 50 * place[1]].min() == 255
        assert verdict is False
        assert panels(pretext, patches, label, np.eye(8)[label])[1] is True
