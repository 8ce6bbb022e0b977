"""The jigsaw beside PyTorch: training steps, and puzzles from JPEG files; trust the ratios.

    pip install -e '.[bench]'
    python tools/bench_jigsaw.py --work=small [--batch=32]      # a step, 60 pixel defaults
    python tools/bench_jigsaw.py --work=alexnet_cfn --batch=8   # a step, the paper's geometry
    python tools/bench_jigsaw.py --work=data --images=FOLDER    # puzzles, the paper's geometry

Every row is a process of its own, asked in turn, round after round, so that what else runs on the
machine meets all of them; the fastest answer of each counts. Steps see the same tiles again and
again. PyTorch runs eagerly, the same network from the same weights, as it comes and, "tuned", with
memory kept as `sslzoo/__init__.py` says; its puzzles are made by Pillow and NumPy in a DataLoader
of two workers, the same work image by image.
"""

import importlib.util
import multiprocessing
import os
import pathlib
import random
import sys
import time

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_enum("work", "small", ["small", "alexnet_cfn", "data"], "what is measured")
flags.DEFINE_integer("batch", 32, "puzzles in a step")
flags.DEFINE_integer("rounds", 20, "questions to each row")
flags.DEFINE_string("images", "../shared/data/photos/images", "JPEG files, for --work=data")

DEFAULTS = {"crop": 60, "tile": 16, "channel_jitter": 1, "num_permutations": 24, "dropout": 0.0}
DEFAULTS |= {"fc6": 128, "fc7": 512, "batch_norm": True}
PAPER = {"crop": 225, "tile": 64, "channel_jitter": 1}
GEOMETRY = {"small": DEFAULTS, "alexnet_cfn": PAPER, "data": PAPER}
GREY = 0.3


def pretext(work):
    """The jigsaw, compiled, under its strategy."""
    import keras

    from sslzoo import encoders
    from sslzoo.pretexts.jigsaw import Jigsaw
    from sslzoo.training import devices

    devices.deterministic()
    with devices.mirrored("").scope():
        made = Jigsaw(encoders.get("small" if work == "data" else work), **GEOMETRY[work])
        made.compile(keras.optimizers.SGD(0.01, momentum=0.9))
    return made


def batch_of(work, count):
    """Tiles (count, 9, tile, tile, 3) float32 and labels (count,)."""
    side, rng = GEOMETRY[work]["tile"], np.random.default_rng(0)
    return rng.random((count, 9, side, side, 3), np.float32), rng.integers(0, 24, count)


# === One row: (work, batch, folder) -> a function that does one batch ===


def our_step(work, batch, folder):
    """What `fit` does for a step."""
    import tensorflow as tf

    made = pretext(work)
    dataset = tf.data.Dataset.from_tensors(batch_of(work, batch)).repeat()
    step = made.make_train_function() or made.train_function
    batches = iter(made.distribute_strategy.experimental_distribute_dataset(dataset))
    return lambda: step(batches)


def torch_step(work, batch, folder, form):
    """Forward, backward and SGD."""
    sys.modules["triton"] = None  # where it is installed: it clashes with TensorFlow, unused here
    import torch
    import torch_twin

    made = pretext(work)
    twin = torch_twin.Twin(made.encoder)
    network = context_free(twin, made).to(memory_format=getattr(torch, form)).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    tiles, labels = (torch.from_numpy(a) for a in batch_of(work, batch))
    tiles = tiles.flatten(0, 1).permute(0, 3, 1, 2).contiguous(memory_format=getattr(torch, form))

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(tiles), labels).backward()
        optimizer.step()

    return step


def context_free(twin, made):
    """The context-free network around the encoder's twin."""
    import torch

    side, few = made.tile, [made.fc6, made.fc7]
    width = twin.maps(torch.zeros(1, 3, side, side)).flatten(1).shape[1]

    def dense(inputs, outputs):
        norm = [torch.nn.BatchNorm1d(outputs)] if made.batch_norm else []
        linear = torch.nn.Linear(inputs, outputs, bias=not made.batch_norm)
        return torch.nn.Sequential(linear, *norm, torch.nn.ReLU(), torch.nn.Dropout(made.dropout))

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.twin, self.fc6 = twin, dense(width, few[0])
            self.fc7 = dense(9 * few[0], few[1])
            self.fc8 = torch.nn.Linear(few[1], made.num_permutations)

        def forward(self, tiles):
            x = self.fc6(self.twin.maps(tiles * 0.225 + 0.45).flatten(1))
            return self.fc8(self.fc7(x.unflatten(0, (-1, 9)).flatten(1)))

    return Network()


def raw_jpeg(work, batch, folder):
    """TensorFlow decodes files that are in memory, two at a time, and that is all."""
    import tensorflow as tf

    files = [path.read_bytes() for path in jpegs(folder)]
    dataset = tf.data.Dataset.from_tensor_slices(files).cache().repeat()
    dataset = dataset.map(lambda x: tf.io.decode_jpeg(x, dct_method="INTEGER_FAST"), 2)
    images = iter(dataset.prefetch(2))
    return lambda: [next(images) for _ in range(batch)]


