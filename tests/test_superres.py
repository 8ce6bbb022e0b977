"""SRGAN's six facts (METHODS 9.8), its options, exports and pictures."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import examples, photo, tiny_encoder
from PIL import Image

from sslzoo import encoders, export
from sslzoo.errors import UserError
from sslzoo.images import upscaling
from sslzoo.parts.layers import PixelShuffle
from sslzoo.pretexts import superres
from sslzoo.pretexts.superres import Superres, srresnet
from sslzoo.recipes import superres as recipe


def small(encoder=None, **settings):
    settings = {"crop": 16, "discriminator_width": 4, "batch_norm": False, **settings}
    return Superres(encoder or srresnet(4, 4), **settings)


# === 1. Shapes ===


@pytest.mark.parametrize(("scale", "size"), [(4, (40, 52)), (2, (20, 26))])
def test_any_size_is_enlarged(scale, size):
    pretext = small(scale=scale)
    small_image, large = pretext.transform({"image": tf.constant(photo(16)), "seed": (1, 2)})
    assert small_image.shape == (16 // scale, 16 // scale, 3)
    assert large.shape == (16, 16, 3)
    assert pretext.upscaler()(np.zeros((1, 10, 13, 3), np.float32)).shape == (1, *size, 3)


def test_an_encoder_of_the_zoo_may_be_called_small():
    pretext = Superres(encoders.get("small"), crop=32, scale=2)
    assert pretext(np.zeros((1, 16, 16, 3), np.float32)).shape == (1, 32, 32, 3)


def test_the_answer_is_the_image_and_the_question_is_it_shrunk():
    pretext, picture = small(), photo(16)
    question, answer = pretext.transform({"image": tf.constant(picture), "seed": (1, 2)})
    image = (answer + 1) / 2
    assert any(np.allclose(image, p, atol=1e-6) for p in (picture, picture[:, ::-1]))
    np.testing.assert_allclose(question, upscaling.shrink(image, 4), atol=1e-5)


def test_images_are_shrunk_with_a_prefilter_as_pillow_does():
    plane = np.random.default_rng(0).uniform(0.3, 0.7, (32, 24)).astype(np.float32)
    expected = np.asarray(Image.fromarray(plane).resize((6, 8), Image.Resampling.BICUBIC))
    shrunk = upscaling.shrink(tf.constant(np.stack([plane] * 3, -1)), 4)
    np.testing.assert_allclose(shrunk[..., 0], expected, atol=1e-4)


def test_an_encoder_with_strides_is_doubled_until_it_fits():
    pretext = small(tiny_encoder())  # 4 pixels -> 1
    assert pretext(np.zeros((1, 4, 4, 3))).shape == (1, 16, 16, 3)
    with pytest.raises(UserError, match=r"--crop.*2 pixels.*Received: 20"):
        small(tiny_encoder(), crop=20)


def test_stages_of_srresnet():
    encoder = srresnet(8, 4)
    assert encoders.stages(encoder) == [f"stage{i}" for i in range(1, 6)]
    assert encoder.get_layer("stage3").output is encoder.get_layer("block5_1_conv").input


# === 2. Networks ===


def test_the_discriminator_is_an_encoder_that_is_exported(tmp_path):
    pretext = small(adversarial=0.001, batch_norm=True)
    judge = pretext.judge()
    y = np.stack([photo(16, i) * 2 - 1 for i in range(2)])
    before = keras.Model(
        pretext.discriminator.input, pretext.discriminator.get_layer("stage8").output
    )
    np.testing.assert_allclose(judge((y + 1) / 2), before(y), atol=1e-5)
    assert encoders.stages(judge) == [f"stage{i}" for i in range(1, 9)]
    assert judge(np.zeros((1, 40, 24, 3))).shape == (1, 3, 2, 32)
    version = export.save(judge, tmp_path / "judge")
    served = tf.saved_model.load(version).embed(np.float32((y + 1) / 2))["embedding"]
    np.testing.assert_allclose(served, np.mean(judge((y + 1) / 2), (1, 2)), atol=1e-5)


def test_a_narrower_decoder():
    pretext = small(decoder_width=2)
    assert [pretext.get_layer(f"up{i}_conv").filters for i in (1, 2)] == [8, 8]


# === The recipe ===


def test_srgan_goes_on_from_all_of_srresnet_and_its_judge_is_probed(monkeypatch, tmp_path):
    trained, ended = [], []

    def pretrain(pretext, run):
        for v in pretext.trainable_variables if not trained else []:
            v.assign_add(tf.ones_like(v))  # as if it had learned
        trained.append((pretext, [v.numpy() for v in pretext.ungrouped_variables]))

    monkeypatch.setattr(recipe.training, "pretrain", pretrain)
    monkeypatch.setattr(Superres, "scored", lambda *_: "scored")
    monkeypatch.setattr(recipe.Run, "finish", lambda *a, **k: ended.append((a, k)))
    run = recipe.Run(workdir=str(tmp_path / "run"), encoder="srresnet", probe_images=0)
    small_one = functools.partial(Superres, crop=16, adversarial=0.001, discriminator_width=4)
    recipe.main(run, small_one, 4, 4, gan_epochs=1, features="discriminator")
    (first, before), (second, after) = trained
    assert second is not first
    assert second.discriminator is not None
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    ((_, pretext), options) = ended[0]
    assert pretext is second
    assert {key: model.name for key, model in options.items()} == {
        "image_model": "upscaler",
        "judge": "judge",
    }
    with pytest.raises(UserError, match=r"--adversarial.*with --gan_epochs.*Received: 0"):
        recipe.main(run, functools.partial(small_one, adversarial=0.0), gan_epochs=1)
    assert len(trained) == 2


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"features": "discriminator"}, "--features.*discriminator"),
        ({"gan_epochs": 1, "critic_steps": 3}, "--batch_size.*--critic_steps=3.*Received: 16"),
    ],
)
def test_what_srgan_cannot_do_is_said_before_srresnet_is_trained(settings, flag, tmp_path):
    run = recipe.Run(workdir=str(tmp_path / "run"), batch_size=16, probe_images=0)
    steps = settings.pop("critic_steps", 1)
    with pytest.raises(UserError, match=flag):
        recipe.main(run, functools.partial(Superres, critic_steps=steps), **settings)


# === 3. Pixel shuffle ===


def test_pixel_shuffle_is_a_bijection_and_starts_without_checkerboard():
    x = tf.random.normal((2, 3, 5, 8), seed=0)
    y = PixelShuffle()(x)
    assert y.shape == (2, 6, 10, 2)
    np.testing.assert_array_equal(tf.nn.space_to_depth(y, 2), x)
    pretext = small()
    for name in ("up1", "up2"):
        before = pretext.get_layer(f"{name}_conv").input
        shuffle = pretext.get_layer(f"{name}_shuffle").output
        features = keras.Model(before, shuffle)(tf.random.normal((1, 4, 4, 4), seed=1))
        fours = tf.nn.space_to_depth(features, 2).numpy().reshape(1, 4, 4, 4, 4)
        assert np.ptp(fours, axis=3).max() == 0
        assert np.ptp(fours, axis=(1, 2, 4)).max() > 0


# === 4. Losses ===


def test_content_is_0_for_the_truth_and_the_adversary_has_its_weight():
    pretext = small(adversarial=0.001)
    y = np.stack([photo(16, i) * 2 - 1 for i in range(2)])
    assert float(pretext.content_loss(None, y, y)) == 0
    assert float(pretext.content_loss(None, y, y + 0.5)) == pytest.approx(0.25, rel=1e-5)
    g_loss = pretext.adversarial_losses(*[pretext.discriminator(y)] * 2)[1]
    assert float(pretext.compute_loss(None, y, y)) == pytest.approx(0.001 * float(g_loss), rel=1e-4)


@pytest.mark.parametrize(("content", "shape"), [("vgg22", (16, 16, 128)), ("vgg54", (2, 2, 512))])
def test_vgg_content(content, shape, monkeypatch, tmp_path):
    build, asked = keras.applications.VGG19, []

    def untrained(weights, **kwargs):
        asked.append(weights)
        return build(weights=None, **kwargs)

    monkeypatch.setattr(keras.applications, "VGG19", untrained)
    pretext = small(crop=32, content=content, vgg_weights="vgg19.weights.h5")
    assert asked == ["vgg19.weights.h5"]
    y = np.stack([photo(32, i) * 2 - 1 for i in range(2)])
    found = pretext.features(y)
    assert found.shape[1:] == shape
    assert found.numpy().min() == 0  # after the ReLU
    assert float(pretext.content_loss(None, y, y)) == 0
    assert float(pretext.content_loss(None, y, y[::-1])) > 0
    names = [v.path for v in pretext.variables]
    assert not [name for name in names if "block5_conv" in name], "VGG is no part of the model"


def test_vgg_sees_bgr_less_imagenets_mean(monkeypatch):
    pixels = keras.Input((None, None, 3))
    identity = keras.layers.Identity(name="block2_conv2")(pixels)
    monkeypatch.setattr(keras.applications, "VGG19", lambda **kwargs: keras.Model(pixels, identity))
    seen = superres.vgg_features("vgg22", "x")(tf.constant([[[[1.0, 0.0, -1.0]]]])) * 12.75
    expected = [0 - 103.939, 127.5 - 116.779, 255 - 123.68]
    np.testing.assert_allclose(seen[0, 0, 0], expected, rtol=1e-5)


# === 5. The long skip ===


def test_the_skips_are_there_and_all_that_the_start_consists_of():
    encoder = srresnet(4, 4)
    first = keras.Model(encoder.input, encoder.get_layer("stage1").output)
    x = photo(8)[None]
    np.testing.assert_array_equal(encoder(x), first(x))
    assert np.ptp(first(x)) > 0
    stages = keras.Model(encoder.input, [encoder.get_layer(f"stage{i}").output for i in (2, 3, 5)])
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(tf.ones_like(layer.gamma))
    assert all(np.abs(stage - first(x)).max() > 0.01 for stage in stages(x))


# === 6. Scores, learning ===


def test_similarity_is_that_of_y_without_the_border():
    a = np.full((20, 20, 3), 0.5, np.float32)
    b = a + np.float32(0.1)  # 0.1 * 219 / 255 of Y
    b[:4] = 1
    found, _ = upscaling.psnr_and_ssim(a, b, 4)
    assert float(found) == pytest.approx(-20 * np.log10(0.1 * 219 / 255), abs=0.01)
    green, blue = (a + np.eye(3, dtype=np.float32)[i] * 0.1 for i in (1, 2))
    assert upscaling.psnr_and_ssim(a, green, 4)[0] < upscaling.psnr_and_ssim(a, blue, 4)[0]
    noisy = a + np.random.default_rng(0).normal(0, 0.1, a.shape).astype(np.float32)
    assert float(upscaling.psnr_and_ssim(a, a, 4)[1]) == pytest.approx(1)
    assert upscaling.psnr_and_ssim(a, noisy, 4)[1] < 0.5


def test_score_of_bicubic_itself_is_bicubics():
    pictures = [photo(33, i)[:, :30] for i in range(3)]
    found = upscaling.score(lambda x: upscaling.enlarge(x[0], 2)[None], pictures, 2)
    assert found["psnr"] == found["bicubic_psnr"] > 20
    assert found["ssim"] == found["bicubic_ssim"]


def test_it_learns_to_beat_bicubic_on_squares_of_four_pixels():
    blocks = np.random.default_rng(0).random((16, 8, 8, 3)).astype(np.float32)
    pictures = np.kron(blocks, np.ones((1, 2, 2, 1), np.float32))  # (16, 16, 16, 3)
    pretext = small(srresnet(4, 8), scale=2)
    pretext.compile(keras.optimizers.Adam(0.01))
    x = np.stack([upscaling.shrink(tf.constant(picture), 2) for picture in pictures])
    for _ in range(100):
        pretext.train_on_batch(x, pictures * 2 - 1)
    found = upscaling.score(pretext.upscaler(), pictures, 2)
    assert found["psnr"] > found["bicubic_psnr"] + 1


# === Export, errors, pictures ===


def test_the_exported_upscaler_takes_any_size(tmp_path):
    upscaler = small().upscaler()
    served = tf.saved_model.load(export.save_image_model(upscaler, tmp_path / "up"))
    x = np.random.default_rng(0).random((2, 9, 7, 3), np.float32)
    answer = served.generate(x)["images"]
    assert answer.shape == (2, 36, 28, 3)
    np.testing.assert_allclose(answer, np.clip(upscaler(x), 0, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"scale": 3}, "--scale"),
        ({"crop": 18}, "--crop"),
        ({"content": "vgg"}, "--content"),
        ({"content": "vgg54"}, "--vgg_weights"),
    ],
)
def test_impossible_settings_name_the_flag(settings, flag):
    with pytest.raises(UserError, match=f"{flag}.*Received"):
        small(**settings)


def test_blocks_are_a_multiple_of_4():
    with pytest.raises(UserError, match=r"--blocks.*Received: 6"):
        srresnet(6)


def test_picture_shows_bicubic_answer_and_truth(panels):
    pretext = small()
    x, y = next(iter(pretext.puzzles(examples(16, 2), 2)))
    (shown,) = panels(pretext, x[0].numpy(), y[0].numpy(), np.ones((16, 16, 3)))
    np.testing.assert_array_equal(shown["bicubic"], upscaling.enlarge(x[0], 4))
    assert shown["answer"].min() == 1
    np.testing.assert_array_equal(shown["truth"], (y[0].numpy() + 1) / 2)
    assert "answer" not in panels(pretext, x[0].numpy(), y[0].numpy())[0]
