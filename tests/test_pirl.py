"""PIRL: lambda, heads, patches, gradients (METHODS 5.7)."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import examples, photo, tiny_encoder, views_of_a_ramp

from sslzoo import encoders
from sslzoo.errors import UserError
from sslzoo.images import color, geometry
from sslzoo.pretexts import pirl
from sslzoo.pretexts.npid import Npid
from sslzoo.pretexts.pirl import Pirl

SMALL = {"crop": 24, "view": 16, "puzzle": 24, "grid": 2, "tile": 12, "dims": 8, "negatives": 0}
SMALL = {**SMALL, "seed": 0}
PLAIN = {"jitter": 0.0, "hue": 0.0, "grey": 0.0, "min_area": 1.0, "puzzle_area": 1.0}

TASKS = ("jigsaw", "rotation", "jigsaw+rotation")


def small(num_images=16, **kwargs):
    return Pirl(
        tiny_encoder(batch_norm=True), num_images, **{**SMALL, "temperature": 0.5, **kwargs}
    )


def compiled(pretext):
    pretext.compile(keras.optimizers.SGD(0.1))
    return pretext


def example(image, seed=(1, 2)):
    seed = tf.convert_to_tensor(seed)
    return {"image": tf.constant(image), "index": tf.constant(5, tf.int64), "seed": seed}


def others(pretext, image, n):
    """`n` puzzles of one image."""
    seeds = tf.data.Dataset.from_tensor_slices(
        np.stack([np.arange(n), np.zeros(n)], 1).astype("i4")
    )
    made = seeds.map(lambda seed: pretext.transform(example(image, seed))[0]["other"])
    return [other.numpy() for other in made]


def gradients(pretext):
    """Of one batch, by the path of the variable: arrays, zero where there is none."""
    x, y = next(iter(pretext.puzzles(examples(24, n=16), 16)))
    *_, found = pretext.forward_backward(x, y, None)
    variables = pretext.trainable_variables
    return {
        v.path: np.zeros(v.shape) if g is None else tf.convert_to_tensor(g).numpy()
        for v, g in zip(variables, found, strict=True)
    }


# === 4. Lambda ===


def test_at_weight_0_the_patch_head_gets_no_gradient_and_at_1_the_image_head():
    for weight, silent, loud in [(0.0, "g", "f"), (1.0, "f", "g")]:
        found = gradients(compiled(small(weight=weight)))
        for path, gradient in found.items():
            head = path.split("/")[-2]
            if head.startswith(("f", "g")):
                assert (np.abs(gradient).max() == 0) == head.startswith(silent), path
        assert any(path.split("/")[-2].startswith(loud) for path in found)


def test_weight_0_is_npid():
    shared = {"seed": 0, "crop": 24, "view": 16, "dims": 8, "negatives": 0, "temperature": 0.5}
    npid = compiled(Npid(tiny_encoder(batch_norm=True), 16, **shared))
    pretext = compiled(small(weight=0.0))
    npid.set_weights([*pretext.image_side.get_weights(), pretext.memory.rows.numpy()])
    x, y = next(iter(pretext.puzzles(examples(24, n=16), 16)))
    ours, theirs = pretext.forward_backward(x, y, None), npid.forward_backward(x["image"], y, None)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-6)
    by_shape = [g for g in map(np.asarray, filter(lambda g: g is not None, ours[-1])) if g.any()]
    for a, b in zip(by_shape, theirs[-1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_the_bank_takes_f_of_the_image_whatever_the_weight(weight):
    pretext = compiled(small(weight=weight, momentum=0.0))
    x, y = next(iter(pretext.puzzles(examples(24, n=8), 8)))
    f, _ = pretext(x, training=True)
    before = pretext.memory.rows.numpy()
    pretext.train_on_batch(x, y)
    after = pretext.memory.rows.numpy()
    np.testing.assert_allclose(after[y], f, atol=1e-5)
    unseen = np.setdiff1d(np.arange(16), y)
    np.testing.assert_array_equal(after[unseen], before[unseen])


def test_the_loss_weighs_both_contrasts():
    pretext = compiled(small(weight=0.25))
    x, y = next(iter(pretext.puzzles(examples(24, n=8), 8)))
    f, g = pretext(x)
    expected = 0.25 * pretext.contrast(g, y) + 0.75 * pretext.contrast(f, y)
    np.testing.assert_allclose(pretext.compute_loss(x, y, [f, g]), np.mean(expected), rtol=1e-5)


# === 5. Heads ===


def test_f_knows_nothing_of_the_patches_and_order_enters_in_the_last_layer():
    pretext = small()
    x, _ = next(iter(pretext.puzzles(examples(24, n=4), 4)))
    order = [2, 0, 3, 1]
    moved = {**x, "other": tf.gather(x["other"], order, axis=1)}
    (f, g), (f_moved, g_moved) = pretext(x), pretext(moved)
    np.testing.assert_array_equal(f, f_moved)
    assert np.abs(g - g_moved).max() > 1e-3
    vectors = keras.Model(pretext.inputs, pretext.get_layer("g_patches").output)
    np.testing.assert_allclose(vectors(moved), tf.gather(vectors(x), order, axis=1), atol=1e-6)


def test_parameter_counts_of_the_heads_on_resnet50():
    pretext = Pirl(encoders.get("resnet50"), 10, 0, negatives=0)
    count = {layer: pretext.get_layer(layer).count_params() for layer in ("f", "g")}
    patch = pretext.get_layer("g_patches").layer.get_layer("g_patch").count_params()
    assert count["f"] == 262_272
    assert patch + count["g"] == 262_272 + 147_584 == 409_856
    assert pretext.input["other"].shape == (None, 9, 64, 64, 3)
    assert pretext.memory.rows.shape == (10, 128)


def test_mlp_heads_have_a_hidden_layer_for_the_view_and_for_each_patch():
    linear, mlp = small(), small(head="mlp")
    column = mlp.get_layer("g_patches").layer
    hidden = [mlp.get_layer("f_hidden"), column.get_layer("g_patch_hidden")]
    assert [layer.activation for layer in hidden] == [keras.activations.relu] * 2
    added = sum(layer.count_params() for layer in hidden)
    assert mlp.count_params() - linear.count_params() == added == 2 * (8 * 8 + 8)
    assert small(head="mlp", task="rotation").get_layer("g_hidden").count_params() == 72


def test_embeddings_have_length_1():
    pretext = small()
    x, _ = next(iter(pretext.puzzles(examples(24, n=4), 4)))
    for embedding in [*pretext(x), pretext.embed(tf.stack([photo(24)] * 2))]:
        np.testing.assert_allclose(np.linalg.norm(embedding, axis=-1), 1, atol=1e-5)


# === The puzzle ===


def mirrored_or_not(patch, expected):
    return any(np.abs(patch - e).max() < 1e-4 for e in (expected, expected[:, ::-1]))


def test_patches_are_the_cells_in_any_order():
    pretext, image = small(**PLAIN), photo(24)
    cells = [image[i : i + 12, j : j + 12] for i in (0, 12) for j in (0, 12)]
    orders = set()
    for other in others(pretext, image, 150):
        found = [[mirrored_or_not(patch, cell) for cell in cells] for patch in other]
        np.testing.assert_array_equal(np.sum(found, 0), 1)
        orders.add(tuple(np.argmax(found, 1)))
    assert len(orders) == 24


def test_patches_lie_anywhere_in_their_cells():
    pretext = small(tile=8)
    place = np.stack(np.meshgrid(np.arange(24), np.arange(24), indexing="ij"), -1)
    place = np.concatenate([place, place[..., :1]], -1).astype(np.float32)
    corners = np.array([pretext.cut(place, (i, 0))[:, 0, 0, :2] for i in range(60)])
    cells = np.array([(0, 0), (0, 12), (12, 0), (12, 12)])
    offsets = corners - cells
    assert offsets.min() == 0
    assert offsets.max() == 12 - 8
    assert np.std(offsets[:, 0] - offsets[:, 1]) > 0.5  # each by itself


def test_patches_change_color_each_by_itself():
    pretext = small(**{**PLAIN, "jitter": 0.4, "grey": 0.5, "hue": 0.2})
    same = tf.stack([tf.constant(photo(12))] * 64)
    changed = pretext.change_colors(same, (3, 4)).numpy()
    assert np.std(changed.mean((1, 2, 3))) > 0.02
    grey = np.ptp(changed, axis=-1).max((1, 2)) < 1e-4
    assert np.mean(grey) == pytest.approx(0.5, abs=0.2)
    calm = small(**PLAIN).change_colors(same, (3, 4)).numpy()
    flipped = [np.abs(c - photo(12)).max() > 1e-4 for c in calm]
    assert np.mean(flipped) == pytest.approx(0.5, abs=0.2)


def test_whether_a_patch_is_grey_says_nothing_of_its_mirroring():
    patches = tf.stack([tf.constant(photo(12))] * 64)
    changed = small(**{**PLAIN, "grey": 0.5}).change_colors(patches, (3, 4)).numpy()
    grey = np.ptp(changed, axis=-1).max((1, 2)) < 1e-4
    shades, same = (x @ np.float32(color.GREY_WEIGHTS) for x in (photo(12), changed))
    mirrored = np.abs(same - shades).max((1, 2)) > 1e-4
    np.testing.assert_allclose(same[mirrored], [shades[:, ::-1]] * mirrored.sum(), atol=1e-5)
    assert len({*zip(grey, mirrored, strict=True)}) == 4


def test_an_embedding_does_not_depend_on_its_neighbours():
    pretext, pixels = small(), np.stack([photo(24, i) for i in range(3)])
    np.testing.assert_allclose(pretext.embed(pixels)[:1], pretext.embed(pixels[:1]), atol=1e-5)


@pytest.mark.parametrize(("task", "choices"), [("jigsaw", 6), ("rotation", 5), (TASKS[-1], 7)])
def test_every_choice_has_a_seed_of_its_own(task, choices, monkeypatch):
    seen = []

    def spy(owner, name):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a: seen.append(tuple(a[-1].numpy())) or real(*a))

    for owner, name in [(geometry, "random_resized_crop"), (pirl, "_turn")]:
        spy(owner, name)
    for name in ("cut", "order", "change_colors"):
        spy(Pirl, name)
    small(task=task).transform(example(photo(24)))
    assert len(seen) == len({*seen}) == choices


def test_view_and_puzzle_are_random_shares_of_the_image():
    for part, flag in [("image", "min_area"), ("other", "puzzle_area")]:
        spans = views_of_a_ramp(small(**{**PLAIN, flag: 0.25}), lambda x, part=part: x[part])
        assert np.ptp(spans) > 0.2
        assert spans.min() < 0.8
        whole = views_of_a_ramp(small(**PLAIN), lambda x, part=part: x[part])
        np.testing.assert_allclose(whole, 1, atol=0.01)


@pytest.mark.parametrize("task", TASKS)
def test_view_and_puzzle_change_their_colors(task):
    grey, _ = small(task=task, **{**PLAIN, "grey": 1.0}).transform(example(photo(24)))
    assert all(np.ptp(part.numpy(), axis=-1).max() < 1e-5 for part in grey.values())
    turned, plain = (
        small(task=task, **{**PLAIN, "hue": hue}).transform(example(photo(24)))[0]
        for hue in (0.5, 0.0)
    )
    for name, part in turned.items():  # HSV's value stays
        assert np.abs(part - plain[name]).max() > 0.05
        np.testing.assert_allclose(np.max(part, -1), np.max(plain[name], -1), atol=1e-3)


def test_a_permutation_set_limits_the_orders():
    pretext = small(num_permutations=3)
    orders = {tuple(pretext.order((i, 0)).numpy()) for i in range(60)}
    assert orders == {tuple(row) for row in pretext.orders}
    assert len(orders) == 3


@pytest.mark.parametrize("task", ["rotation", "jigsaw+rotation"])
def test_rotation_turns_by_quarters(task):
    pretext, image = (
        small(task=task, **PLAIN, **({"view": 24} if task == "rotation" else {})),
        photo(24),
    )
    turned = [np.rot90(image, k) for k in range(4)]
    cells = [[t[i : i + 12, j : j + 12] for i in (0, 12) for j in (0, 12)] for t in turned]
    seen = set()
    for other in others(pretext, image, 40):
        if task == "rotation":
            seen |= {k for k in range(4) if np.abs(other - turned[k]).max() < 1e-4}
        else:
            matches = [
                all(any(mirrored_or_not(p, c) for c in four) for p in other) for four in cells
            ]
            assert sum(matches) == 1
            seen.add(int(np.argmax(matches)))
    assert seen == {0, 1, 2, 3}


def test_tasks_have_the_inputs_they_need():
    shapes = {task: small(task=task).input["other"].shape[1:] for task in TASKS}
    assert shapes == {
        "jigsaw": (4, 12, 12, 3),
        "rotation": (16, 16, 3),
        "jigsaw+rotation": (4, 12, 12, 3),
    }
    small(task="rotation", puzzle=63, grid=5, tile=40)  # of no puzzle


# === Errors and pictures ===


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"task": "colour"}, "--task"),
        ({"view": 25}, "--view"),
        ({"puzzle": 26}, "--puzzle"),
        ({"grid": 5}, "--grid"),
        ({"tile": 13}, "--tile"),
        ({"weight": 1.5}, "--weight"),
        ({"momentum": -1}, "--momentum"),
    ],
)
def test_impossible_settings_name_the_flag(settings, flag):
    with pytest.raises(UserError, match=f"{flag}: .*Received"):
        small(**settings)


@pytest.mark.parametrize("task", TASKS)
def test_picture_has_a_panel_for_each_thing(task, panels):
    pretext = small(task=task)
    x, y = next(iter(pretext.puzzles(examples(24, n=4), 4)))
    f, g = pretext(x)
    x = {name: part[0].numpy() for name, part in x.items()}
    assert list(panels(pretext, x, y[0])[0]) == ["view", "puzzle", "row in the bank"]
    (whole,) = panels(pretext, x, y[0], [f[0], g[0]])
    assert list(whole)[3:] == ["f(view)", "g(puzzle)"]
    np.testing.assert_array_equal(whole["view"], x["image"])
