"""Clustering of features, as DeepCluster does it (Caron et al. 2018, arXiv:1807.05520). NumPy.

k-means is scikit-learn's: on two cores faster than faiss, and the same bits every time.
Departure from the authors' code: an empty cluster takes the worst-placed image, where faiss splits
a large one.
"""

import numpy as np

ITERATIONS = 20  # of k-means, the authors' number
BLOCK = 4096  # images at a time


def prepare(features, dims):
    """PCA to at most `dims`, whitened, then each row to length 1: (N, D) -> (N, d) float32.

    PCA needs more images than dimensions: d is at most N - 1.
    """
    rows = whiten(features, dims)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows


def whiten(features, dims):
    """Principal components of unit variance: (N, D) -> (N, d) float32.

    scikit-learn's PCA copies all features, here a block of them at a time: ImageNet's are 21 GB.
    """
    from scipy.linalg import eigh  # at the top it would slow every start

    count, width = features.shape
    dims = min(dims, width, count - 1)
    mean = np.mean(features, axis=0, dtype=np.float64).astype(np.float32)
    covariance = np.zeros((width, width))
    for block in _blocks(count):
        centred = features[block] - mean
        covariance += centred.T @ centred  # in float32, but for the sum over blocks
    covariance /= count - 1
    variances, axes = eigh(covariance, subset_by_index=(width - dims, width - 1))
    # Directions without variance (dead channels) would be divided by nothing.
    real = variances > 1e-6 * variances[-1]
    axes = (axes[:, real] / np.sqrt(variances[real])).astype(np.float32)[:, ::-1]
    rows = np.empty((count, axes.shape[1]), np.float32)
    for block in _blocks(count):
        rows[block] = (features[block] - mean) @ axes
    return rows


def _blocks(count):
    return [slice(start, start + BLOCK) for start in range(0, count, BLOCK)]


def assign(rows, k, seed):
    """k-means: the cluster of each row (N,) int32, none of the k empty."""
    from sklearn.cluster import KMeans

    means = KMeans(k, init="random", n_init=1, max_iter=ITERATIONS, random_state=seed).fit(rows)
    distances = np.linalg.norm(rows - means.cluster_centers_[means.labels_], axis=1)
    return repair(means.labels_, distances, k)


def repair(labels, distances, k):
    """Gives each empty cluster the image that lies farthest from its centre.

    That image's distance falls to 0, and no other's grows, so the inertia only falls. The only
    image of a cluster stays in it.

    Args:
        labels: (N,), in 0 .. k - 1; N is at least k.
        distances: (N,), of each image to the centre of its cluster.
        k: number of clusters.
    """
    labels, counts = labels.astype(np.int32), np.bincount(labels, minlength=k)
    farthest = iter(np.argsort(-distances, kind="stable"))
    for empty in np.flatnonzero(counts == 0):
        image = next(i for i in farthest if counts[labels[i]] > 1)
        counts[labels[image]] -= 1
        counts[empty] += 1
        labels[image] = empty
    return labels


def balanced(labels, seed):
    """N indices in which every cluster is met as often as the others, to one: (N,) int64.

    As the authors' sampler: N / C + 1 images of each of the C clusters, an image more than once
    only where the cluster is not larger than that; shuffled, and cut to N.
    """
    random = np.random.default_rng(seed)
    clusters, starts = np.unique(np.sort(labels), return_index=True)
    share = len(labels) // len(clusters) + 1
    drawn = []
    for members in np.split(np.argsort(labels, kind="stable"), starts[1:]):
        drawn.append(random.choice(members, share, replace=len(members) <= share))
    return random.permutation(np.concatenate(drawn))[: len(labels)].astype(np.int64)


def report(labels, before, k):
    """What to log of an assignment (N,): NMI with the one before, sizes of the clusters."""
    from sklearn.metrics import normalized_mutual_info_score

    sizes = np.bincount(labels, minlength=k)
    return {
        "nmi": float(normalized_mutual_info_score(before, labels)),
        "largest_cluster": int(sizes.max()),
        "smallest_cluster": int(sizes.min()),
        "clusters_of_half": int(np.searchsorted(np.cumsum(-np.sort(-sizes)), len(labels) / 2)) + 1,
    }
