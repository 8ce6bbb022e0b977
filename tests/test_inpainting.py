"""The context encoder's six facts (METHODS 2.6), its options and pictures."""

import re
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import examples, photo, tiny_encoder

from sslzoo import encoders, export
from sslzoo.errors import UserError
from sslzoo.images import masks
from sslzoo.parts.layers import ChannelWiseDense
from sslzoo.pretexts.inpainting import FILL, Inpainting

SMALL = {"crop": 16, "bottleneck": 0, "width": 8, "discriminator_width": 4, "batch_norm": False}


def small(**settings):
    return Inpainting(tiny_encoder(), **{**SMALL, "overlap": 0, **settings})


def puzzle(pretext, i=0):
    example = {"image": tf.constant(photo(pretext.crop, i)), "seed": tf.constant([i, 1])}
    return [part.numpy() for part in pretext.transform(example)]


def count(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


# === 1. The channel-wise layer ===


def test_channel_wise_weights_of_the_paper():
    layer = ChannelWiseDense()
    layer.build((None, 6, 6, 256))
    assert count([layer.kernel]) == 331_776
    assert count([layer.bias]) == 9_216


def test_channel_wise_jacobian_is_dense_within_a_channel_and_zero_between():
    layer, x = ChannelWiseDense(), tf.random.normal((1, 3, 4, 5), seed=0)
    layer.build(x.shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    jacobian = tape.jacobian(y, x)[0, ..., 0, :, :, :].numpy()  # (3, 4, 5, 3, 4, 5)
    for a in range(5):
        for b in range(5):
            block = jacobian[:, :, a, :, :, b]
            assert np.all(block != 0) if a == b else np.all(block == 0)


def test_channel_wise_identity_and_file(tmp_path):
    image = keras.Input((3, 4, 2))
    model = keras.Model(image, ChannelWiseDense(name="wide")(image))
    x = np.random.default_rng(0).random((2, 3, 4, 2), np.float32)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "m.keras")(x), model(x))
    model.get_layer("wide").kernel.assign(np.stack([np.eye(12)] * 2))
    np.testing.assert_array_equal(model(x), x)


# === 2. The released network ===


def test_the_feature_network_has_the_papers_latent_and_no_adversary():
    example = re.search(r"`(Inpainting\(alexnet.*?\))`", Inpainting.__doc__, re.DOTALL).group(1)
    names = {"Inpainting": Inpainting, "alexnet": encoders.get("alexnet")}
    pretext = eval(" ".join(example.split()), names)
    widths = [pretext.get_layer(f"up{i}_conv").filters for i in range(1, 6)]
    assert widths == [128, 64, 32, 16, 3]
    assert pretext.discriminator is None
    assert pretext.get_layer("channel_wise").output.shape == (None, 6, 6, 256)
    assert pretext.get_layer("up5").output.shape == (None, 192, 192, 3)
    assert pretext.output_shape == (None, 227, 227, 3)


def test_a_mask_of_another_kind_needs_no_second_flag():
    for mask in ("blocks", "region"):
        pretext = Inpainting(tiny_encoder(), crop=16, mask=mask, width=8, discriminator_width=4)
        assert {*np.unique(puzzle(pretext)[2])} == {0, 1}


@pytest.mark.parametrize("settings", [{}, {"mask": "region"}, {"bottleneck": 8}, {"crop": 24}])
def test_answers_lie_between_minus_1_and_1(settings):
    pretext = small(**settings)
    x = 100 * np.random.default_rng(0).normal(size=(2, pretext.crop, pretext.crop, 3))
    answer = pretext.predict_on_batch(x)
    assert answer.shape == (2, pretext.side, pretext.side, 3)
    assert np.abs(answer).max() <= 1


# === 3. Masks ===


