"""Few labels: as many as are said of each class, drawn anew, a stage chosen without test labels."""

import importlib

import numpy as np
import pytest

from sslzoo.probes import low_shot, per_class

module = importlib.import_module("sslzoo.probes.low_shot")


class Read:
    """An embedder: stage1 tells five classes apart, the more labels the better; stage2 does not."""

    def __init__(self, signal):
        self.signal = signal
        self.channels = {"stage1": 40, "stage2": 4}

    def __call__(self, seed):
        rng = np.random.default_rng(seed)
        y = rng.permutation(np.repeat(np.arange(5), 30))
        x = rng.normal(size=(len(y), 40)) + self.signal * np.eye(5, 40)[y]
        return {"stage1": np.float32(x), "stage2": np.float32(rng.normal(size=(len(y), 4)))}, y


def test_more_labels_are_better_and_stand_beside_random_init():
    rows = low_shot([Read(2.5), Read(0)], 0, 1, (1, 4, 20, 100), draws=4)
    assert [(row["shots"], row["labels"]) for row in rows] == [(1, 5), (4, 20), (20, 100)]
    assert {row["stage"] for row in rows} == {"stage1"}
    accuracies = [row["accuracy"] for row in rows]
    assert accuracies == sorted(accuracies)
    assert accuracies[0] < accuracies[-1] - 0.2
    assert accuracies[-1] > 0.6
    assert all(row["std"] > 0 for row in rows)
    assert all(row["std"] == np.std(row["accuracies"], ddof=1) for row in rows)
    assert {len(row["accuracies"]) for row in rows} == {4}
    assert all(abs(row["random_accuracy"] - 0.2) < 0.12 for row in rows)


def test_test_labels_choose_nothing(monkeypatch):
    asked = []
    best = module.softmax.best

    def count(x, y, *rest):
        asked.append(len(y))
        return best(x, y, *rest)

    monkeypatch.setattr(module.softmax, "best", count)
    low_shot([Read(2.5)], 0, 1, (4,), draws=2)
    assert asked == [20] * 4, "two stages, two draws, of four labels of five classes"


def test_draws_are_of_each_class_and_differ():
    y = np.repeat([3, 5, 9], [4, 7, 50])
    draws = [per_class(y, 4, (0, i)) for i in range(3)]
    for some in draws:
        assert len({*some}) == 12
        assert np.unique(y[some], return_counts=True)[1].tolist() == [4, 4, 4]
    assert len({tuple(sorted(some)) for some in draws}) == 3
    np.testing.assert_array_equal(draws[0], per_class(y, 4, (0, 0)))


def test_of_one_draw_there_is_no_deviation():
    (row,) = low_shot([Read(2.5)], 0, 1, (1,), draws=1)
    assert row["std"] is None
    assert row["stage"] == "stage2", "the last one: with one label of each none can be held out"
    assert row["accuracy"] == pytest.approx(0.2, abs=0.15)
