"""Permutation sets: METHODS 1.3 and the third of the jigsaw's facts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslzoo.errors import UserError
from sslzoo.images.permutations import hamming_distances, permutation_set

PAIRS = {n: np.triu_indices(n, 1) for n in (9, 10, 35, 64, 100, 1000)}


@pytest.mark.parametrize(
    ("n", "mean", "minimum"),
    [(9, 9, 9), (10, 8.8, 8), (35, 8.2286, 7), (64, 8.125, 7), (100, 8.08, 6), (1000, 8.008, 5)],
)
def test_mean_reaches_the_bound_and_the_minimum_is_high(n, mean, minimum):
    distances = hamming_distances(permutation_set(n, 9))[PAIRS[n]]
    assert distances.mean() == pytest.approx(mean, abs=0.005)
    assert distances.min() >= minimum


def test_max_mean_attains_the_bound_but_not_the_minimum():
    distances = hamming_distances(permutation_set(64, 9, "max_mean"))[PAIRS[64]]
    assert distances.mean() == pytest.approx(8.125, abs=1e-9)
    assert distances.min() < 5


def test_first_nine_are_a_latin_square():
    distances = hamming_distances(permutation_set(64, 9, seed=3)[:9])
    assert (distances[PAIRS[9]] == 9).all()


@settings(max_examples=25, deadline=None)
@given(
    num_tiles=st.sampled_from([4, 6, 9]),
    n=st.integers(2, 24),
    rule=st.sampled_from(["max_min", "max_mean"]),
    seed=st.integers(0, 2**31),
)
def test_distinct_valid_and_the_same_for_the_same_seed(num_tiles, n, rule, seed):
    chosen = permutation_set(n, num_tiles, rule, seed)
    assert chosen.shape == (n, num_tiles)
    assert (np.sort(chosen, axis=1) == np.arange(num_tiles)).all()
    assert len({*map(tuple, chosen)}) == n
    np.testing.assert_array_equal(chosen, permutation_set(n, num_tiles, rule, seed))


def test_all_of_a_small_group_and_sixteen_tiles():
    assert len({*map(tuple, permutation_set(24, 4))}) == 24
    assert hamming_distances(permutation_set(50, 16))[np.triu_indices(50, 1)].min() >= 12


@pytest.mark.parametrize(("n", "rule"), [(1, "max_min"), (25, "max_min"), (5, "best")])
def test_impossible_sets_are_refused(n, rule):
    with pytest.raises(UserError, match="Received"):
        permutation_set(n, 4, rule)