@pytest.mark.parametrize("mask", ["center", "blocks", "region"])
def test_a_hole_is_filled_and_the_rest_untouched(mask):
    pretext = small(mask=mask)
    for i in range(8):
        shown, target, weights = puzzle(pretext, i)
        image = photo(16, i)
        flipped = image[:, ::-1]
        hole = np.all(shown == np.float32(FILL), -1)
        original = next(x for x in (image, flipped) if np.array_equal(shown[~hole], x[~hole]))
        np.testing.assert_allclose(target, pretext.window(original) * 2 - 1, atol=1e-6)
        expected = hole[4:12, 4:12] if mask == "center" else hole
        np.testing.assert_array_equal(weights, expected)


def test_a_central_hole_is_a_quarter_of_the_image():
    hole, _ = small(crop=128).hole(None)
    np.testing.assert_array_equal(np.argwhere(hole)[[0, -1]], [[32, 32], [95, 95]])
    assert np.mean(hole) == 0.25


@pytest.mark.parametrize("side", [16, 32, 128])
def test_blocks_cover_at_most_a_quarter_and_regions_20_to_30_percent(side):
    draw = tf.function(lambda mask, seed: mask(side, seed))
    seeds = [tf.constant([i, side]) for i in range(100)]
    areas = np.array([np.mean(draw(masks.random_blocks, seed)) for seed in seeds])
    assert areas.max() <= 0.25
    assert areas.min() >= 0.1
    drawn = np.array([draw(masks.random_region, seed) for seed in seeds])
    areas = drawn.mean((1, 2))
    assert areas.min() > 0.2
    assert areas.max() < 0.3
    assert areas.std() > 0.02
    assert np.all((drawn.mean(0) > 0.02) & (drawn.mean(0) < 0.5)), "anywhere, on no grid"


# === 4. Masked errors ===


@pytest.mark.parametrize("loss", ["l2", "l1"])
@pytest.mark.parametrize("mask", ["center", "blocks", "region"])
def test_only_the_hole_counts(mask, loss):
    pretext = small(mask=mask, loss=loss, adversarial=0.0)
    parts = [np.stack(part) for part in zip(*(puzzle(pretext, i) for i in range(4)), strict=True)]
    x, y, weights = parts
    noise = np.random.default_rng(0).normal(size=y.shape)
    outside = np.float32(np.where(weights[..., None] > 0, y, noise))
    assert float(pretext.content_loss(x, y, outside, weights)) == 0
    inside = np.float32(np.where(weights[..., None] > 0, y + 0.5, noise))
    error = 0.25 if loss == "l2" else 0.5
    assert float(pretext.content_loss(x, y, inside, weights)) == pytest.approx(error, rel=1e-5)


def test_the_fill_is_what_encoders_turn_into_0():
    normalize = encoders.get("small").get_layer("normalize")
    np.testing.assert_allclose(normalize(np.float32([[[FILL]]])), 0, atol=1e-6)


# === 5. Overlap ===


def test_the_overlap_is_shown_predicted_and_counts_tenfold():
    pretext = small(crop=128, overlap=4)
    hole, weights = (part.numpy() for part in pretext.hole(None))
    assert weights.shape == (64, 64)
    assert (weights == 10).sum() == 64**2 - 56**2 == 960
    assert (weights == 1).sum() == hole.sum() == 56**2
    np.testing.assert_array_equal(hole[32:96, 32:96], weights == 1)


def test_a_pixel_of_the_overlap_counts_as_ten_of_the_hole():
    pretext = small(crop=32, overlap=2, adversarial=0.0)
    x, y, weights = (part[None] for part in puzzle(pretext))
    losses = []
    for place in ((0, 0), (8, 8)):  # of 16 x 16, with a border of 2
        off = y.copy()
        off[(0, *place)] += 0.5
        losses.append(float(pretext.content_loss(x, y, off, weights)))
    np.testing.assert_allclose(losses, [10 * 0.25 / 16**2, 0.25 / 16**2], rtol=1e-5)


# === 6. Weights of the two losses ===


