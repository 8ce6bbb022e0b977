"""How far does a change of an image move its embedding? As PIRL asks (arXiv:1912.01991).

A distance is 1 - cosine, between stages averaged over space, which is what exports call the
embedding (the paper has the Euclidean one of unit vectors, of jigsaw patches alone). It counts as a
share of the mean distance between two images: 0 is an encoder that a change does not move, 1 one
that it moves as far as another image lies.

The jigsaw is two changes. `cut` puts a border of the image's mean colour around every tile; `order`
moves all tiles of that cut picture, borders and all, to other places, and its distance is that to
the cut picture. Both are seen whole: embeddings of tiles that are seen alone, averaged, would not
depend on the order. So `order` sees only as far as the stage does: a stage none of whose cells sees
beyond a tile has none.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sslzoo.errors import UserError
from sslzoo.images import color, geometry, split_seed
from sslzoo.pictures import chart
from sslzoo.probes.cache import Images
from sslzoo.probes.nearest import unit

IMAGES = 1000  # at most
# Tiles per side. Quarters of most sizes are multiples of a stage's stride, so that a tile in
# another place is sampled at the same pixels.
GRID = 2
BORDER = 8  # parts of a cell's side, one of which is border on each side; at least a pixel
SMALLEST = 3 * GRID  # pixels of an image
MIN_AREA, STRENGTH, HUE = 0.2, 0.4, 0.1  # of crop and jitter
CHANGES = (
    *("rotation 90", "rotation 180", "rotation 270"),
    *("mirror", "crop", "jitter", "grey", "cut", "order"),
)


@dataclasses.dataclass(frozen=True)
class Changed(Images):
    """Each image, then what `CHANGES` make of it: (1 + len(CHANGES)) examples of one label."""

    def examples(self) -> tf.data.Dataset:
        """Dataset of `image`, `label`."""
        return super().examples().map(_changed, tf.data.AUTOTUNE).unbatch()

    @property
    def name(self) -> str:
        """What says all of it."""
        settings = (GRID, BORDER, MIN_AREA, STRENGTH, HUE)
        return f"{super().name} {CHANGES} {settings}"


def invariance(
    embedders: Sequence[Any], images: Images
) -> tuple[list[dict[str, Any]], list[dict[str, np.ndarray]]]:
    """Measures every change at every stage.

    Args:
        embedders: of the encoder, and of its random twin, whose stages are averages: (N, C).
        images: two or more.

    Returns:
        Rows, dicts of change, of the last stage's mean share (`distance`, of the twin
        `random_distance`; None where all images have one embedding), and of `stages`, dicts of
        stage, of (0 or 1, which embedder), distance. And for each embedder the shares of its last
        stage, {change: (N,)}, with `another image` for pairs of images.
    """
    found = []  # of each embedder {stage: {change: shares}}
    for embed in embedders:
        maps, _ = embed(Changed(**vars(images)))
        found.append({stage: shares(maps[stage]) for stage in embed.channels})
    last = [[*stages.values()][-1] for stages in found]
    rows: list[dict[str, Any]] = []
    for change in CHANGES:
        own, random = (_mean(moved[change]) for moved in last)
        stages = [
            {"stage": stage, "of": i, "distance": _mean(moved[change])}
            for i, by_stage in enumerate(found)
            for stage, moved in by_stage.items()
        ]
        row = {"stage": [*found[0]][-1], "change": change, "distance": own}
        rows.append({**row, "random_distance": random, "stages": stages})
    return rows, last


def picture(own: dict[str, np.ndarray], random: dict[str, np.ndarray]) -> np.ndarray:
    """A histogram for each change, from the shares of `invariance`: (H, W, 3) uint8."""
    far = own["another image"]
    panels = {
        change: {"encoder": own[change], "random init": random[change], "another image": far}
        for change in CHANGES
    }
    label = "distance, as a share of the mean distance to another image"
    return chart.histograms(panels, label, dashed=["another image"])


def shares(embeddings: np.ndarray) -> dict[str, np.ndarray]:
    """(N * (1 + len(CHANGES)), C), as `Changed` has them -> {change or `another image`: (N,)}.

    Empty where all images have one embedding.
    """
    rows = unit(embeddings).reshape(-1, 1 + len(CHANGES), embeddings.shape[1])
    image, *changed = rows.swapaxes(0, 1)  # each (N, C)
    if len(image) < 2:
        raise UserError(f"Invariance: expected two images or more. Received: {len(image)}")
    moved = dict(zip(CHANGES, (distances(image, other) for other in changed), strict=True))
    moved["order"] = distances(*changed[-2:])
    moved["another image"] = distances(image, np.roll(image, 1, axis=0))
    # Of all pairs: half of the mean squared distance is the variance.
    far = np.var(image, axis=0, ddof=1).sum()
    return {name: x / far if far > 1e-9 else x[:0] for name, x in moved.items()}


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 - cosine of unit rows, exact for small ones too: (N, C), (N, C) -> (N,)."""
    return np.square(a - b).sum(1) / 2


def changes(image: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """{change: (H, H, 3)} of an image (H, H, 3) in [0, 1]; the same for the same seed (2,)."""
    crop_seed, jitter_seed, order_seed = split_seed(seed, 3)
    turned = {f"rotation {90 * k}": tf.image.rot90(image, k) for k in (1, 2, 3)}
    return turned | {
        "mirror": tf.image.flip_left_right(image),
        "crop": geometry.random_resized_crop(image, image.shape[0], MIN_AREA, crop_seed),
        "jitter": color.jitter(image, STRENGTH, HUE, jitter_seed),
        "grey": color.grey(image),
        "cut": tiled(image, tf.range(GRID * GRID)),
        "order": tiled(image, _order(order_seed)),
    }


def tiled(image: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    """The tiles of (H, H, 3), each within its border, tile `order[i]` at place i; H >= SMALLEST.

    A row or column that no cell has is border, too.
    """
    side = image.shape[0]
    cell = side // GRID
    border = max(1, cell // BORDER)
    mean = tf.reduce_mean(image, (0, 1))
    inner = (image - mean)[: GRID * cell, : GRID * cell]
    cells = tf.reshape(inner, (GRID, cell, GRID, cell, 3))
    cells = tf.transpose(cells, (0, 2, 1, 3, 4))  # (GRID, GRID, cell, cell, 3)
    cells = tf.gather(tf.reshape(cells, (GRID * GRID, cell, cell, 3)), order)
    frame = (border, border)
    cells = tf.pad(cells[:, border:-border, border:-border], ((0, 0), frame, frame, (0, 0)))
    cells = tf.transpose(tf.reshape(cells, (GRID, GRID, cell, cell, 3)), (0, 2, 1, 3, 4))
    whole = tf.reshape(cells, (GRID * cell, GRID * cell, 3))
    rest = (0, side - GRID * cell)
    return tf.pad(whole, (rest, rest, (0, 0))) + mean


def _order(seed: tf.Tensor) -> tf.Tensor:
    """A random cycle: no tile stays where it is."""
    tour = tf.random.experimental.stateless_shuffle(tf.range(GRID * GRID), seed)
    return tf.scatter_nd(tour[:, None], tf.roll(tour, 1, 0), (GRID * GRID,))


def _changed(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    made = changes(example["image"], example["seed"])
    stack = tf.stack([example["image"], *(made[name] for name in CHANGES)])
    return {"image": stack, "label": tf.repeat(example["label"], len(stack))}


def _mean(moved: np.ndarray) -> float | None:
    return float(moved.mean()) if len(moved) else None
