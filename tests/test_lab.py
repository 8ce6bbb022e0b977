"""CIE Lab and the 313 colours of arXiv:1603.08511."""

import numpy as np
import pytest
import skimage.color
import tensorflow as tf
from conftest import soft_encode
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sslzoo.errors import UserError
from sslzoo.images import lab

COLORS = np.random.default_rng(0).random((40, 40, 3)).astype(np.float32)
CORNERS = np.float32(np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), -1).reshape(2, 4, 3))
FEW = np.clip(lab.BINS[::7], -80, 80)  # colours to encode, some at centres of bins


# === Conversion ===


@pytest.mark.parametrize("rgb", [COLORS, CORNERS, COLORS / 50], ids=["all", "corners", "dark"])
def test_lab_is_that_of_scikit_image(rgb):
    np.testing.assert_allclose(lab.rgb_to_lab(rgb), skimage.color.rgb2lab(rgb), atol=1e-3)
    np.testing.assert_allclose(lab.lab_to_rgb(lab.rgb_to_lab(rgb)), rgb, atol=1e-4)


def test_lab_in_tf_data_and_under_xla_is_the_same():
    expected = skimage.color.rgb2lab(COLORS)
    inside = tf.data.Dataset.from_tensors(COLORS).map(lab.rgb_to_lab)
    np.testing.assert_allclose(next(iter(inside)), expected, atol=1e-3)
    compiled = tf.function(lab.rgb_to_lab, jit_compile=True)
    np.testing.assert_allclose(compiled(tf.constant(COLORS)), expected, atol=1e-3)


def test_lightness_and_grey_are_those_of_lab():
    np.testing.assert_allclose(lab.lightness(COLORS), lab.rgb_to_lab(COLORS)[..., :1], atol=1e-4)
    grey = np.asarray(lab.grey(COLORS))
    assert np.ptp(grey, axis=-1).max() == 0
    np.testing.assert_allclose(lab.lightness(grey), lab.lightness(COLORS), atol=1e-3)
    np.testing.assert_allclose(lab.rgb_to_lab(grey)[..., 1:], 0, atol=0.02)


def test_gradients_are_finite_at_black_and_white():
    for function in (lab.rgb_to_lab, lambda rgb: lab.lab_to_rgb(lab.rgb_to_lab(rgb))):
        rgb = tf.Variable(CORNERS)
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(function(rgb))
        assert np.isfinite(tape.gradient(total, rgb)).all()


def test_what_srgb_does_not_have_is_clipped():
    rgb = np.asarray(lab.lab_to_rgb(np.float32([[50, 110, -110], [50, -110, 110], [120, 0, 0]])))
    assert rgb.min() == 0
    assert rgb.max() == pytest.approx(1, abs=1e-6)


def test_subsampling_takes_every_fourth_pixel_as_it_is():
    ab = np.asarray(lab.subsampled_ab(COLORS))
    assert ab.shape == (10, 10, 2)
    np.testing.assert_allclose(ab, skimage.color.rgb2lab(COLORS)[2::4, 2::4, 1:], atol=1e-3)


# === Bins ===


def test_the_table_has_313_bins():
    assert lab.BINS.shape == (313, 2)
    assert len(np.unique(lab.BINS, axis=0)) == 313
    assert [0, 0] in lab.BINS.tolist()
    assert np.all(lab.BINS % 10 == 0)
    assert lab.BINS.tolist() == sorted(lab.BINS.tolist())


def test_every_colour_of_srgb_is_near_a_bin():
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 12)] * 3), -1).reshape(1, -1, 3)
    ab = skimage.color.rgb2lab(grid)[0, :, 1:]
    nearest = np.linalg.norm(ab[:, None] - lab.BINS, axis=-1).min(1)
    assert nearest.max() < 10 / np.sqrt(2), "never outside of a cell"


def test_a_centre_is_its_own_class():
    assert (soft_encode(lab.BINS).argmax(-1) == np.arange(313)).all()


@pytest.mark.parametrize("count", [1, 5, 10])
def test_the_nearest_bins_are_the_nearest_of_all(count):
    axis = np.linspace(-134.9, 134.9, 151, dtype=np.float32)
    ab = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    index, shares = map(np.asarray, lab.nearest_bins(ab, count))
    assert (np.diff(np.sort(index, 1), axis=1) > 0).all()
    np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)
    distances = np.linalg.norm(ab[:, None].astype(np.float64) - lab.BINS, axis=-1)
    nearest = np.sort(distances, -1)[:, :count]
    np.testing.assert_allclose(np.take_along_axis(distances, index, -1), nearest, atol=1e-3)


