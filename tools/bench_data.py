"""What reading costs, as ratios within one run.

    python tools/bench_data.py [--images=../shared/data/photos/images]
        [--npz=../shared/data/cifar10_medium.npz] [--seconds=3]

The machine is shared, so every row of a table is measured in turn, three times over, and the best
counts. Operation determinism is on, as in training.
"""

import sslzoo  # noqa: F401, first: it tells TensorFlow how to use the CPU

# isort: split
import io
import pathlib
import tempfile
import time

import numpy as np
import tensorflow as tf
from absl import app, flags
from PIL import Image

from sslzoo import data
from sslzoo.data import decode

FLAGS = flags.FLAGS
flags.DEFINE_string("images", "../shared/data/photos/images", "folder of JPEG files")
flags.DEFINE_string("npz", "../shared/data/cifar10_medium.npz", "32 x 32 images")
flags.DEFINE_float("seconds", 3.0, "time for each measurement, in three parts")
MANY = {"stop": 10**8}  # positions: no row comes to an end


def rates(makers, per_element=1):
    """Images per second of each dataset: {name: function that makes it} -> {name: rate}."""
    iterators = {name: iter(make()) for name, make in makers.items()}
    for iterator in iterators.values():
        for _ in range(max(200 // per_element, 5)):
            next(iterator)
    best = dict.fromkeys(makers, 0.0)
    for _ in range(3):
        for name, iterator in iterators.items():
            count, begin = 0, time.perf_counter()
            while time.perf_counter() - begin < FLAGS.seconds / 3:
                next(iterator)
                count += per_element
            best[name] = max(best[name], count / (time.perf_counter() - begin))
        # What was prefetched for one row while another was measured is little beside a second.
    return best


def table(title, makers, per_element=1):
    """Prints the rates and their ratios to the first row."""
    print(f"\n{title}")
    found = rates(makers, per_element)
    first = next(iter(found.values()))
    for name, rate in found.items():
        print(f"  {name:58s}{rate:10,.0f} images/s  x {rate / first:.2f}")


def decoding(files, title, resize, crop):
    """Milliseconds per image of our decoder with parts of it taken away."""

    def plain(bytes_, place):
        image = tf.io.decode_jpeg(bytes_, channels=3, dct_method="INTEGER_FAST")
        size = decode.resized_shape(tf.shape(image)[:2], resize) if resize else tf.shape(image)[:2]
        image = tf.image.resize(image, size, antialias=True) if resize else image
        corner = decode.offset(size, crop, place)
        return decode.to_float(image[corner[0] : corner[0] + crop, corner[1] : corner[1] + crop])

    def one_op(bytes_, place):
        image = tf.io.decode_jpeg(bytes_, channels=3, dct_method="INTEGER_FAST")
        return decode.fit(image, place, resize, crop)

    def ratios(bytes_, place):
        return decode.decode(bytes_, place, resize, crop)

    def windows(bytes_, place):
        kept, decode.JPEG_RATIOS = decode.JPEG_RATIOS, (1,)
        try:
            return decode.decode(bytes_, place, resize, crop)
        finally:
            decode.JPEG_RATIOS = kept

    content = [pathlib.Path(file).read_bytes() for file in files]
    source = tf.data.Dataset.from_tensor_slices(
        (content, np.random.rand(len(content), 2).astype("f"))
    )
    source = source.cache().repeat()

    def made(function):
        return lambda: source.map(function, num_parallel_calls=2)

    rows = {"decode all, tf.image.resize, slice": made(plain)}
    if resize:
        rows["decode all, resize and crop in one op"] = made(one_op)
        rows["+ only the window"] = made(windows)
        rows["+ shrunk inside the inverse DCT (what we do)"] = made(ratios)
    else:
        rows["only the window (what we do)"] = made(ratios)
    table(f"{title}: resize={resize} crop={crop}", rows)


def enlarged(files, factor, folder):
    """The same photographs as if from a camera: `factor` times larger."""
    out = []
    for file in files:
        image = Image.open(file).convert("RGB")
        buffer = io.BytesIO()
        image.resize((image.width * factor, image.height * factor)).save(buffer, "JPEG", quality=90)
        path = pathlib.Path(folder) / pathlib.Path(file).name
        path.write_bytes(buffer.getvalue())
        out.append(path)
    return out


def small_images():
    """Of an npz file: the table of batches."""
    cifar = data.load(FLAGS.npz)

    def one_by_one():
        small = data.load(FLAGS.npz)
        small.chunk = 1
        return small.examples(**MANY).batch(128)

    rows = {
        "one image at a time": one_by_one,
        "chunks": lambda: cifar.examples(**MANY).batch(128),
        "chunks, crop=24": lambda: cifar.examples(crop=24, **MANY).batch(128),
    }
    table("npz, 32 x 32, in batches of 128", rows, per_element=128)


def photographs():
    """Of a folder of them: the table of examples, and those of the decoder."""
    folder = data.load(FLAGS.images)
    top = pathlib.Path(FLAGS.images)
    files = [str(top / folder.name(i)) for i in range(0, folder.size, folder.size // 60)]

    def bare():
        ds = tf.data.Dataset.range(10**8).map(lambda p: folder.fetch(p[None] % folder.size)[0])
        return ds.map(
            lambda path: folder.open(path, tf.constant([0.5, 0.5]), 225), num_parallel_calls=2
        )

    rows = {
        "decode and crop alone; a bad file kills it": bare,
        "examples(crop=225)": lambda: folder.examples(crop=225, **MANY),
        "examples(crop=64), resize=96": lambda: data.load(FLAGS.images, resize=96).examples(
            crop=64, **MANY
        ),
    }
    table("folder of photographs, short side 256", rows)
    for resize, crop in ((0, 64), (96, 64), (256, 225)):
        decoding(files, "JPEG, short side 256", resize, crop)
    with tempfile.TemporaryDirectory() as temporary:
        large = enlarged(files[:20], 4, temporary)
        decoding(large, "JPEG, short side 1024", 96, 64)
        decoding(large, "JPEG, short side 1024", 256, 225)


def main(_):
    """Prints all tables."""
    tf.keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    if pathlib.Path(FLAGS.npz).is_file():
        small_images()
    rows = {
        f"resize={resize} crop={crop}": lambda r=resize, c=crop: data.load(
            "photos", resize=r
        ).examples(crop=c, **MANY)
        for resize, crop in ((0, 64), (64, 64), (96, 64))
    }
    table("photos (built in)", rows)
    if pathlib.Path(FLAGS.images).is_dir():
        photographs()


if __name__ == "__main__":
    app.run(main)
