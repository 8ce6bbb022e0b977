"""Time and memory of DeepCluster's work between epochs by the number of images.

    python tools/bench_clusters.py [--images=10000,25000,100000]    # a minute on 2 cores
    python tools/bench_clusters.py --images=200000 --dims=4096      # AlexNet's features, 5 GB

PCA, k-means and draws for synthetic features around 1,000 centres. Each row is a process of its
own, whose peak is what it ever held, beside the size of the features themselves.
"""

import multiprocessing
import resource
import time

import numpy as np
from absl import app, flags

from sslzoo.parts import clusters

IMAGES = flags.DEFINE_list("images", ["10000", "25000", "100000"], "numbers of images")
DIMS = flags.DEFINE_integer("dims", 256, "of the features")
PCA = flags.DEFINE_integer("pca", 256, "of the features that are clustered")
K = flags.DEFINE_integer("k", 256, "clusters")


def features(n, dims):
    """Rows around 1,000 random centres (n, dims) float32."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(1000, dims)).astype(np.float32)
    x = np.empty((n, dims), np.float32)
    for start in range(0, n, 1000):  # more at once would be the peak
        rows = x[start : start + 1000]
        rows[:] = random.standard_normal(rows.shape, np.float32)
        rows += centres[random.integers(0, 1000, len(rows))]
    return x


def timed(function, *args):
    """(result, seconds)."""
    start = time.perf_counter()
    return function(*args), time.perf_counter() - start


def measure(n, dims, pca, k):
    """Prints the row of one size."""
    x = features(n, dims)
    size = x.nbytes / 1e9
    rows, prepared = timed(clusters.prepare, x, pca)
    del x
    labels, assigned = timed(clusters.assign, rows, k, 0)
    _, drawn = timed(clusters.balanced, labels, 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    seconds = f"{prepared:7.1f} s {assigned:7.1f} s {drawn:7.1f} s"
    print(f"{n:>9,} {seconds} {size:7.1f} GB {peak:7.1f} GB", flush=True)


def main(_):
    """A row for each size."""
    print("   images   PCA, L2   k-means     draws   features       peak", flush=True)
    spawn = multiprocessing.get_context("spawn")
    for n in map(int, IMAGES.value):
        child = spawn.Process(target=measure, args=(n, DIMS.value, PCA.value, K.value))
        child.start()
        child.join()


if __name__ == "__main__":
    app.run(main)
