"""Instance discrimination: its loss, its views, its monitor (METHODS 6)."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import examples, photo, tiny_encoder, views_of_a_ramp

from sslzoo import data, probes, training
from sslzoo.errors import UserError
from sslzoo.images import color, geometry
from sslzoo.parts import memory
from sslzoo.pictures import album
from sslzoo.pretexts.npid import Npid
from sslzoo.training import Run, checkpoints

PLAIN = {"min_area": 1.0, "jitter": 0.0, "hue": 0.0, "grey": 0.0, "flip": False}
SMALL = {"seed": 0, "crop": 16, "view": 16, "dims": 8, "temperature": 0.5, "negatives": 0}


def small(num_images=64, batch_norm=True, **kwargs):
    return Npid(tiny_encoder(batch_norm), num_images, **{**SMALL, **kwargs})


def example(image, seed=(1, 2)):
    return {
        "image": tf.constant(image),
        "index": tf.constant(5, tf.int64),
        "seed": tf.convert_to_tensor(seed),
    }


# === Loss ===


def test_full_softmax_of_equal_cosines_is_ln_n():
    pretext = small(num_images=50_000)
    pretext.memory.rows.assign(np.ones((50_000, 8), np.float32) / np.sqrt(8))
    embedding = tf.constant(np.eye(8, dtype=np.float32)[:3])
    loss = pretext.contrast(embedding, tf.constant([0, 7, 49_999], tf.int64))
    np.testing.assert_allclose(loss, 10.8198, atol=1e-4)


def test_full_softmax_knows_its_own_row():
    pretext = small(num_images=8, temperature=0.01)
    pretext.memory.rows.assign(np.eye(8, dtype=np.float32))
    embedding = tf.constant(np.eye(8, dtype=np.float32)[[2, 3]])
    losses = pretext.contrast(embedding, tf.constant([2, 4], tf.int64))
    np.testing.assert_allclose(losses, [0, 100], atol=1e-3)


@pytest.mark.parametrize(("negatives", "estimator"), [(0, "nce"), (512, "nce"), (512, "infonce")])
def test_the_loss_against_a_random_bank(negatives, estimator):
    pretext = small(2000, negatives=negatives, estimator=estimator, dims=32, temperature=0.2)
    pretext.compile("sgd")
    embeddings = keras.ops.normalize(keras.random.normal((500, 32)), axis=-1)
    loss = tf.reduce_mean(pretext.contrast(embeddings, tf.range(500, dtype=tf.int64)))
    assert float(loss) == pytest.approx(pretext.random_bank_loss, rel=0.02)


def test_seed_and_step_choose_the_negatives():
    embeddings = keras.ops.normalize(keras.random.normal((4, 8)), axis=-1)

    def losses(seed, step):
        keras.utils.set_random_seed(0)
        pretext = small(500, seed=seed, negatives=8)
        pretext.compile("sgd")
        pretext.optimizer.iterations.assign(step)
        return pretext.contrast(embeddings, tf.range(4, dtype=tf.int64)).numpy()

    first = losses(2**32 - 1, 5)
    np.testing.assert_array_equal(first, losses(2**32 - 1, 5))
    for other in (losses(1, 5), losses(2**32 - 1, 6)):
        assert np.abs(first - other).min() > 1e-4


def test_an_mlp_head_has_a_hidden_layer_with_relu():
    plain, deep = small(), small(head="mlp")
    assert deep.count_params() - plain.count_params() == 8 * 8 + 8
    hidden = keras.Model(deep.input, deep.get_layer("head_hidden").output)
    values = hidden(np.stack([photo(16, i) for i in range(8)])).numpy()
    assert values.min() == 0 < values.max()


def test_training_finds_images_again_and_fills_the_bank_with_unit_rows():
    # Moving averages would need more than these 40 steps.
    pretext = small(16, batch_norm=False, **PLAIN, temperature=0.1)
    pretext.compile(keras.optimizers.SGD(0.3, momentum=0.9))
    data = examples(16, n=16)
    pretext.fit(pretext.puzzles(data, 8), epochs=20, verbose=0)
    pixels = np.stack([e["image"] for e in data])
    found = pretext.nearest(pretext.embed(pixels), 1)[:, 0].numpy()
    assert np.mean(found == np.arange(16)) > 0.8
    np.testing.assert_allclose(np.linalg.norm(pretext.memory.rows.numpy(), axis=-1), 1, atol=1e-5)


def test_evaluation_leaves_the_bank_alone():
    pretext = small()
    pretext.compile("sgd")
    before = pretext.memory.rows.numpy()
    pretext.evaluate(pretext.puzzles(examples(16), 8), verbose=0)
    np.testing.assert_array_equal(pretext.memory.rows.numpy(), before)


def test_an_embedding_does_not_depend_on_its_neighbours():
    pretext, pixels = small(), np.stack([photo(16, i) for i in range(3)])
    np.testing.assert_allclose(pretext.embed(pixels)[:1], pretext.embed(pixels[:1]), atol=1e-5)


def test_embeddings_have_length_1():
    embeddings = small()(np.stack([photo(16, i) for i in range(3)]))
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=-1), 1, atol=1e-5)


# === A bank that is filled before the first step ===


def test_a_bank_is_filled_with_the_embeddings_of_all_images_once():
    pretext, data = small(40), examples(16, n=40)
    pretext.compile(keras.optimizers.SGD(0.1))
    fill = memory.FillBank(pretext, lambda crop: data)
    fill.on_train_begin()
    rows = pretext.memory.rows.numpy()
    np.testing.assert_allclose(rows, pretext.embed(np.stack([e["image"] for e in data])), atol=1e-5)
    pretext.fit(pretext.puzzles(data, 20), verbose=0)
    trained = pretext.memory.rows.numpy()
    assert np.abs(trained - rows).max() > 1e-3
    fill.on_train_begin()
    np.testing.assert_array_equal(pretext.memory.rows.numpy(), trained)


class Stop(keras.callbacks.Callback):
    """Breaks off after this many steps."""

    def __init__(self, last):
        super().__init__()
        self.last = last

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.last:
            raise KeyboardInterrupt


def attempt(folder, name, seed, *extra):
    """Two epochs of four steps, or what is left of them: the state at the end."""
    paths = {"dataset": str(folder / "x.npz"), "workdir": str(folder / name)}
    run = Run(**paths, epochs=2, batch_size=16, seed=seed, backup_minutes=1e-6)
    run.start("npid", {})
    with run.scope():
        pretext = small(seed=run.seed, negatives=32)
        pretext.compile(run.sgd())
    fill = memory.FillBank(pretext, functools.partial(run.train_source.examples, shuffle=False))
    training.pretrain(pretext, run, [fill, *extra])
    return checkpoints.Checkpoints(folder / name / "checkpoints").load()


def test_a_stopped_run_with_a_filled_bank_and_drawn_negatives_ends_in_the_same_bits(tmp_path):
    x = np.stack([photo(16, i) for i in range(64)])
    np.savez(tmp_path / "x.npz", x_train=np.uint8(255 * x), x_test=np.uint8(255 * x[:4]))
    whole = attempt(tmp_path, "whole", 3)
    for steps in (3, 1):
        with pytest.raises(KeyboardInterrupt):
            attempt(tmp_path, "killed", 3, Stop(steps))
    resumed = attempt(tmp_path, "killed", 3)
    assert int(whole["step"]) == 8
    for name, array in whole.items():
        np.testing.assert_array_equal(array, resumed[name], err_msg=name)


# === Views ===


def test_a_plain_view_is_the_image_and_y_its_index():
    view, index = small(**PLAIN).transform(example(photo(16)))
    np.testing.assert_allclose(view, photo(16), atol=1e-5)
    assert int(index) == 5


def test_views_show_a_share_of_the_image():
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32)[:, None, None], (1, 64, 3))
    spans = []
    for i in range(100):
        view = geometry.random_resized_crop(tf.constant(ramp), 32, 0.25, (i, 1)).numpy()
        other = geometry.random_resized_crop(
            tf.constant(ramp.transpose(1, 0, 2)), 32, 0.25, (i, 1)
        ).numpy()
        assert view.shape == (32, 32, 3)
        spans.append([np.ptp(view), np.ptp(other)])
    area = np.prod(spans, axis=1)
    assert 0.2 < area.min() < 0.35
    assert 0.85 < area.max() <= 1
    assert 0.7 < np.min(np.divide(*np.transpose(spans))) < 1  # 3 / 4, and the last row's half


def test_the_pretext_cuts_its_views_at_random():
    spans = views_of_a_ramp(small(**{**PLAIN, "min_area": 0.25}))
    assert np.ptp(spans) > 0.2
    assert spans.min() < 0.8
    np.testing.assert_allclose(views_of_a_ramp(small(**PLAIN)), 1, atol=0.01)


def test_the_pretext_turns_hues():
    views = [
        small(**{**PLAIN, "hue": 0.4}).transform(example(photo(16), (i, 2)))[0].numpy()
        for i in range(4)
    ]
    for view in views:  # HSV's value stays
        np.testing.assert_allclose(view.max(-1), photo(16).max(-1), atol=1e-3)
    assert max(np.abs(view - photo(16)).max() for view in views) > 0.1


def test_jitter_of_colors_by_hand():
    """Brightness, contrast and saturation as torchvision defines them."""
    image, seed = photo(8) * 0.4 + 0.3, (4, 2)
    factors = tf.random.stateless_uniform((4,), seed, -1.0, 1.0).numpy()
    brightness, contrast, saturation = 1 + 0.2 * factors[:3]
    expected = image * brightness
    luma = (expected * color.GREY_WEIGHTS).sum(-1)
    expected = contrast * expected + (1 - contrast) * luma.mean()
    luma = (expected * color.GREY_WEIGHTS).sum(-1, keepdims=True)
    expected = saturation * expected + (1 - saturation) * luma
    ours = color.jitter(tf.constant(image), 0.2, 0.0, seed)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    turned = color.jitter(tf.constant(image), 0.2, 0.5, seed)
    np.testing.assert_allclose(
        turned, tf.image.adjust_hue(ours, 0.5 * factors[3]).numpy(), atol=1e-5
    )
    bright = color.jitter(tf.ones((4, 4, 3)), 1.0, 0.0, seed)
    assert 0 <= float(tf.reduce_min(bright)) <= float(tf.reduce_max(bright)) <= 1


def test_flip_and_grey_are_as_frequent_as_asked():
    pretext, image = small(**{**PLAIN, "flip": True, "grey": 0.3}), photo(16)
    seeds = tf.data.Dataset.range(200).map(lambda i: tf.stack([tf.cast(i, tf.int32), 1]))
    views = [v.numpy() for v, _ in seeds.map(lambda s: pretext.transform(example(image, s)))]
    grey = np.array([np.ptp(view, axis=-1).max() < 1e-5 for view in views])
    grey_image = color.grey(tf.constant(image)).numpy()
    straight = [
        np.abs(v - (grey_image if g else image)).max() < 1e-4
        for v, g in zip(views, grey, strict=True)
    ]
    assert np.mean(grey) == pytest.approx(0.3, abs=0.1)
    assert np.mean(straight) == pytest.approx(0.5, abs=0.12)


# === Monitor, errors, pictures ===


def four_classes(tmp_path):
    """200 and 100 images of 16 pixels, of four classes that their brightness tells."""
    y = np.arange(300) % 4
    x = np.broadcast_to(np.uint8(60 * y + 20)[:, None, None, None], (300, 16, 16, 3))
    arrays = {"x_train": x[:200], "y_train": y[:200], "x_test": x[200:], "y_test": y[200:]}
    np.savez(tmp_path / "four.npz", **arrays)
    return [data.load(str(tmp_path / "four.npz"), part, labels=True) for part in ("train", "test")]


def test_the_monitor_asks_the_bank(tmp_path):
    sources, logs = four_classes(tmp_path), {}
    pretext = small(200, dims=16)
    monitor = probes.Monitor(pretext, *sources, images=200, memory=pretext.memory)
    # Brightness of 20, 80, 140, 200 of 255 to one of the four centres.
    centres = np.eye(16, dtype=np.float32)
    pretext.embed = lambda pixels: tf.gather(
        centres, tf.cast(tf.round((pixels[:, 0, 0, 0] * 255 - 20) / 60), tf.int32)
    )
    for shift, accuracy in ((0, 1), (1, 0)):  # a bank that says the next class is never right
        pretext.memory.rows.assign(centres[(np.arange(200) + shift) % 4])
        monitor.on_epoch_end(0, logs)
        assert logs["knn"] == accuracy
    assert len(probes.Monitor(pretext, *sources, images=50).voters) == 50


def test_the_monitor_embeds_images_where_there_is_no_bank_of_them(tmp_path):
    sources, logs = four_classes(tmp_path), {}
    pretext = small(64)
    pretext.embed = lambda pixels: tf.one_hot(
        tf.cast(tf.round((pixels[:, 0, 0, 0] * 255 - 20) / 60), tf.int32), 4
    )
    probes.Monitor(pretext, *sources, images=100).on_epoch_end(0, logs)
    assert logs["knn"] == 1


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"view": 17}, "--view"),
        ({"min_area": 0.0}, "--min_area"),
        ({"jitter": 2.0}, "--jitter"),
        ({"hue": 0.7}, "--hue"),
        ({"num_images": 1}, "num_images"),
        ({"head": "deep"}, "--head"),
    ],
)
def test_impossible_settings_name_the_flag(settings, flag):
    with pytest.raises(UserError, match=f"{flag}: .*Received"):
        small(**settings)


def test_picture_shows_view_row_and_embedding(panels):
    pretext = small()
    pretext.memory.rows.assign(np.eye(8, dtype=np.float32)[np.arange(64) % 8])
    x, y = (part.numpy() for part in pretext.transform(example(photo(16))))
    (shown,) = panels(pretext, x, y, pretext.memory.gather(5).numpy())
    row = shown["row in the bank"]
    np.testing.assert_array_equal(row, shown["embedding"])
    assert row.max() == 255
    assert np.mean(row == 255) == pytest.approx(1 / 9, abs=0.01)  # of 3 x 3 squares one is white
    assert "embedding" not in panels(pretext, x, y)[0]


def test_album_shows_queries_and_their_neighbours(tmp_path):
    pretext = small(40)
    angle = np.linspace(0, 2, 40)  # neighbours on the circle have neighbouring indices
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    pretext.memory.rows.assign(np.pad(circle, ((0, 0), (0, 6))).astype(np.float32))
    album.neighbors(tmp_path / "n.png", pretext, lambda i: np.full((16, 16, 3), i / 255))
    sheet = tf.io.decode_png((tmp_path / "n.png").read_bytes()).numpy()
    assert sheet.shape == (8 * 66 - 2, 10 * 66 - 2, 3)
    for row in sheet[32::66, 32::66, 0].astype(int):
        away = np.abs(row - row[0])
        assert len({*row}) == 10
        assert (np.diff(away) >= 0).all()