def test_shares_are_gaussian_in_the_distance():
    (shares,) = soft_encode([[2.0, 1.5]])
    near = np.argsort(((lab.BINS - [2, 1.5]) ** 2).sum(-1))[:5]
    weights = np.exp(-((lab.BINS[near] - [2, 1.5]) ** 2).sum(-1) / (2 * 5.0**2))
    np.testing.assert_allclose(shares[near], weights / weights.sum(), rtol=1e-4)


def test_decoding_undoes_encoding():
    inside = skimage.color.rgb2lab(COLORS)[..., 1:].reshape(-1, 2)
    shares = soft_encode(inside)
    back = np.asarray(lab.annealed_mean(np.log(shares + 1e-30), temperature=1.0))
    error = np.linalg.norm(back - inside, axis=-1)
    assert np.median(error) < 1.5
    assert error.max() < 8  # at the rim of the table, where a neighbour is missing


def test_temperature_goes_from_the_mode_to_the_mean():
    logits = np.random.default_rng(0).normal(size=(6, 313)).astype(np.float32)
    mode = lab.BINS[logits.argmax(-1)]
    np.testing.assert_allclose(lab.annealed_mean(logits, 1e-3), mode, atol=1e-2)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(lab.annealed_mean(logits, 1.0), shares @ lab.BINS, atol=1e-3)
    between = np.linalg.norm(np.asarray(lab.annealed_mean(logits, 0.38)) - mode, axis=-1)
    assert (between > 0).all()


# === Rare colours ===


def priors():
    counts = arrays.arrays(np.float64, 313, elements=st.floats(0, 1e6))
    return counts.filter(lambda c: c.sum() > 1).map(lambda c: c / c.sum())


@given(priors(), st.floats(0.05, 1))
def test_the_mean_weight_is_1_and_rare_colours_weigh_more(prior, uniform):
    weights = lab.class_weights(prior, uniform)
    assert prior @ weights == pytest.approx(1, rel=1e-4)
    assert (np.diff(weights[np.argsort(prior)]) <= 1e-6 * weights.max()).all()


def test_a_uniform_mix_of_1_weighs_all_alike():
    prior = np.random.default_rng(0).dirichlet(np.ones(313))
    np.testing.assert_allclose(lab.class_weights(prior, 1.0), 1, rtol=1e-5)


def test_weights_against_one_common_colour():
    prior = np.full(313, 1e-6)
    prior[5] = 1 - prior.sum() + 1e-6
    weights = lab.class_weights(prior, 0.5)
    ratio = (0.5 * prior[5] + 0.5 / 313) / (0.5 * 1e-6 + 0.5 / 313)
    assert weights[0] / weights[5] == pytest.approx(ratio, rel=1e-4)


def test_the_prior_of_one_colour_is_a_bump_at_its_bin():
    green = np.tile(np.float32([0.1, 0.7, 0.2]), (16, 16, 1))
    grey = np.full((24, 20, 3), 0.5, np.float32)  # left out
    images = tf.data.Dataset.from_generator(
        lambda: iter([{"image": green}, {"image": grey}]),
        output_signature={"image": tf.TensorSpec((None, None, 3))},
    )
    prior = lab.measure_prior(images)
    assert prior.sum() == pytest.approx(1)
    ab = skimage.color.rgb2lab(green)[0, 0, 1:]
    nearest = np.linalg.norm(lab.BINS - ab, axis=-1).argmin()
    assert prior.argmax() == nearest
    assert prior[nearest] > 0.3
    assert 0 < prior[np.abs(lab.BINS - lab.BINS[nearest]).sum(-1) == 10].min() < prior[nearest]


def test_every_colour_counts_once_for_its_nearest_bin():
    ab = skimage.color.rgb2lab(COLORS)[..., 1:].astype(np.float32)
    nearest = np.linalg.norm(ab[..., None, :] - lab.BINS, axis=-1).argmin(-1)
    np.testing.assert_array_equal(lab.bin_counts(ab), np.bincount(nearest.ravel(), minlength=313))


def test_grey_images_alone_give_no_prior():
    grey = tf.data.Dataset.from_tensors({"image": tf.fill((8, 8, 3), 0.4)})
    with pytest.raises(UserError, match=r"--dataset.*Received: grey"):
        lab.measure_prior(grey)


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"text",
        np.zeros(312),
        np.ones(313),
        np.array(["a"] * 313),
        -np.ones(313) / -313.5,
    ],
    ids=["missing", "empty", "text", "short", "sum", "words", "off"],
)
def test_another_file_is_no_prior(content, tmp_path):
    path = tmp_path / "prior.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(UserError, match=r"--prior: expected.*Received.*prior.npy"):
        lab.load_prior(path)


def test_a_prior_comes_back_from_its_file(tmp_path):
    prior = np.random.default_rng(0).dirichlet(np.ones(313))
    np.save(tmp_path / "prior.npy", prior)
    np.testing.assert_array_equal(lab.load_prior(tmp_path / "prior.npy"), prior)
