"""Permutation sets for jigsaw puzzles (Noroozi & Favaro 2016, arXiv:1603.09246, algorithm 1)."""

import math

import numpy as np

from sslzoo.errors import UserError

POOL = 400_000  # candidates kept in memory: all 9! = 362,880, or a sample where there are more


def permutation_set(n, num_tiles, rule="max_min", seed=0):
    """Chooses `n` permutations of `num_tiles` tiles that lie far apart, greedily.

    The paper adds, again and again, the permutation with the largest mean Hamming distance to
    those already chosen (`rule="max_mean"`). Very many tie for that, and the first of them leaves
    pairs at distance 2: the mean cannot tell a good set from a bad one, the minimum can. So the
    default, `"max_min"`, takes the largest minimum distance and among equals the largest mean.

    Args:
        n: size of the set.
        num_tiles: tiles in the puzzle, e.g. 9. Beyond 9 the candidates are a random sample.
        rule: `"max_min"` or `"max_mean"`.
        seed: chooses the first permutation (and the sample); the same seed gives the same set.

    Returns:
        (n, num_tiles) int32; row k says which tile is shown at each position.

    Raises:
        UserError: there are fewer than `n` permutations, or the rule is unknown.
    """
    if rule not in ("max_min", "max_mean"):
        raise UserError(f"permutation rule: expected max_min or max_mean. Received: {rule!r}")
    pool = _candidates(num_tiles, np.random.default_rng(seed))  # (num_tiles, size)
    size = pool.shape[1]
    if not 2 <= n <= size:
        raise UserError(
            f"--num_permutations: expected 2 to {size:,}, the number of permutations of "
            f"{num_tiles} tiles to choose from. Received: {n}"
        )
    total = np.zeros(size, np.int32)  # sum of the distances to the chosen ones
    nearest = np.full(size, num_tiles, np.int32)
    chosen = [int(np.random.default_rng(seed).integers(size))]
    # One integer orders by minimum, then mean: a sum of distances is at most n * num_tiles.
    weight = (n * num_tiles + 1) if rule == "max_min" else 0
    while len(chosen) < n:
        distance = _hamming(pool, pool[:, chosen[-1]])
        total += distance
        np.minimum(nearest, distance, out=nearest)
        score = nearest * weight + total
        score[nearest == 0] = -1  # already in the set
        chosen.append(int(score.argmax()))
    return pool[:, chosen].T.astype(np.int32)


def hamming_distances(permutations):
    """The (n, n) matrix of pairwise Hamming distances of a permutation set."""
    return np.stack([_hamming(permutations.T, row) for row in permutations])


def _hamming(pool, permutation):
    distance = np.zeros(pool.shape[1], np.uint8)
    for row, tile in zip(pool, permutation, strict=True):
        distance += row != tile
    return distance


def _candidates(num_tiles, rng):
    """(num_tiles, size) uint8: all permutations in lexicographic order, or a sample."""
    if math.factorial(num_tiles) > POOL:
        rows = rng.permuted(np.tile(np.arange(num_tiles, dtype=np.uint8), (POOL, 1)), axis=1)
        return np.ascontiguousarray(np.unique(rows, axis=0).T)
    table = np.zeros((1, 0), np.uint8)
    for length in range(1, num_tiles + 1):  # insert every first element, relabelling the rest
        first = np.repeat(np.arange(length, dtype=np.uint8), len(table))[:, None]
        rest = np.tile(table, (length, 1))
        table = np.concatenate([first, rest + (rest >= first)], axis=1)
    return np.ascontiguousarray(table.T)
