"""DeepCluster: preparation, clusters, sampler, network, resume (METHODS 7.6)."""

import csv
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from conftest import examples, photo, tiny_encoder, views_of_a_ramp
from sklearn.decomposition import PCA

from sslzoo import encoders, training
from sslzoo.errors import UserError
from sslzoo.parts import clusters
from sslzoo.pictures import album
from sslzoo.pretexts.deepcluster import DeepCluster, Recluster
from sslzoo.training import Run, checkpoints

SMALL = {"k": 5, "crop": 16, "view": 16, "fc": 0, "pca": 4}


def small(num_images=64, **kwargs):
    return DeepCluster(tiny_encoder(batch_norm=True), num_images, **{**SMALL, **kwargs})


def compiled(pretext, learning_rate=0.1):
    pretext.compile(
        keras.optimizers.SGD(learning_rate, momentum=0.9),
        optimizers={"top": keras.optimizers.SGD(learning_rate, momentum=0.9)},
    )
    return pretext


def reclustering(pretext, data, **kwargs):
    return Recluster(pretext, lambda crop: data, **kwargs)


def features(n=400, d=20, centres=8, seed=0):
    """Correlated features around some centres (n, d), and whose they are (n,)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, centres, n)
    x = 4 * random.normal(size=(centres, d))[labels] + random.normal(size=(n, d))
    return (x @ random.normal(size=(d, d)) + 3).astype(np.float32), labels


# === 1. Preparation ===


def test_whitened_features_have_unit_covariance_and_rows_length_1():
    x, _ = features()
    white = clusters.whiten(x, 12)
    assert white.shape == (400, 12)
    np.testing.assert_allclose(np.cov(white.T), np.eye(12), atol=1e-2)
    rows = clusters.prepare(x, 12)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_whitening_is_that_of_scikit_learn_whatever_the_blocks(monkeypatch):
    x, _ = features()
    x += 100  # far from zero, where an uncentred sum of squares would lose its digits
    expected = PCA(12, whiten=True, svd_solver="full").fit_transform(np.float64(x))
    for block in (clusters.BLOCK, 64):
        monkeypatch.setattr(clusters, "BLOCK", block)
        white = clusters.whiten(x, 12)
        white *= np.sign(np.sum(white * expected, 0))  # an axis may point either way
        np.testing.assert_allclose(white, expected, atol=2e-3)


def test_components_are_at_most_what_the_features_have():
    x, _ = features()
    assert clusters.prepare(x, 256).shape == (400, 20)
    assert clusters.prepare(x[:10], 256).shape == (10, 9)
    dead = np.concatenate([x, np.full((400, 5), 7, np.float32)], 1)
    rows = clusters.prepare(dead, 256)
    assert rows.shape == (400, 20)  # constant channels are not blown up
    assert np.isfinite(rows).all()


# === 2, 6. Clusters ===


def test_clusters_are_found_seeded_and_move_with_their_rows():
    x, truth = features()
    rows = clusters.prepare(x, 12)
    labels = clusters.assign(rows, 8, seed=3)
    np.testing.assert_array_equal(labels, clusters.assign(rows, 8, seed=3))
    assert clusters.report(labels, truth, 8)["nmi"] > 0.8
    order = np.random.default_rng(1).permutation(400)
    moved = clusters.assign(rows[order], 8, seed=3)  # other rows are the first centres
    assert clusters.report(moved, labels[order], 8)["nmi"] > 0.8
    assert clusters.report(labels, labels, 8)["nmi"] == pytest.approx(1)


def test_every_image_has_a_cluster_and_no_cluster_is_empty():
    rows = np.repeat(np.eye(4, dtype=np.float32), 10, 0)  # four distinct rows, six clusters
    labels = clusters.assign(rows, 6, seed=0)
    assert labels.shape == (40,)
    assert np.bincount(labels, minlength=6).min() >= 1
    assert labels.max() == 5


def test_repair_takes_the_farthest_but_never_the_only_image_of_a_cluster():
    labels = np.array([0, 0, 0, 2, 2, 3])
    distances = np.array([0.1, 5.0, 0.2, 3.0, 4.0, 9.0])
    repaired = clusters.repair(labels, distances, 6)
    np.testing.assert_array_equal(repaired, [0, 1, 5, 2, 4, 3])


def test_repair_never_raises_the_inertia():
    random = np.random.default_rng(0)
    rows, centres = random.normal(size=(50, 3)), random.normal(size=(9, 3))
    labels = random.choice([1, 3, 4], 50)
    distances = np.linalg.norm(rows - centres[labels], axis=1)
    repaired = clusters.repair(labels, distances, 9)
    assert np.bincount(repaired, minlength=9).min() >= 1
    moved = repaired != labels
    assert moved.sum() == 6
    centres = np.stack(
        [rows[repaired == i][0] if i not in (1, 3, 4) else c for i, c in enumerate(centres)]
    )
    after = np.linalg.norm(rows - centres[repaired], axis=1)
    assert (after**2).sum() < (distances**2).sum()
    np.testing.assert_allclose(after[moved], 0)


# === 3. Sampler ===


def test_the_sampler_draws_clusters_equally_often():
    labels = np.repeat([0, 2, 3, 6], [1, 5, 300, 94])  # 1, 4 and 5 are empty
    table = clusters.balanced(labels, seed=[0, 1])
    assert table.shape == (400,)
    assert table.dtype == np.int64
    counts = np.bincount(labels[table], minlength=7)
    assert counts[[1, 4, 5]].sum() == 0
    assert counts[[0, 2, 3, 6]].min() >= 100 - 3  # 101 each, less the four that are cut off
    assert counts.max() <= 101
    large = table[labels[table] == 3]
    assert len({*large}) == len(large)  # without replacement where there are enough
    np.testing.assert_array_equal(table, clusters.balanced(labels, seed=[0, 1]))
    assert (table != clusters.balanced(labels, seed=[0, 2])).any()


# === 4. Sobel: tests/test_encoders.py. 5. Head ===


def test_the_loss_starts_at_ln_k_after_every_reset():
    pretext, data = compiled(small()), examples(16, n=64)
    recluster, puzzles = reclustering(pretext, data), pretext.puzzles(data, 32)
    assert pretext.chance_loss == pytest.approx(np.log(5))
    for epoch in range(2):
        recluster.table(epoch)
        loss = pretext.evaluate(puzzles, verbose=0, return_dict=True)["loss"]
        assert loss == pytest.approx(np.log(5), abs=0.002)
        pretext.top.kernel.assign(np.random.default_rng(0).normal(size=(8, 5)) * 9)
        assert pretext.evaluate(puzzles, verbose=0, return_dict=True)["loss"] > np.log(5) + 0.1
    pretext.reset_top(0)
    assert float(np.std(pretext.top.kernel)) == pytest.approx(0.01, rel=0.5)


def test_the_last_layer_forgets_its_momentum_with_its_weights():
    pretext, data = compiled(small()), examples(16, n=32)
    pretext.fit(pretext.puzzles(data, 32), verbose=0)

    def momenta(optimizer):
        return [np.abs(v.numpy()).max() for v in optimizer.variables if v.shape]

    assert min(momenta(pretext.optimizers["top"])) > 0
    trunk = momenta(pretext.optimizer)
    pretext.reset_top(0)
    assert max(momenta(pretext.optimizers["top"])) == 0
    assert momenta(pretext.optimizer) == trunk


def test_the_label_is_the_cluster_of_the_index():
    pretext = compiled(small(8))
    pretext.assignments.assign([4, 4, 4, 4, 1, 1, 1, 1])
    _, labels = pretext._labelled((None, tf.constant([5, 0, 7])))
    np.testing.assert_array_equal(labels, [1, 4, 1])
    x = np.stack([photo(16, i) for i in range(3)])
    assert np.isfinite(pretext.train_on_batch(x, np.array([5, 0, 7]))).all()


def test_each_optimizer_moves_its_own_weights():
    pretext, data = small(), examples(16, n=16)
    for rates, moved in [((0.1, 0.0), "trunk"), ((0.0, 0.1), "top")]:
        trunk, top = map(keras.optimizers.SGD, rates)
        pretext.compile(trunk, optimizers={"top": top})
        before = [v.numpy() for v in pretext.trainable_variables]
        pretext.fit(pretext.puzzles(data, 16), epochs=2, verbose=0)
        for variable, old in zip(pretext.trainable_variables, before, strict=True):
            changed = np.abs(variable.numpy() - old).max() > 0
            is_top = variable.path.startswith("top")
            assert changed == (is_top == (moved == "top")), variable.path


# === Network ===


def test_parameter_counts_of_the_released_alexnet():
    pretext = DeepCluster(encoders.get("alexnet_sobel"), 10_000)
    trained = sum(int(np.prod(v.shape)) for v in pretext.trainable_variables)
    assert trained == 99_242_480
    assert trained - pretext.top.count_params() == 58_272_480
    assert pretext.features.output_shape == (None, 4096)


def test_features_come_before_the_last_relu():
    pretext = small(fc=8, dropout=0.5)
    x = np.stack([photo(16, i) for i in range(30)])
    values = pretext.features(x, training=False).numpy()
    assert values.shape == (30, 8)
    assert values.min() < 0
    np.testing.assert_array_equal(values, pretext.features(x, training=False))  # no dropout
    logits = np.maximum(values, 0) @ pretext.top.kernel.numpy() + pretext.top.bias.numpy()
    np.testing.assert_allclose(pretext(x, training=False), logits, atol=1e-6)


# === Between epochs ===


def test_features_are_taken_in_inference_mode_in_the_order_of_the_indices():
    pretext, data = compiled(small(40, pca=3)), examples(16, n=40)
    before = pretext.get_weights()
    rows = reclustering(pretext, data).rows()
    for a, b in zip(before, pretext.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    values = pretext.features(np.stack([e["image"] for e in data]), training=False).numpy()
    np.testing.assert_allclose(rows, clusters.prepare(values, 3), atol=1e-3)


def test_each_clustering_has_a_seed_of_its_own(monkeypatch):
    pretext, data = compiled(small()), examples(16, n=64)
    assign, seeds, kernels = clusters.assign, [], []
    monkeypatch.setattr(
        clusters, "assign", lambda rows, k, seed: seeds.append(seed) or assign(rows, k, seed)
    )
    recluster = reclustering(pretext, data, seed=5)
    for epoch in range(3):
        recluster.table(epoch)
        kernels.append(pretext.top.kernel.numpy())
    assert len({*seeds}) == 3
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_a_view_is_a_random_share_of_the_image():
    assert np.ptp(views_of_a_ramp(small(min_area=0.25, flip=False))) > 0.2
    assert views_of_a_ramp(small(min_area=0.25, flip=False)).min() < 0.8
    np.testing.assert_allclose(views_of_a_ramp(small(min_area=1.0, flip=False)), 1, atol=0.01)


def test_an_assignment_is_kept_for_its_epochs_and_the_one_before_compared():
    pretext, data = compiled(small()), examples(16, n=64)
    recluster = reclustering(pretext, data, every=2)
    first = recluster.table(0)
    labels, kernel = pretext.assignments.numpy(), pretext.top.kernel.numpy()
    np.testing.assert_array_equal(recluster.table(0), first)
    assert (recluster.table(1) != first).any()  # other draws of the same clusters
    np.testing.assert_array_equal(pretext.assignments.numpy(), labels)
    np.testing.assert_array_equal(pretext.top.kernel.numpy(), kernel)
    recluster.table(2)
    np.testing.assert_array_equal(pretext.previous.numpy(), labels)
    logs = {}
    recluster.on_epoch_end(2, logs)
    sizes = np.bincount(pretext.assignments.numpy(), minlength=5)
    assert (logs["largest_cluster"], logs["smallest_cluster"]) == (sizes.max(), sizes.min())
    assert 0 < logs["nmi"] <= 1


def test_collapse_is_warned_of(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: lines.append(text % values))
    pretext = small(64)
    recluster = reclustering(pretext, None)
    recluster.warn(0)
    assert lines == []
    pretext.assignments.assign([0] * 60 + [1, 2, 3, 4])
    recluster.warn(6)
    assert lines == [
        "epoch 7: 1 of 5 clusters hold half of the images; the features have collapsed"
    ]


class Stop(keras.callbacks.Callback):
    """Breaks off in step `last` of this attempt."""

    def __init__(self, last):
        super().__init__()
        self.left = last

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def attempt(folder, name, *extra):
    """Three epochs of four steps in `folder / name`, or what is left of them: state and log."""
    run = Run(
        dataset=str(folder / "x.npz"),
        workdir=str(folder / name),
        epochs=3,
        batch_size=16,
        backup_minutes=1e-6,
    )
    run.start("deepcluster", {})
    with run.scope():
        pretext = compiled(small())
    source = functools.partial(run.train_source.examples, shuffle=False)
    recluster = Recluster(pretext, source)
    training.pretrain(pretext, run, [recluster, *extra], recluster.table)
    with open(folder / name / "log.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    for row in rows:
        del row["data_wait"], row["seconds"], row["cpu_seconds"]
    return checkpoints.Checkpoints(folder / name / "checkpoints").load(), rows


def test_a_run_stopped_inside_and_between_epochs_ends_in_the_same_bits(tmp_path):
    x = np.stack([photo(16, i) for i in range(64)])
    np.savez(tmp_path / "x.npz", x_train=np.uint8(255 * x), x_test=np.uint8(255 * x[:4]))
    whole, log = attempt(tmp_path, "whole")
    # Steps 1 to 5 are saved, then 6 to 8: the end of the second epoch.
    for steps in (6, 4):
        with pytest.raises(KeyboardInterrupt):
            attempt(tmp_path, "killed", Stop(steps))
    saved = checkpoints.Checkpoints(tmp_path / "killed/checkpoints").load()
    assert int(saved["step"]) == 8
    resumed, resumed_log = attempt(tmp_path, "killed")
    assert int(whole["step"]) == 12
    for name, array in whole.items():
        np.testing.assert_array_equal(array, resumed[name], err_msg=name)
    assert resumed_log == log
    assert {"nmi", "largest_cluster", "smallest_cluster"} <= log[0].keys()


# === Errors and pictures ===


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"k": 65}, "--k"),
        ({"k": 1}, "--k"),
        ({"view": 17}, "--view"),
        ({"min_area": 0.0}, "--min_area"),
        ({"pca": 0}, "--pca"),
    ],
)
def test_impossible_settings_name_the_flag(settings, flag):
    with pytest.raises(UserError, match=f"{flag}: .*Received"):
        small(**settings)


def test_picture_frames_a_right_and_a_wrong_answer(panels):
    pretext = small()
    pretext.assignments.assign(np.full(64, 2))
    assert [panels(pretext, photo(16), 3, np.eye(5)[i])[1] for i in (2, 4)] == [True, False]
    assert len(panels(pretext, photo(16), 3)) == 1


def test_album_of_clusters_shows_their_members(tmp_path):
    pretext = small(64, k=3)
    pretext.assignments.assign([0] * 8 + [1] * 40 + [2] * 16)
    shade = np.repeat([0.0, 0.5, 1.0], [8, 40, 16])
    album.clusters(tmp_path / "c.png", pretext, lambda i: np.full((20, 24, 3), shade[i]))
    sheet = tf.io.decode_png((tmp_path / "c.png").read_bytes()).numpy()
    heights = [sheet[i * 66 + 32, 32].tolist() for i in range(3)]
    assert heights == [[128] * 3, [255] * 3, [0] * 3]  # largest, median, smallest
    assert sheet.shape == (3 * 66 - 2, 10 * 66 - 2, 3)
