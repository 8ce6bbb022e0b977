"""Which images does an encoder put beside an image? Exact nearest neighbours by their cosine."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sslzoo.probes.features import averaged
from sslzoo.probes.nearest import BATCH, nearest


def neighbours(features: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Rows of (N, D) nearest to each of (M, D), by cosine, nearest first: (M, min(k, N))."""
    return np.concatenate([found for _, found in nearest(features, queries, k)])


def retrieval(
    embedders: Sequence[Any], train: Any, test: Any, ks: Sequence[int] = (1, 5, 10)
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Asks for training images like each test image, stage by stage.

    A query is right at k where one of its k nearest training images is of its class. A stage is
    averaged over space, as `knn` has it.

    Args:
        embedders: of the encoder, and of its random twin, see `linear_probe.beside`.
        train, test: what they read; labelled.
        ks: numbers of neighbours.

    Returns:
        A row for each stage of each embedder, dicts of stage, of (0 or 1, which embedder) and
        recall@k; and the indices (M, max(ks)) that each stage of the first one finds.
    """
    rows: list[dict[str, Any]] = []
    answers: dict[str, np.ndarray] = {}
    for i, embed in enumerate(embedders):
        (x, y), (x_test, y_test) = embed(train), embed(test)
        for stage, channels in embed.channels.items():
            rows_of, asked = (averaged(part[stage], channels) for part in (x, x_test))
            found = neighbours(rows_of, asked, max(ks))
            right = y[found] == y_test[:, None]  # (M, max(ks))
            recalls = {f"recall@{k}": float(right[:, :k].any(1).mean()) for k in ks}
            rows.append({"stage": stage, "of": i, **recalls})
            if not i:
                answers[stage] = found
    return rows, answers


def by_context(
    pretext: Any,
    train: Any,
    test: Any,
    seed: int = 0,
    images: int = 1000,
    queries: int = 8,
) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """Asks for training images by what is around a hole alone, which is in them too.

    The context encoder's retrieval (arXiv:1604.07379). The paper does not say how codes are
    compared; here it is by their cosine.

    Args:
        pretext: has `crop` and `contexts`, as `Inpainting`.
        train, test: sources.
        seed: chooses queries and training images.
        images: training images that are looked at, at most.
        queries: test images, at most.

    Returns:
        The queries, with their holes, and of each the 8 nearest training images, nearest first and
        whole: (crop, crop, 3) in [0, 1].
    """
    rng = np.random.default_rng(seed)
    look = pretext.contexts()

    def coded(source: Any, count: int) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        table = np.sort(rng.permutation(source.size)[:count])
        examples = source.examples(table=table, crop=pretext.crop, shuffle=False)
        batches = [look(b["image"], training=False) for b in examples.batch(BATCH)]
        return table, [shown for shown, _ in batches], np.concatenate([c for _, c in batches])

    _, shown, asked = coded(test, queries)
    table, _, codes = coded(train, images)
    found = table[neighbours(codes, asked, 8)]  # (queries, 8)
    return [*np.concatenate(shown)], images_at(train, found, pretext.crop)


def images_at(source: Any, found: np.ndarray, crop: int) -> list[list[np.ndarray]]:
    """The images of a source at indices (n, k): n lists of k, (crop, crop, 3) in [0, 1]."""
    examples = source.examples(table=found.ravel(), crop=crop, shuffle=False)
    images = [e["image"].numpy() for e in examples]
    return [images[i : i + found.shape[1]] for i in range(0, len(images), found.shape[1])]
