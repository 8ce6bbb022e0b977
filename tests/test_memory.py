"""The memory bank, its losses and its replicas (METHODS 5.7, 6), and the kNN probe."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import mirrored, tiny_encoder

from sslzoo import probes
from sslzoo.errors import UserError
from sslzoo.parts import memory
from sslzoo.parts.memory import MemoryBank
from sslzoo.pretexts.npid import Npid


def unit(*shape, seed=0):
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def updated(momentum, size=40):
    """A bank, its rows before, the index and embeddings of an update, its rows after."""
    bank, index, embeddings = MemoryBank(size, 8, momentum), np.array([7, 2, 30]), unit(3, 8)
    before = bank.rows.numpy()
    bank.update(tf.constant(index), tf.constant(embeddings))
    return bank, before, index, embeddings, bank.rows.numpy()


# === 1, 2. Rows ===


def test_rows_have_length_1_and_unseen_rows_keep_their_bits():
    _, before, index, embeddings, after = updated(0.5)
    for rows in (before, after):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=-1), 1, atol=1e-5)
    unseen = np.setdiff1d(np.arange(40), index)
    np.testing.assert_array_equal(after[unseen], before[unseen])
    mean = (before[index] + embeddings) / 2
    np.testing.assert_allclose(
        after[index], mean / np.linalg.norm(mean, axis=-1, keepdims=True), atol=1e-6
    )


def test_momentum_1_keeps_the_bank_and_0_writes_the_embeddings():
    _, before, _, _, after = updated(1.0)
    np.testing.assert_allclose(after, before, atol=1e-6)
    _, _, index, embeddings, after = updated(0.0)
    np.testing.assert_allclose(after[index], embeddings, atol=1e-6)


def test_random_rows_have_no_direction():
    rows = MemoryBank(4000, 16).rows.numpy()
    assert np.abs(rows.mean(0)).max() < 0.02
    np.testing.assert_allclose(rows.T @ rows / 4000, np.eye(16) / 16, atol=0.01)


def test_no_gradient_reaches_the_bank():
    bank, embeddings = MemoryBank(40, 8), tf.Variable(unit(3, 8))
    with tf.GradientTape() as tape:
        tape.watch(bank.rows.value)
        positive, negative = bank.contrast(embeddings, tf.constant([0, 1, 2], tf.int64), 5, [0, 0])
        loss = tf.reduce_sum(memory.infonce(positive, negative, 0.1))
    to_embeddings, to_rows = tape.gradient(loss, [embeddings, bank.rows.value])
    assert np.abs(to_embeddings).max() > 0
    assert to_rows is None
    assert not bank.trainable_variables


def test_softmax_is_the_cross_entropy_of_the_own_row():
    bank, embeddings, index = MemoryBank(40, 8), tf.constant(unit(3, 8)), tf.constant([39, 2, 2])
    labels = tf.one_hot(index, 40)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([embeddings, bank.rows.value])
        losses = bank.softmax(embeddings, index, 0.1)
        logits = tf.matmul(embeddings, bank.rows.numpy(), transpose_b=True) / 0.1
        expected = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    by_hand = tape.gradient(expected, embeddings)
    np.testing.assert_allclose(tape.gradient(losses, embeddings), by_hand, rtol=1e-4, atol=1e-5)
    assert tape.gradient(losses, bank.rows.value) is None


def test_rows_are_read_without_a_copy_of_the_bank():
    strategy = mirrored(1)
    with strategy.scope():
        bank = MemoryBank(40, 8)
    step = tf.function(lambda index: strategy.run(bank.gather, (index,)))
    graph = step.get_concrete_function(tf.constant([1, 2])).graph
    kinds = {operation.type for operation in graph.get_operations()}
    assert "ResourceGather" in kinds
    assert "ReadVariableOp" not in kinds


# === Negatives ===


def rows_met(size, count, index, steps):
    """How often each row was a negative of the images `index`: (B, size)."""
    bank = MemoryBank(size, size, momentum=0.5)
    bank.rows.assign(np.eye(size, dtype=np.float32))  # the cosine with row i is coordinate i
    probe = np.arange(1, size + 1, dtype=np.float32)  # so every row has a number of its own
    met = np.zeros((len(index), size), int)
    for step in range(steps):
        embeddings = tf.constant(np.tile(probe, (len(index), 1)))
        positive, negative = bank.contrast(
            embeddings, tf.constant(index, tf.int64), count, [3, step]
        )
        np.testing.assert_array_equal(positive, np.array(index) + 1)
        for i, row in enumerate(np.round(negative.numpy()).astype(int) - 1):
            met[i] += np.bincount(row, minlength=size)
    return met


def test_negatives_are_uniform_over_the_other_images():
    met = rows_met(size=8, count=64, index=[0, 3, 7], steps=100)
    assert met.sum(1).tolist() == [6400] * 3
    for i, own in enumerate([0, 3, 7]):
        assert met[i, own] == 0
        others = np.delete(met[i], own)
        assert others.min() > 6400 / 7 * 0.85
        assert others.max() < 6400 / 7 * 1.15


def test_draws_depend_on_the_step_alone():
    draws = [MemoryBank(1000, 2).draw(50, [0, step])[0].numpy() for step in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.mean(draws[0] == draws[2]) < 0.1


# === 3, 6. Losses ===


@pytest.mark.parametrize(
    ("count", "nce", "infonce"), [(4096, 9.3179, 8.3180), (32_000, 11.3735, 10.3735)]
)
def test_losses_where_all_cosines_are_equal(count, nce, infonce):
    positive, negative = tf.fill([2], 0.3), tf.fill([2, count], 0.3)
    # Z is then n exp(0.3 / temperature).
    np.testing.assert_allclose(memory.nce(positive, negative, 0.07, 0.3 / 0.07), nce, atol=2e-3)
    np.testing.assert_allclose(memory.infonce(positive, negative, 0.07), infonce, atol=1e-3)
    random = tf.constant(unit(2, count + 1, seed=1))
    hot = memory.log_mean_exp(128, 1e4)
    cosines = random[:, 0], random[:, 1:]
    np.testing.assert_allclose(memory.nce(*cosines, 1e4, hot), nce, atol=2e-3)


@pytest.mark.parametrize(("count", "h"), [(4096, 0.99745), (32_000, 0.98040)])
def test_probability_of_the_own_row_among_orthogonal_negatives(count, h):
    loss = memory.infonce(tf.ones([1]), tf.zeros([1, count]), 0.07)
    np.testing.assert_allclose(np.exp(-loss), h, atol=1e-5)


def test_nce_is_the_formula_of_the_papers():
    n, cosines = 1000, np.random.default_rng(0).uniform(-1, 1, (5, 11)).astype(np.float32)
    log_mean = memory.log_mean_exp(16, 0.5)
    p = np.exp(cosines / 0.5) / (n * np.exp(log_mean))
    own, others = p[:, 0], p[:, 1:]
    noise = 10 / n
    expected = -np.log(own / (own + noise)) - np.log(noise / (others + noise)).sum(1)
    np.testing.assert_allclose(
        memory.nce(cosines[:, 0], cosines[:, 1:], 0.5, log_mean), expected, rtol=1e-5
    )


@pytest.mark.parametrize(("dims", "temperature"), [(128, 0.07), (128, 0.1), (8, 0.5)])
def test_z_is_what_a_first_batch_would_estimate(dims, temperature):
    cosines = unit(64, dims, seed=1) @ unit(4096, dims, seed=2).T
    estimate = np.log(np.mean(np.exp(cosines / temperature)))
    assert memory.log_mean_exp(dims, temperature) == pytest.approx(estimate, abs=0.01)


# === Replicas ===


def test_every_replica_ends_with_the_same_bank():
    """The in-place update gathers from all replicas: bit for bit what one device does."""
    index, embeddings = np.arange(12).reshape(2, 6) * 3, unit(2, 6, 8)
    banks = []
    for replicas in (1, 2):
        keras.utils.set_random_seed(1)
        strategy = mirrored(replicas)
        with strategy.scope():
            bank = MemoryBank(40, 8, 0.5)
        data = tf.data.Dataset.from_tensor_slices((index, embeddings)).unbatch().batch(6)
        for batch in strategy.experimental_distribute_dataset(data):
            strategy.run(tf.function(bank.update), batch)
        copies = strategy.experimental_local_results(bank.rows.value)
        assert len(copies) == replicas
        banks += [copy.numpy() for copy in copies]
    for bank in banks[1:]:
        np.testing.assert_allclose(bank, banks[0], atol=1e-7)
    np.testing.assert_array_equal(banks[1], banks[2])


# === Errors ===


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"momentum": 1.5}, "--momentum"),
        ({"temperature": 0.0}, "--temperature"),
        ({"negatives": -1}, "--negatives"),
        ({"dims": 0}, "--dims"),
    ],
)
def test_impossible_settings_name_the_flag(settings, flag):
    whole = {
        "num_images": 9,
        "seed": 0,
        "dims": 8,
        "momentum": 0.5,
        "temperature": 0.1,
        "negatives": 4,
    }
    with pytest.raises(UserError, match=f"{flag}: .*Received"):
        Npid(tiny_encoder(), view=16, crop=16, **{**whole, **settings})


# === kNN ===


def test_knn_weighs_votes_by_the_cosine():
    features = np.array([[1, 0], [0.6, 0.8], [0.6, -0.8]], np.float32)
    labels, query = np.array([0, 1, 1]), np.array([[1, 0]], np.float32)
    sure = probes.knn(features, labels, query, [0], neighbors=3, temperature=0.1)
    blunt = probes.knn(features, labels, query, [0], neighbors=3, temperature=100)
    assert (sure, blunt) == (1, 0)
    assert probes.knn(features, labels, query, [0], neighbors=1) == 1


def test_knn_finds_clusters_and_no_more():
    centres, labels = unit(4, 16, seed=3), np.arange(200) % 4
    features = centres[labels] + 0.1 * unit(200, 16, seed=4)
    assert probes.knn(features[:150], labels[:150], features[150:], labels[150:]) == 1
    noise = unit(400, 16, seed=5)
    chance = probes.knn(noise[:200], labels, noise[200:], labels)
    assert chance < 0.4
    with pytest.raises(UserError, match=r"label for each of the 200 rows. Received: 3"):
        probes.knn(features, [0, 1, 2], features, labels)