def our_puzzles(work, batch, folder):
    """What a run reads."""
    from sslzoo import data

    examples = data.load(folder).examples(crop=PAPER["crop"], stop=10**9)
    batches = iter(pretext(work).puzzles(examples, batch))
    return lambda: next(batches)


def torch_puzzles(work, batch, folder):
    """A DataLoader of two workers over `Puzzles`."""
    import torch

    torch.set_num_threads(1)
    loader = torch.utils.data.DataLoader(
        Puzzles(jpegs(folder), pretext(work).permutations),
        batch,
        num_workers=2,
        multiprocessing_context="spawn",
    )
    batches = iter(loader)
    return lambda: next(batches)


class Puzzles:
    """Endless: `puzzle` of the files in turn, NumPy's tiles first in the channels."""

    def __init__(self, files, permutations):
        self.files, self.permutations = files, permutations

    def __len__(self):
        return 10**9

    def __getitem__(self, index):
        from PIL import Image

        crop, tile, jitter = PAPER["crop"], PAPER["tile"], PAPER["channel_jitter"]
        with Image.open(self.files[index % len(self.files)]) as opened:
            image = opened.convert("RGB")
            left, top = (random.randint(0, side - crop) for side in image.size)
            image = np.asarray(image.crop((left, top, left + crop, top + crop)))
        tiles = np.empty((9, 3, tile, tile), np.float32)
        room = crop // 3 - tile - 2 * jitter
        for i in range(9):
            corner = np.array([i // 3 * crop // 3, i % 3 * crop // 3])
            base = corner + np.random.randint(0, room + 1, 2)
            for channel in range(3):
                y, x = base + np.random.randint(0, 2 * jitter + 1, 2)
                tiles[i, channel] = image[y : y + tile, x : x + tile, channel]
        tiles /= 255
        if random.random() < GREY:
            tiles[:] = np.tensordot(tiles, (0.299, 0.587, 0.114), [[1], [0]])[:, None]
        tiles -= tiles.mean((2, 3), keepdims=True)
        tiles /= np.maximum(tiles.std((2, 3), keepdims=True), 1e-3)
        k = random.randrange(len(self.permutations))
        return tiles[self.permutations[k]], k


def jpegs(folder):
    """The files."""
    return sorted(path for path in pathlib.Path(folder).rglob("*.jpg"))


def torch_nchw(*given):
    """PyTorch, NCHW in memory."""
    return torch_step(*given, "contiguous_format")


def torch_channels_last(*given):
    """PyTorch, NHWC in memory."""
    return torch_step(*given, "channels_last")


STEPS = {
    "sslzoo": our_step,
    "PyTorch": torch_nchw,
    "PyTorch, channels last": torch_channels_last,
    "PyTorch, channels last, tuned": torch_channels_last,
}
READERS = {"sslzoo": our_puzzles, "DataLoader": torch_puzzles, "raw JPEG decoding": raw_jpeg}


# === Measuring ===


def serve(row, given, pipe):
    """A row's process: seconds of a batch for every question."""
    import sslzoo  # noqa: F401, first: it tells TensorFlow how to use the CPU

    reads = row in READERS and given[0] == "data"
    once = (READERS if reads else STEPS)[row](*given)
    ahead, timed = (1.0, 8) if reads else (0.0, 1)  # s: what was read in others' turns comes first
    for _ in range(5):
        once()
    pipe.send(None)
    while pipe.recv():
        begin = time.perf_counter()
        while time.perf_counter() < begin + ahead:
            once()
        begin = time.perf_counter()
        for _ in range(timed):
            once()
        pipe.send((time.perf_counter() - begin) / timed)


def main(_):
    """Prints the table."""
    if not importlib.util.find_spec("torch"):
        raise app.UsageError("needs torch: pip install -e '.[bench]'")
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    spawn, pipes = multiprocessing.get_context("spawn"), {}
    for row in READERS if FLAGS.work == "data" else STEPS:
        pipes[row], theirs = spawn.Pipe()
        given = row, (FLAGS.work, FLAGS.batch, FLAGS.images), theirs
        as_it_comes = row in ("PyTorch", "PyTorch, channels last")
        if as_it_comes:  # whatever is said here, sslzoo leaves the allocator alone
            os.environ["GLIBC_TUNABLES"] = "glibc.malloc.check=0"
        spawn.Process(target=serve, args=given, daemon=row != "DataLoader").start()
        if as_it_comes:
            del os.environ["GLIBC_TUNABLES"]
        theirs.close()  # so that a row that fails ends this process too
        pipes[row].recv()
    seconds = {row: [] for row in pipes}
    for _ in range(FLAGS.rounds):
        for row, pipe in pipes.items():
            pipe.send(True)
            seconds[row].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    rates = {row: FLAGS.batch / min(times) for row, times in seconds.items()}
    for row, rate in rates.items():
        print(f"{row:32}{rate:8.1f} puzzles/s   sslzoo is x {rates['sslzoo'] / rate:.2f}")


if __name__ == "__main__":
    app.run(main)
