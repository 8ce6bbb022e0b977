"""Time of DeepCluster's work between epochs by the number of images: PCA, k-means, draws.

    python tools/bench_clusters.py [--most=100000]  # a minute on 2 cores

Synthetic features of 256 dimensions around 1,000 centres, 256 clusters.
"""

import time

import numpy as np
from absl import app, flags

from sslzoo.parts import clusters

MOST = flags.DEFINE_integer("most", 100_000, "largest number of images, up to 1,000,000")
DIMS = flags.DEFINE_integer("dims", 256, "of the features")
K = flags.DEFINE_integer("k", 256, "clusters")


def features(n):
    """Rows around 1,000 random centres (n, dims) float32."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(1000, DIMS.value)).astype(np.float32)
    x = random.standard_normal((n, DIMS.value), np.float32)
    x += centres[random.integers(0, 1000, n)]
    return x


def timed(function, *args):
    """(result, seconds)."""
    start = time.perf_counter()
    return function(*args), time.perf_counter() - start


def main(_):
    """Prints a row for each size."""
    print("   images   PCA, L2   k-means     draws")
    for n in (10_000, 25_000, 100_000, 1_000_000):
        if n <= MOST.value:
            rows, prepared = timed(clusters.prepare, features(n), DIMS.value, 0)
            labels, assigned = timed(clusters.assign, rows, K.value, 0)
            _, drawn = timed(clusters.balanced, labels, 0)
            print(f"{n:>9,} {prepared:7.1f} s {assigned:7.1f} s {drawn:7.1f} s", flush=True)


if __name__ == "__main__":
    app.run(main)
