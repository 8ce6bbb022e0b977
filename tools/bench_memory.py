"""What a memory bank adds to a training step, by its size: it should not matter.

    python tools/bench_memory.py [--batch=256]      # half a minute on 2 cores

Three banks of 128 columns, the last as large as ImageNet. A step draws the negatives, takes the
loss and its gradient to the embeddings, and writes the new rows, under the strategy of a run. Sizes
take turns; the fastest step of each counts.
"""

import sslzoo  # noqa: F401, first: it tells TensorFlow how to use the CPU

# isort: split
import resource
import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from sslzoo.parts import memory
from sslzoo.training.devices import mirrored

BATCH = flags.DEFINE_integer("batch", 256, "images per step")
NEGATIVES = flags.DEFINE_integer("negatives", 4096, "rows drawn in each step")
REPEATS = flags.DEFINE_integer("repeats", 30, "rounds over all sizes")
SIZES = (10_000, 100_000, 1_281_167)


def stepper(size):
    """A compiled step on a bank of `size` rows."""
    log_mean = memory.log_mean_exp(128, 0.07)
    strategy = mirrored("cpu:1")
    with strategy.scope():
        bank = memory.MemoryBank(size, 128)

    def step(embeddings, index, count):
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            cosines = bank.contrast(embeddings, index, NEGATIVES.value, tf.stack([0, count]))
            loss = tf.reduce_mean(memory.nce(*cosines, 0.07, log_mean))
        gradient = tape.gradient(loss, embeddings)
        bank.update(index, embeddings)
        return gradient

    return tf.function(lambda *batch: strategy.run(step, batch), autograph=False)


def main(_):
    """Prints a row for each size."""
    random, times, megabytes = np.random.default_rng(0), {}, {}
    embeddings = tf.math.l2_normalize(random.normal(size=(BATCH.value, 128)).astype("f4"), -1)
    steps = {}
    for size in SIZES:
        steps[size] = stepper(size)
        megabytes[size] = size * 128 * 4 / 1e6
    for count in range(REPEATS.value + 2):  # two to trace and to warm up
        for size, step in steps.items():
            index = tf.constant(random.choice(size, BATCH.value, replace=False))
            start = time.perf_counter()
            step(embeddings, index, tf.constant(count)).numpy()
            times.setdefault(size, []).append(1000 * (time.perf_counter() - start))
    print(f"batch {BATCH.value}, {NEGATIVES.value} negatives: fastest and median of a step")
    for size in SIZES:
        fastest, median = min(times[size][2:]), np.median(times[size][2:])
        print(f"{size:>9,} x 128 {megabytes[size]:7.1f} MB {fastest:7.1f} ms {median:7.1f} ms")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak of the process, all three banks and their making: {peak:.1f} GB")


if __name__ == "__main__":
    app.run(main)