def test_the_two_weights_sum_to_1_and_the_adversary_starts_without_opinion():
    pretext = small(adversarial=0.25, discriminator_width=64)
    x, y, weights = (np.stack([part] * 2) for part in puzzle(pretext))
    off = y + 1
    assert float(pretext.content_loss(x, y, off, weights)) == pytest.approx(0.75)
    verdicts = [pretext.discriminator(part) for part in pretext.shown(x, y, pretext(x))]
    d_loss, g_loss = pretext.adversarial_losses(*verdicts)
    assert float(d_loss) == pytest.approx(2 * np.log(2), rel=0.05)
    assert float(g_loss) == pytest.approx(np.log(2), rel=0.05)
    total = pretext.compute_loss(x, y, off, weights)
    fooled = pretext.adversarial_losses(*[pretext.discriminator(part) for part in (y, off)])[1]
    assert float(total) == pytest.approx(0.75 + 0.25 * float(fooled), rel=1e-5)


def test_the_critic_of_wgan_gp_has_no_batch_norm():
    def norms(gan):
        pretext = small(gan=gan, batch_norm=True, crop=32)
        return [v for v in pretext.parameter_groups["discriminator"] if "gamma" in v.path]

    assert norms("bce")
    assert not norms("wgan-gp")


# === Table 1 ===


def test_measures_are_means_over_images_of_errors_in_the_hole_alone():
    pretext = small(crop=32, overlap=2)
    _, y, weights = (np.stack([part] * 2) for part in puzzle(pretext))
    off = np.where(weights[..., None] == 1, y + np.reshape([0.4, 0.2], (2, 1, 1, 1)), 9).astype(
        np.float32
    )
    found = {name: float(value) for name, value in pretext.measures(y, off, weights).items()}
    decibels = -10 * np.log10([0.2**2, 0.1**2]).mean()
    expected = {"l1_percent": 15, "l2_percent": 100 * (0.04 + 0.01) / 2, "psnr": decibels}
    assert found == pytest.approx(expected, rel=1e-4)


def test_measures_are_logged_while_it_learns_and_of_held_back_images():
    pretext = small(mask="region", adversarial=0.0)
    pretext.compile(keras.optimizers.SGD(0.0))
    logs = pretext.fit(pretext.puzzles(examples(16), 4), verbose=0).history
    x, y, weights = next(iter(pretext.puzzles(examples(16), 8)))
    expected = {k: float(v) for k, v in pretext.measures(y, pretext(x), weights).items()}
    assert {k: logs[k][0] for k in expected} == pytest.approx(expected, rel=1e-4)
    source = types.SimpleNamespace(size=8, examples=lambda stop, **_: examples(16).take(stop))
    text = "8 held-back images: L1 {l1_percent:.2f} %, L2 {l2_percent:.2f} %, PSNR {psnr:.2f} dB"
    assert pretext.scored(source, 100) == text.format(**expected)


# === Contexts ===


@pytest.mark.parametrize("settings", [{}, {"mask": "region"}, {"overlap": 2, "bottleneck": 8}])
def test_a_context_knows_nothing_of_what_is_in_the_hole(settings):
    encoder = tiny_encoder(batch_norm=True)
    pretext = Inpainting(encoder, **{**SMALL, "overlap": 0, "batch_norm": True, **settings})
    encoder(tf.random.normal((8, 16, 16, 3), seed=1), training=True)  # averages have moved
    images = np.stack([photo(16, i) for i in range(3)])
    look = pretext.contexts()
    shown, codes = look(images)
    hole = np.all(shown == np.float32(FILL), -1)
    expected = pretext.hole(tf.constant([0, 0]))[0].numpy()
    np.testing.assert_array_equal(hole, [expected] * 3)
    np.testing.assert_array_equal(shown[~hole], images[~hole])
    others = np.where(hole[..., None], 0.9, images).astype(np.float32)
    np.testing.assert_array_equal(look(others)[1], codes)
    if settings.get("bottleneck"):
        code = keras.Model(pretext.inputs, pretext.get_layer("bottleneck").output)
        assert codes.shape == (3, 8)
    else:
        code = encoder
        assert codes.shape == (3, 4 * 4 * 8)
    np.testing.assert_allclose(codes, np.reshape(code(shown), (3, -1)), atol=1e-6)


