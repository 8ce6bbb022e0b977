"""Memory of the input side, by the number of images: what grows, in bytes an image.

    python tools/bench_input_memory.py [--sizes=1000,100000,1000000]      # two minutes on 2 cores

Rows: a folder of hard links to small JPEG files, with labels, split by hash; an .npz of 8 x 8
pixels (192 bytes an image); the same with a `table` of as many indices, as DeepCluster trains on.
Each is loaded and read for a while in a process of its own.
"""

import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

SIZES = flags.DEFINE_list("sizes", ["1000", "100000", "1000000"], "numbers of images")
KINDS = flags.DEFINE_list("kinds", ["folder", "npz", "table"], "which rows")
BATCHES = flags.DEFINE_integer("batches", 200, "of 32 images, read from each")
MEASURE = flags.DEFINE_list("measure", [], "kind, file: what this process itself measures")
PER_FOLDER = 1000  # files; a file has at most 65,000 hard links on ext4


def make_folder(path, size):
    """`size` hard links to JPEG files of 16 x 16 pixels; names as long as ImageNet's."""
    from PIL import Image

    for number in range(-(-size // PER_FOLDER)):
        folder = path / f"n{number:08d}"
        folder.mkdir(parents=True)
        if number % 50 == 0:
            original = folder / "original.jpg"
            Image.new("RGB", (16, 16), (number % 256, 99, 9)).save(original)
        for i in range(min(PER_FOLDER, size - number * PER_FOLDER)):
            os.link(original, folder / f"n{number:08d}_{i:05d}.jpg")
    for original in path.glob("*/original.jpg"):
        original.unlink()


def make_npz(path, size):
    """`size` images of noise, with labels."""
    x = np.random.default_rng(0).integers(0, 256, (size, 8, 8, 3), np.uint8)
    y = np.arange(size) % 1000
    np.savez(path, x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])


def measure(kind, path):
    """Prints this process' memory in bytes: after imports, at the end, and at its peak."""
    from sslzoo import data

    crop = 16 if kind == "folder" else 8
    for batch in data.load("photos", resize=16).examples(crop=16).batch(32).take(9):
        del batch  # TensorFlow's threads and arenas are there now
    before, begin = resident(), time.monotonic()
    source = data.load(path, labels=True)
    seconds = time.monotonic() - begin
    table = np.random.default_rng(0).integers(0, source.size, source.size)
    examples = source.examples(crop=crop, table=table if kind == "table" else None)
    for batch in examples.batch(32).prefetch(2).take(BATCHES.value):
        del batch
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(source.size, before, resident(), peak, seconds)


def resident():
    """Bytes of this process that are in memory now."""
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def main(_):
    """Prints one row for each kind and size."""
    if MEASURE.value:
        return measure(*MEASURE.value)
    print("          images    load   before  lasting     peak   lasting and peak, bytes an image")
    for kind in KINDS.value:
        for size in map(int, SIZES.value):
            with tempfile.TemporaryDirectory() as temporary:
                path = pathlib.Path(temporary) / ("images" if kind == "folder" else "images.npz")
                (make_folder if kind == "folder" else make_npz)(path, size)
                command = [sys.executable, __file__, f"--measure={kind},{path}"]
                command.append(f"--batches={BATCHES.value}")
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            *numbers, seconds = map(float, out.splitlines()[-1].split())
            count, before, lasting, peak = numbers
            each = [(value - before) / count for value in (lasting, peak)]
            row = "".join(f"{value / 1e6:6.0f} MB" for value in (before, lasting, peak))
            print(f"{kind:6}{count:10,.0f}{seconds:6.1f} s{row}{each[0]:12,.0f}{each[1]:8,.0f}")


if __name__ == "__main__":
    app.run(main)
