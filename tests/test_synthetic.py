"""Synthetic imagery: losses, the two streams, what the discriminator remembers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import mirrored, rendered_examples, tiny_encoder

from sslzoo import encoders
from sslzoo.errors import UserError
from sslzoo.parts.history import History
from sslzoo.pictures.maps import shown_map
from sslzoo.pretexts import synthetic
from sslzoo.pretexts.synthetic import Synthetic

TASKS = ("edges", "depth", "normals")


def make(rates=(0.1, 0.1), **settings):
    small = {"crop": 16, "width": 4, "discriminator_width": 4, "batch_norm": False, "pool": 0}
    pretext = Synthetic(tiny_encoder(), **{**small, **settings})
    first, second = map(keras.optimizers.SGD, rates)
    groups = pretext.parameter_groups
    pretext.compile(first, optimizers={"discriminator": second} if groups else None)
    return pretext


def batch(pretext, n=8, seed=0):
    return next(iter(pretext.puzzles(rendered_examples(16, n, seed), n)))


def noise(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


# === Losses ===


def test_the_normals_loss_is_1_minus_the_cosine_whatever_the_length():
    y = tf.math.l2_normalize(noise(2, 4, 4, 3), -1)
    across = tf.linalg.cross(y, tf.roll(y, 1, -1))
    for prediction, loss in ((y, 0), (7 * y, 0), (-0.1 * y, 2), (across, 1)):
        np.testing.assert_allclose(synthetic.normal_loss(y, prediction), [loss] * 2, atol=1e-5)


def test_a_factor_on_all_depths_costs_nothing_with_full_scale_invariance():
    y, prediction = noise(2, 4, 4, 1), noise(2, 4, 4, 1, seed=1)
    moved = prediction + tf.reshape([0.5, -2.0], (2, 1, 1, 1))  # another factor for each image
    for share, same in ((1.0, True), (0.5, False), (0.0, False)):
        before, after = (synthetic.depth_loss(y, p, share) for p in (prediction, moved))
        assert np.allclose(before, after, atol=1e-5) == same
    d = np.asarray(prediction - y)
    published = (d**2).mean((1, 2, 3)) / 2 - d.mean((1, 2, 3)) ** 2 / 4
    np.testing.assert_allclose(synthetic.depth_loss(y, prediction), published, rtol=1e-5)


def test_nothing_is_asked_where_depth_and_normals_are_not_known():
    rng = np.random.default_rng(0)
    known = rng.random((2, 8, 8, 1)) < 0.6
    depth, guess = rng.normal(size=(2, 2, 8, 8, 1)).astype(np.float32)
    normals = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    x = tf.constant(np.concatenate([guess, noise(2, 8, 8, 3)], -1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        depths = synthetic.depth_loss(np.where(known, depth, synthetic.HOLE), x[..., :1], 0.5)
        directions = synthetic.normal_loss(np.where(known, normals, np.float32(0)), x[..., 1:])
    gradient = tape.gradient([depths, directions], x).numpy()
    assert np.all((gradient != 0).any(-1, keepdims=True) == known)
    for i in range(2):
        d = (guess - depth)[i][known[i]]
        assert depths[i].numpy() == pytest.approx(
            (np.mean(d**2) - np.mean(d) ** 2 / 2) / 2, abs=1e-5
        )
        cosine = (normals * tf.math.l2_normalize(x[..., 1:], -1)).numpy().sum(-1, keepdims=True)[i]
        assert directions[i].numpy() == pytest.approx(np.mean((1 - cosine)[known[i]]), abs=1e-5)
    example = {"image": np.zeros((8, 8, 3), np.float32), "depth": np.float32([[[0.0], [2.0]]])}
    network = make(edges=0, normals=0, adversarial=0)
    truth = network.transform(example)[1]["depth"].numpy().ravel()
    assert truth == pytest.approx([synthetic.HOLE, np.log(2)])
    depths = np.float32([[synthetic.HOLE, 1, 3, 2]])[..., None, None]
    shown = shown_map("depth", depths, synthetic.HOLE)
    assert shown[0, :, 0, 0].tolist() == [0, 1, 0, 0.5]


def test_an_undecided_contour_costs_ln_2_times_the_balance_of_its_image():
    y = np.zeros((3, 16, 16, 1), np.float32)
    y[0, :4] = 1  # a quarter: 3 off for 1 on
    y[1, :8] = 1
    least = synthetic.LEAST_EDGES
    expected = np.log(2) * np.array([3, 1, (1 - least) / least])
    loss = synthetic.edge_loss(tf.constant(y), tf.zeros((3, 16, 16, 1)))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    sure = synthetic.edge_loss(tf.constant(y[:1]), tf.constant(40 * y[:1] - 20))
    assert float(sure[0]) < 1e-6


def test_the_loss_is_the_weighted_sum_of_the_tasks():
    pretext = make(edges=2.0, depth=3.0, normals=4.0, scale_invariance=0.25)
    x, y = batch(pretext)
    found = pretext(x)
    expected = {
        "edges": 2 * np.mean(synthetic.edge_loss(y["edges"], found["edges"])),
        "depth": 3 * np.mean(synthetic.depth_loss(y["depth"], found["depth"], 0.25)),
        "normals": 4 * np.mean(synthetic.normal_loss(y["normals"], found["normals"])),
    }
    terms = pretext.content_loss(x, y, found)
    assert {k: float(v) for k, v in terms.items()} == pytest.approx(expected, rel=1e-5)
    logs = pretext.train_on_batch(x, y, return_dict=True)
    assert {k: logs[k] for k in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_of_weight_0_is_left_out(task):
    pretext = make(**{task: 0.0})
    names = {*TASKS} - {task}
    x, y = batch(pretext)
    assert {*y} == names
    assert {*pretext(x)} == names | {"synthetic", "real"}
    assert {*pretext.content_loss(x, y, pretext(x))} == names
    assert {"g_loss", "d_loss", *names} <= {*pretext.train_on_batch(x, y, return_dict=True)}


# === Two streams ===


def test_without_adversary_there_is_one_stream():
    pretext = make(adversarial=0.0)
    x, y = batch(pretext)
    assert {*x} == {"synthetic"}
    assert {*pretext(x)} == {*TASKS}
    assert pretext.discriminator is None
    assert "g_loss" not in pretext.train_on_batch(x, y, return_dict=True)


def test_real_images_bring_the_base_network_no_gradient():
    pretext = make(adversarial=5.0)
    x, y = batch(pretext)
    x = {name: tf.identity(image) for name, image in x.items()}
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        with_adversary = pretext.compute_loss(x, y, pretext(x))
        pretext.adversarial = 0.0
        without = pretext.compute_loss(x, y, pretext(x))
    assert tape.gradient(with_adversary, x["real"]) is None
    ours, alone = (tape.gradient(loss, x["synthetic"]) for loss in (with_adversary, without))
    assert np.abs(ours - alone).max() > 1e-6


@pytest.mark.parametrize("pool", [0, 4])
def test_each_player_moves_its_own_weights_only(pool):
    for rates in ((0.1, 0.0), (0.0, 0.1)):
        pretext = make(rates, pool=pool)
        players = pretext.ungrouped_variables, pretext.parameter_groups["discriminator"]
        before = [[v.numpy() for v in player] for player in players]
        pretext.train_on_batch(*batch(pretext))
        for rate, old, player in zip(rates, before, players, strict=True):
            moved = [not np.array_equal(a, v.numpy()) for a, v in zip(old, player, strict=True)]
            assert moved == [bool(rate)] * len(old)


def test_the_discriminators_loss_is_a_mean_and_real_is_what_it_takes_for_real():
    pretext = make()
    losses = pretext.adversarial_losses(tf.zeros((2, 2, 2, 1)), tf.zeros((2, 2, 2, 1)))
    np.testing.assert_allclose(losses, [np.log(2)] * 2, rtol=1e-6)
    x, y = batch(pretext)
    found = pretext(x)
    real, fake = pretext.shown(x, y, found)
    again = pretext({"synthetic": x["real"], "real": x["synthetic"]})
    np.testing.assert_allclose(real, again["synthetic"], atol=1e-6)
    np.testing.assert_allclose(fake, again["real"], atol=1e-6)


def test_the_discriminator_sees_what_enters_the_relu_of_the_wanted_stage():
    encoder = encoders.get("small", widths=(4, 4, 4), strides=(2, 2, 1))
    pretext = Synthetic(encoder, crop=16, stage="stage2", width=4, discriminator_width=4)
    x, _ = batch(pretext)
    found = pretext(x)["synthetic"]
    stage = keras.Model(encoder.inputs, encoder.get_layer("stage2").output)(x["synthetic"])
    np.testing.assert_allclose(tf.nn.relu(found), stage, atol=1e-6)
    assert float(tf.reduce_min(found)) < 0


# === The network, the puzzle ===


def test_the_papers_network():
    encoder = encoders.get("alexnet_ren")
    pretext = Synthetic(encoder, crop=227, hidden=16, width=8, discriminator_width=8)
    sides = [pretext.head.get_layer(f"depth{i}").output.shape[1] for i in (1, 2, 3)]
    assert sides == [27, 55, 113]
    assert {k: v.shape[1:] for k, v in pretext.output.items()} == {
        "edges": (227, 227, 1),
        "depth": (227, 227, 1),
        "normals": (227, 227, 3),
        "synthetic": (13, 13, 256),
        "real": (13, 13, 256),
    }
    assert pretext.discriminator.output_shape[1:] == (6, 6, 1)
    assert pretext.head.get_layer("fc6").output.shape[1:] == (13, 13, 16)


def test_a_puzzle_is_an_image_its_maps_and_a_real_image():
    example = next(iter(rendered_examples(16)))
    x, y = make().transform(example)
    np.testing.assert_array_equal(x["synthetic"], example["image"])
    np.testing.assert_array_equal(x["real"], example["real"])
    np.testing.assert_allclose(np.exp(y["depth"]), example["depth"], rtol=1e-5)
    for name in ("edges", "normals"):
        np.testing.assert_array_equal(y[name], example[name])


def test_grey_shows_one_channel_of_each_image():
    pretext, drawn = make(grey=True), []
    for example in rendered_examples(16, 12):
        x, _ = pretext.transform(example)
        for shown, image in ((x["synthetic"], example["image"]), (x["real"], example["real"])):
            same = [np.array_equal(shown[..., 0], image[..., i]) for i in range(3)]
            np.testing.assert_array_equal(shown[..., :1], shown[..., 1:2])
            np.testing.assert_array_equal(shown[..., :1], shown[..., 2:])
            drawn.append(same.index(True))
    assert {*drawn} == {0, 1, 2}
    assert drawn[::2] != drawn[1::2], "each domain has its own"


def test_the_picture_shows_truth_beside_answers_and_maps_of_the_real_image(panels):
    pretext = make()
    x, y = (tf.nest.map_structure(lambda a: a[0].numpy(), part) for part in batch(pretext))
    seen, *_ = panels(pretext, x, y, {})
    assert [*seen] == ["synthetic", *(n for t in TASKS for n in (t, f"{t}?")), "real"] + [
        f"{t}? " for t in TASKS
    ]
    assert all(0 <= p.min() <= p.max() <= 1 and p.shape[-1] == 3 for p in seen.values())
    np.testing.assert_allclose(seen["edges"], np.repeat(y["edges"], 3, -1))
    np.testing.assert_allclose((2 * seen["normals"] - 1) * (1, -1, -1), y["normals"], atol=1e-5)
    near = np.unravel_index(y["depth"].argmin(), y["depth"].shape)[:2]
    assert seen["depth"][near].min() == 1
    assert {*panels(pretext, x, y)[0]} == {"synthetic", *TASKS, "real"}


# === History ===


def exchange(history, maps, step):
    """In the replica context, as a training step is."""
    return history.exchange(tf.constant(maps, tf.float32), tf.constant([step, 0], tf.int64)).numpy()


def test_an_empty_pool_keeps_what_it_meets_and_gives_it_back():
    history = History(8, (2,))
    maps = np.arange(12.0).reshape(6, 2) + 1
    np.testing.assert_array_equal(exchange(history, maps, 0), maps)
    kept = history.maps.numpy()[history.filled.numpy() > 0]
    np.testing.assert_array_equal(np.sort(kept, 0), np.sort(maps, 0))


def test_a_full_pool_exchanges_half_of_what_it_meets_and_loses_nothing_else():
    history, met, swapped = History(16, (1,)), 0, 0
    for step in range(100):
        before = {*history.maps.numpy().ravel()} - {0}
        new = np.arange(1.0, 7)[:, None] + 10 * step
        full = history.filled.numpy().all()
        got = exchange(history, new, step)
        old = got[got != new]
        assert {*old} <= before, "what comes back was in the pool"
        assert {*history.maps.numpy().ravel()} - {0} <= before | {*new.ravel()}
        assert not {*history.maps.numpy().ravel()} & {*old}, "and is no longer"
        if full:
            met, swapped = met + 6, swapped + len(old)
    assert 0.4 < swapped / met < 0.6


def test_what_is_more_than_the_pool_passes_by():
    history = History(2, (1,))
    maps = np.arange(1.0, 6)[:, None]
    exchange(history, maps, 0)
    np.testing.assert_array_equal(exchange(history, maps + 10, 1)[2:], maps[2:] + 10)


def test_replicas_share_one_pool():
    found = []
    for replicas in (1, 2):
        strategy = mirrored(replicas)
        with strategy.scope():
            history = History(8, (1,))
        got = []
        for step in range(6):
            rows = np.arange(1.0, 5)[:, None] + 10 * step
            parts = np.split(rows, replicas)

            def run(history=history, step=step, parts=parts):
                i = tf.distribute.get_replica_context().replica_id_in_sync_group
                part = tf.gather(tf.constant(np.stack(parts), tf.float32), i)
                return history.exchange(part, tf.constant([step, 0], tf.int64))

            outcome = strategy.run(tf.function(run))
            got.append(np.concatenate(strategy.experimental_local_results(outcome)))
        found.append((np.stack(got), history.maps.numpy()))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_discriminator_learns_from_the_past_and_each_domain_has_its_own():
    pretext, offered, seen = make(pool=4), [], []
    recall = pretext.recall

    def watched(*features):
        offered.append([part.numpy() for part in features])
        seen.append([part.numpy() for part in recall(*features)])
        return tuple(map(tf.constant, seen[-1]))

    pretext.recall, pretext.run_eagerly = watched, True
    for seed in range(4):
        pretext.train_on_batch(*batch(pretext, 4, seed))
    for domain in (0, 1):
        earlier = {row.tobytes() for step in offered[:3] for row in step[domain]}
        assert any(row.tobytes() in earlier for row in seen[3][domain])
    coins = [
        [np.array_equal(*rows) for rows in zip(seen[3][i], offered[3][i], strict=True)]
        for i in (0, 1)
    ]
    assert coins[0] != coins[1]


def test_the_base_network_is_judged_by_its_features_of_now():
    pretext = make((0.1, 0.0))
    pretext.recall = lambda *features: [tf.zeros_like(part) for part in features]
    x, y = batch(pretext)
    verdict = pretext.discriminator(pretext(x)["synthetic"])
    expected = tf.reduce_mean(tf.nn.softplus(-verdict))
    logs = pretext.train_on_batch(x, y, return_dict=True)
    assert logs["g_loss"] == pytest.approx(float(expected), rel=1e-5)


# === Errors ===


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        (dict.fromkeys(TASKS, 0.0), "--edges, --depth, --normals: expected one that is not 0"),
        ({"crop": 18}, "--crop: expected the 5 pixels .* times 2, 4, 8"),
        ({"stage": "stage9"}, "--stage: expected one of stage1, stage2"),
        ({"scale_invariance": 2.0}, "--scale_invariance"),
    ],
)
def test_impossible_settings_name_the_flag(settings, flag):
    with pytest.raises(UserError, match=f"{flag}.*Received"):
        make(**settings)


def test_a_layer_of_a_stage_is_none():
    encoder = tiny_encoder(batch_norm=True)
    with pytest.raises(UserError, match=r"--stage: expected one of stage1, stage2\. Received"):
        Synthetic(encoder, crop=16, width=4, stage="stage1_conv")