# === The painter ===


@pytest.mark.parametrize("mask", ["center", "region"])
def test_the_exported_painter_fills_holes_as_the_network_does(mask, tmp_path):
    pretext = small(mask=mask, batch_norm=True)
    served = tf.saved_model.load(export.save_image_model(pretext.painter(), tmp_path / "painter"))
    x, _, _ = puzzle(pretext)
    painted = (pretext(x[None])[0].numpy() + 1) / 2
    found = served.generate(x[None])["images"][0]
    np.testing.assert_allclose(found, pretext.paste(x, painted), atol=1e-5)
    # As a file: eight bits, and of another size.
    levels = np.round(np.kron(x, np.ones((2, 3, 1))) * 255).astype(np.uint8)  # (32, 48, 3)
    hole = np.all(levels == (124, 116, 104), -1)
    png = served.generate_bytes([tf.io.encode_png(levels)])["png_bytes"][0]
    filled = tf.io.decode_png(png).numpy()
    np.testing.assert_array_equal(filled[~hole], levels[~hole])
    assert hole.any()
    assert np.all(np.any(filled[hole] != (124, 116, 104), -1))
    answer = np.kron(pretext.paste(x, painted), np.ones((2, 3, 1)))
    assert np.abs(filled / 255 - answer)[hole].mean() < 0.1


def test_the_painter_leaves_an_image_without_holes_alone():
    images = np.stack([photo(20, i) for i in range(2)])
    np.testing.assert_array_equal(small().painter()(images), images)


# === Learning, errors, pictures ===


def test_it_learns_to_continue_a_gradient():
    pretext = small(adversarial=0)
    pretext.compile(keras.optimizers.Adam(0.01))
    slopes = np.random.default_rng(0).uniform(-1, 1, (64, 1, 1, 3)).astype(np.float32)
    pictures = 0.5 + slopes * np.linspace(-0.4, 0.4, 16, dtype=np.float32)[:, None, None]
    examples = tf.data.Dataset.from_tensor_slices(
        {"image": np.broadcast_to(pictures, (64, 16, 16, 3)), "seed": np.zeros((64, 2), np.int32)}
    )
    losses = pretext.fit(pretext.puzzles(examples, 16), epochs=15, verbose=0, shuffle=False)
    assert losses.history["loss"][-1] < 0.2 * losses.history["loss"][0]


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"crop": 8}, "--crop"),
        ({"mask": "circle"}, "--mask"),
        ({"overlap": 4}, "--overlap"),
        ({"width": 0}, "--width"),
        ({"loss": "l3"}, "--loss"),
        ({"adversarial": 1.0}, "--adversarial"),
    ],
)
def test_impossible_settings_name_the_flag(settings, flag):
    with pytest.raises(UserError, match=f"{flag}.*Received"):
        small(**settings)


@pytest.mark.parametrize("mask", ["center", "region"])
def test_picture_fills_the_hole_with_the_answer_and_then_the_truth(mask, panels):
    pretext = small(mask=mask)
    x, y, weights = puzzle(pretext)
    (shown,) = panels(pretext, x, y, np.full_like(y, -1))
    hole = np.all(x == np.float32(FILL), -1)
    assert np.all(shown["answer"][hole] == 0)
    np.testing.assert_array_equal(shown["answer"][~hole], shown["puzzle"][~hole])
    full = np.where(hole[..., None], pretext.paste(x, (y + 1) / 2), x)
    np.testing.assert_array_equal(shown["truth"], full)
    assert panels(pretext, x, y)[0].keys() == {"puzzle", "truth"}
    assert weights.max() == 1
