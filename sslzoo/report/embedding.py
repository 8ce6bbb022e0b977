"""How an encoder lays out images that it was not trained on: neighbours, and a map of two axes."""

import dataclasses
import functools
from typing import Any

import numpy as np
import tensorflow as tf

from sslzoo import data, pictures, probes, zoo
from sslzoo.errors import UserError, one_line
from sslzoo.report.reading import Run

BATCH = 128  # images of a pass
NEIGHBORS = 8
QUERIES = 8
FEWEST = 4  # images of a map


@dataclasses.dataclass(frozen=True)
class Images:
    """Held-back images: (N, H, W, 3) uint8, labels (N,) and names of classes where known."""

    pixels: np.ndarray
    labels: np.ndarray | None
    classes: list[str]

    def label(self, index: int) -> str:
        """The class of one, or its number."""
        return f"image {index}" if self.labels is None else self.classes[self.labels[index]]


@dataclasses.dataclass(frozen=True)
class Embedded:
    """`images` with their places on the map (N, 2) and their nearest others (N, NEIGHBORS).

    `recall` is the share of images whose nearest other has their class, `random_recall` the same
    for the encoder's random-init twin; None without labels.
    """

    images: Images
    places: np.ndarray
    nearest: np.ndarray
    recall: float | None
    random_recall: float | None


def embed(run: Run, most: int) -> Embedded:
    """Embeds at most that many held-back images by a run's exported encoder: those of its probe.

    Raises:
        UserError: the images or the encoder cannot be had; the message says why.
    """
    if run.entry is None:
        raise UserError("the encoder is not exported yet")
    size = run.card.get("image_size")
    spec, data_dir = run.flags.get("dataset", ""), run.flags.get("data_dir", "")
    own = _whole("--resize", run.flags.get("resize") or run.flags.get("image_size"))
    resize = _whole("--probe_resize", run.flags.get("probe_resize"))
    if probed := run.flags.get("probe_dataset"):
        spec = probed
    else:
        resize = resize or own
    images = _held_back(spec, data_dir, resize, size or resize or own, most)
    root = run.path / "exported"
    export = zoo.load(run.entry.name, root)
    vectors = _vectors(lambda batch: export.embed(batch)["embedding"], images)
    nearest = neighbors(vectors)
    seed = _whole("seed", run.card.get("seed"))
    twin = probes.random_twin(zoo.encoder(run.entry.name, root), seed)
    random = neighbors(_vectors(lambda b: tf.reduce_mean(twin(b, training=False), (1, 2)), images))
    recalls = (recall(images.labels, one) for one in (nearest, random))
    return Embedded(images, places(vectors), nearest, *recalls)


def _whole(name: str, value: Any) -> int:
    """The number that a card or a flag stands for; 0 for none."""
    try:
        return int(value or 0)
    except (ValueError, TypeError):
        raise UserError(f"{name}: expected a whole number. Received: {value!r}") from None


@functools.lru_cache(maxsize=2)  # runs that stand side by side mostly have the same images
def _held_back(dataset: str, data_dir: str, resize: int, size: int, most: int) -> Images:
    """A random choice of the held-back split, middles of `size` x `size` pixels."""
    load = functools.partial(data.load, dataset, "test", data_dir=data_dir, resize=resize)
    try:
        source = load(labels=True)
    except UserError:
        source = load()  # without labels, or it says again what is wrong
    chosen = np.sort(np.random.default_rng(0).permutation(source.size)[:most])
    if len(chosen) < FEWEST:
        raise UserError(f"{dataset}: expected {FEWEST} held-back images. Received: {len(chosen)}")
    batches = source.examples(crop=size, shuffle=False, table=chosen).batch(BATCH)
    try:
        read = [(pictures.to_uint8(one["image"]), one.get("label")) for one in batches]
    except tf.errors.OpError as error:
        raise source.failure or UserError(f"{dataset}: {one_line(error.message)}") from None
    pixels, labels = zip(*read, strict=True)
    known = None if source.labels is None else np.concatenate(labels)
    return Images(np.concatenate(pixels), known, [*(source.class_names or [])])


def _vectors(function: Any, images: Images) -> np.ndarray:
    """(N, C) float32."""
    parts = np.split(images.pixels, range(BATCH, len(images.pixels), BATCH))
    vectors = np.concatenate([function(part.astype(np.float32) / 255) for part in parts])
    if not np.isfinite(vectors).all():
        raise UserError("the encoder gives NaN or infinity")
    if np.ptp(vectors, axis=0).max() == 0:
        raise UserError("the encoder has collapsed: it gives all images the same embedding")
    return vectors


def neighbors(vectors: np.ndarray) -> np.ndarray:
    """The rows nearest to each row by cosine, without itself, nearest first: (N, NEIGHBORS)."""
    found = probes.neighbours(vectors, vectors, NEIGHBORS + 1)
    itself = found == np.arange(len(found))[:, None]
    itself[~itself.any(1), -1] = True  # of that many equal rows it may not be among the first
    return found[~itself].reshape(len(found), -1)


def recall(labels: np.ndarray | None, nearest: np.ndarray) -> float | None:
    """The share of rows whose nearest has their label."""
    return None if labels is None else float(np.mean(labels == labels[nearest[:, 0]]))


def places(vectors: np.ndarray) -> np.ndarray:
    """Rows (N, C) on two axes, (N, 2): PCA to 50, then t-SNE (JMLR 9:2579, 2008)."""
    import threadpoolctl
    from sklearn.decomposition import PCA  # at the top it would slow every start
    from sklearn.manifold import TSNE

    n, width = vectors.shape
    few = PCA(min(50, n, width), random_state=0).fit_transform(vectors)
    start = "pca" if few.shape[1] > 1 else "random"
    layout = TSNE(perplexity=min(30, (n - 1) / 3), init=start, random_state=0)
    with threadpoolctl.threadpool_limits(1):  # its threads wait for each other: 7 times as slow
        return layout.fit_transform(few)


def queries(images: Images) -> np.ndarray:
    """Images whose neighbours are shown, of different classes as far as there are: (QUERIES,)."""
    order = np.random.default_rng(0).permutation(len(images.pixels))
    if images.labels is not None:  # the first of every class, then the second, ...
        labels = images.labels[order]
        turn = [np.count_nonzero(labels[:i] == label) for i, label in enumerate(labels)]
        order = order[np.argsort(turn, kind="stable")]
    return order[:QUERIES]
