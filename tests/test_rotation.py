"""RotNet's five facts (METHODS 3.6), its options and pictures."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import examples, photo, tiny_encoder

from sslzoo import encoders
from sslzoo.errors import UserError
from sslzoo.pretexts.rotation import Rotation


def small(**kwargs):
    return Rotation(tiny_encoder(), **{"crop": 16, "fc": 0, "flip": False, **kwargs})


def example(image, seed=(1, 2)):
    return {"image": tf.constant(image), "index": tf.constant(0), "seed": tf.constant(seed)}


# === 1. Exact turns ===


@pytest.mark.parametrize("num_rotations", [2, 4])
def test_turns_are_exact_and_come_back_after_a_full_circle(num_rotations):
    image, pretext = photo(16), small(num_rotations=num_rotations)
    turned = pretext.rotations(tf.constant(image)).numpy()
    for k, picture in enumerate(turned):
        np.testing.assert_array_equal(picture, np.rot90(image, k * 4 // num_rotations))
        np.testing.assert_array_equal(np.sort(picture, axis=None), np.sort(image, axis=None))
        back = pretext.rotations(tf.constant(picture))[-k].numpy()
        np.testing.assert_array_equal(back, image)


def test_eight_turns_have_no_black_corner_and_two_eighths_are_a_quarter():
    pretext = small(crop=33, num_rotations=8)
    assert pretext.input_shape == (None, 21, 21, 3)
    white = pretext.rotations(tf.ones((33, 33, 3)))
    np.testing.assert_allclose(white, 1, atol=1e-5)
    image = photo(33)
    turned = pretext.rotations(tf.constant(image)).numpy()
    np.testing.assert_array_equal(turned[2::2], [np.rot90(turned[0], k) for k in (1, 2, 3)])
    twice = small(crop=21, num_rotations=8).rotations(tf.constant(turned[1]))[1]
    np.testing.assert_allclose(twice, turned[2][4:17, 4:17], atol=0.04)  # bilinear


# === 2. Labels ===


@pytest.mark.parametrize("num_rotations", [2, 4, 8])
def test_a_batch_holds_every_rotation_of_every_image_and_starts_at_chance(num_rotations):
    pretext = small(num_rotations=num_rotations)
    pretext.compile("sgd")
    puzzles = pretext.puzzles(examples(16, n=6), 6)
    x, y = next(iter(puzzles))
    assert x.shape == (6 * num_rotations, pretext.side, pretext.side, 3)
    np.testing.assert_array_equal(np.bincount(y), [6] * num_rotations)
    first = pretext.rotations(tf.constant(photo(16)))
    np.testing.assert_array_equal(x[:num_rotations], first)
    assert pretext.chance_loss == pytest.approx(np.log(num_rotations))
    loss = pretext.evaluate(puzzles, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(np.log(num_rotations), rel=0.1)


def test_one_rotation_at_random():
    pretext = small(all_at_once=False)
    x, y = next(iter(pretext.puzzles(examples(16, n=64), 64)))
    assert x.shape == (64, 16, 16, 3)
    assert np.bincount(y, minlength=4).min() > 5
    for i in range(4):
        np.testing.assert_array_equal(x[i], np.rot90(photo(16, i), y[i]))


# === 3. Networks ===


@pytest.mark.parametrize(("blocks", "count"), [(3, 1_004_484), (5, 1_817_796)])
def test_parameter_counts_of_the_released_networks(blocks, count):
    """Those of four blocks and of AlexNet are in `test_layer_tables.py`."""
    pretext = Rotation(encoders.get("nin", blocks=blocks), crop=32, fc=0)
    assert sum(int(np.prod(v.shape)) for v in pretext.trainable_variables) == count


def test_block_shapes_of_nin():
    nin = encoders.get("nin")
    maps = keras.Model(nin.input, [nin.get_layer(name).output for name in encoders.stages(nin)])
    shapes = [y.shape[1:] for y in maps(np.zeros((1, 32, 32, 3), np.float32))]
    assert shapes == [(16, 16, 96), (8, 8, 192), (8, 8, 192), (8, 8, 192)]


# === 4. An image without an up ===


def test_a_symmetric_image_cannot_beat_chance():
    rays = photo(16)
    rays = np.mean([np.rot90(rays, k) for k in range(4)], axis=0, dtype=np.float32)
    pretext = small()
    turned = pretext.rotations(tf.constant(rays))
    np.testing.assert_allclose(turned, np.broadcast_to(rays, (4, 16, 16, 3)), atol=1e-6)
    logits = 9 * pretext(turned)  # a network sure of itself
    loss = keras.losses.sparse_categorical_crossentropy(np.arange(4), logits, from_logits=True)
    assert np.mean(loss) >= np.log(4) - 1e-5


# === 5. Direction ===


def test_label_1_moves_the_top_left_corner_to_the_bottom_left():
    image = np.zeros((16, 16, 3), np.float32)
    image[0, 0] = 1
    turned, labels = small().transform(example(image))
    corners = [(0, 0), (15, 0), (15, 15), (0, 15)]
    np.testing.assert_array_equal(labels, range(4))
    for picture, corner in zip(turned.numpy(), corners, strict=True):
        assert picture[corner].min() == 1
        assert picture.sum() == 3


# === Augmentation, errors, pictures ===


def test_flip_mirrors_half_of_the_images():
    pretext, image = small(flip=True), photo(16)
    first = [pretext.transform(example(image, (i, 1)))[0][0].numpy() for i in range(60)]
    mirrored = [np.array_equal(x, image[:, ::-1]) for x in first]
    assert all(m or np.array_equal(x, image) for m, x in zip(mirrored, first, strict=True))
    assert np.mean(mirrored) == pytest.approx(0.5, abs=0.2)


def test_the_turns_of_a_mirrored_image_are_turns_of_it():
    """A mirror after the turn would exchange labels 1 and 3."""
    pretext, image = small(flip=True, pad=2), tf.constant(photo(16))
    for seed in range(8):
        turned, labels = pretext.transform(example(image, (seed, 1)))
        for picture, k in zip(turned, labels, strict=True):
            np.testing.assert_array_equal(picture, np.rot90(turned[0], k))
    alone = small(flip=True, all_at_once=False)
    for seed in range(16):
        picture, k = alone.transform(example(image, (seed, 1)))
        upright = np.rot90(picture, -int(k))
        assert any(np.array_equal(upright, x) for x in (image, image[:, ::-1]))


def test_pad_shifts_by_up_to_that_many_pixels():
    pretext, image = small(pad=4), np.zeros((16, 16, 3), np.float32)
    image[8, 8] = 1
    upright = [pretext.transform(example(image, (i, 1)))[0][0].numpy() for i in range(200)]
    places = np.array([np.argwhere(x[..., 0])[0] - 8 for x in upright])
    assert places.min() == -4
    assert places.max() == 4


@pytest.mark.parametrize(
    ("settings", "flag"), [({"num_rotations": 3}, "--num_rotations"), ({"crop": 0}, "--crop")]
)
def test_impossible_settings_name_the_flag(settings, flag):
    with pytest.raises(UserError, match=f"{flag}.*Received"):
        small(**settings)


def test_an_image_that_is_not_square_is_refused():
    with pytest.raises(UserError, match=r"square.*Received: 16 x 20"):
        small().rotations(tf.zeros((16, 20, 3)))


def test_picture_turns_back_by_the_truth_and_by_the_answer(panels):
    pretext, image = small(), photo(16)
    x, y = (part.numpy() for part in pretext.transform(example(image)))
    for turned, k in zip(x, y, strict=True):
        shown, verdict = panels(pretext, turned, k, np.eye(4)[k])
        np.testing.assert_array_equal(shown["puzzle"], turned)
        for name in ("truth", "answer"):
            np.testing.assert_array_equal(shown[name], image)
        assert verdict is True
        shown, verdict = panels(pretext, turned, k, np.eye(4)[k - 1])
        np.testing.assert_array_equal(shown["answer"], np.rot90(image))
        assert verdict is False
        assert panels(pretext, turned, k)[0].keys() == {"puzzle", "truth"}
