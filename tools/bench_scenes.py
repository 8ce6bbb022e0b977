"""Scenes and photographs per second, as ratios within one run.

    python tools/bench_scenes.py [--side=64] [--batch=32] [--seconds=6]

The machine is shared, so the rows are measured in turn, three times over, and the best counts.
"""

import sslzoo  # noqa: F401, first: it tells TensorFlow how to use the CPU

# isort: split
import time

import tensorflow as tf
from absl import app, flags

from sslzoo import data

FLAGS = flags.FLAGS
flags.DEFINE_integer("side", 64, "of the pictures, in pixels", lower_bound=8)
flags.DEFINE_integer("batch", 32, "images in a batch", lower_bound=1)
flags.DEFINE_float("seconds", 6.0, "time for each row, in three parts")


def main(_):
    """Prints images per second, wall-clock, and milliseconds of CPU that each takes."""
    tf.config.experimental.enable_op_determinism()
    sources = {
        "scenes": data.load("scenes", resize=FLAGS.side),
        "scenes, with maps": data.load("scenes", resize=FLAGS.side, maps=True),
        "photos": data.load("photos", resize=FLAGS.side),
    }
    rows = {}
    for name, source in sources.items():
        examples = source.examples(crop=FLAGS.side, epoch_size=source.size, stop=10**9)
        rows[name] = iter(examples.batch(FLAGS.batch))
        for _ in range(4):
            next(rows[name])
    best = {name: (0.0, float("inf")) for name in rows}
    for _ in range(3):
        for name, iterator in rows.items():
            count, begin, cpu = 0, time.perf_counter(), time.process_time()
            while time.perf_counter() - begin < FLAGS.seconds / 3:
                next(iterator)
                count += FLAGS.batch
            rate = count / (time.perf_counter() - begin)
            spent = 1000 * (time.process_time() - cpu) / count
            best[name] = max(best[name][0], rate), min(best[name][1], spent)
    for name, (rate, spent) in best.items():
        print(f"{name:20s}{rate:8,.0f} images/s  {spent:6.2f} ms of CPU each")


if __name__ == "__main__":
    app.run(main)
