"""Images per second at inference, of one network in many forms; trust the ratios of one run.

    pip install -e '.[bench]'
    python tools/bench_serving.py [--encoder=resnet18 --size=64 --batch=32]     # about a minute

Every row is a process of its own, asked in turn, round after round, so that what else runs on the
machine meets all of them; the fastest answer of each counts. On a machine that others keep busy,
`--threads=1` is the fairer question: it counts seconds of CPU, not of the clock.

A row that ends in "bare" has none of the settings that `import sslzoo` makes in a process: it is
what a server gets that is told nothing.
"""

import importlib.util
import multiprocessing
import os
import pathlib
import tempfile
import time
import warnings

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("encoder", "small", "name of the encoder")
flags.DEFINE_integer("size", 64, "side of the images in pixels")
flags.DEFINE_integer("batch", 32, "images in a request")
flags.DEFINE_integer("rounds", 20, "requests to each row")
flags.DEFINE_integer("threads", 0, "of each row; 0 leaves it to the library")

NEEDED = ("torch", "onnx", "onnxruntime")


def build(folder, name):
    """The network, used a little, as encoder.keras, plain and folded SavedModel, and ONNX."""
    import keras
    import tensorflow as tf

    from sslzoo import encoders, export

    encoder = encoders.get(name)
    rng = np.random.default_rng(0)
    for weight in encoder.weights:
        if len(weight.shape) == 1:  # batch norms that do something
            weight.assign(weight + rng.uniform(0, 0.5, weight.shape))
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(encoder.output)
    model = keras.Model(encoder.input, embedding)
    model.save(folder / "model.keras")
    archive = keras.export.ExportArchive()
    images = tf.TensorSpec((None, None, None, 3), tf.float32, name="images")
    archive.track(model)
    archive.add_endpoint("embed", lambda x: {"embedding": model(x)}, [images])
    archive.write_out(str(folder / "plain" / "1"), verbose=False)
    export.save(encoder, folder / "folded")
    encoder.save(folder / "encoder.keras")


# === One row: (folder, images (N, H, W, 3), threads) -> a function that answers with (N, C) ===


def _tensorflow(threads):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    return tf


def keras_predict(folder, images, threads):
    """What `model.predict` does."""
    _tensorflow(threads)
    import keras

    model = keras.saving.load_model(folder / "model.keras")
    return lambda: model.predict(images, batch_size=len(images), verbose=0)


def _saved_model(folder, images, threads):
    """`serving_default` of a SavedModel, as its eager caller gets it."""
    tf = _tensorflow(threads)
    model, images = tf.saved_model.load(str(folder / "1")), tf.constant(images)
    return lambda: model.signatures["serving_default"](images=images)["embedding"].numpy()


def plain(folder, images, threads):
    """Variables, batch norms."""
    return _saved_model(folder / "plain", images, threads)


def folded(folder, images, threads):
    """What sslzoo exports."""
    return _saved_model(folder / "folded", images, threads)


def _torch(folder, images, threads, memory_format):
    import keras
    import torch
    import torch_twin

    torch.set_num_threads(threads or torch.get_num_threads())
    form = {"memory_format": getattr(torch, memory_format)}
    twin = torch_twin.Twin(keras.saving.load_model(folder / "encoder.keras")).to(**form)
    return torch, twin, torch.from_numpy(images.transpose(0, 3, 1, 2)).contiguous(**form)


def _torch_eager(torch, twin, images):
    def answer():
        with torch.inference_mode():
            return twin(images).numpy()

    return answer


def torch_eager(folder, images, threads):
    """PyTorch, NCHW in memory."""
    return _torch_eager(*_torch(folder, images, threads, "contiguous_format"))


def torch_channels_last(folder, images, threads):
    """PyTorch, NHWC in memory."""
    return _torch_eager(*_torch(folder, images, threads, "channels_last"))


def onnx_runtime(folder, images, threads):
    """ONNX Runtime, of the file that PyTorch writes."""
    import onnxruntime

    torch, twin, images = _torch(folder, images, threads, "contiguous_format")
    path, axes = str(folder / "torch.onnx"), {"x": {0: "n", 2: "h", 3: "w"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the exporter without dependencies is the old one
        torch.onnx.export(twin, (images,), path, input_names=["x"], dynamic_axes=axes, dynamo=False)
    options, images = onnxruntime.SessionOptions(), images.numpy()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # while others run
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": images})[0]


ROWS = {  # name: (function, whether sslzoo is imported)
    "Keras predict": (keras_predict, True),
    "plain export": (plain, True),
    "folded export": (folded, True),
    "PyTorch eager": (torch_eager, False),
    "PyTorch eager, channels last": (torch_channels_last, False),
    "ONNX Runtime": (onnx_runtime, False),
    "plain export, bare": (plain, False),
    "folded export, bare": (folded, False),
}


# === Measuring ===


def serve(row, folder, images, threads, pipe):
    """A row's process: one answer, then seconds for every question."""
    clock = time.process_time if threads == 1 else time.perf_counter
    function, imported = ROWS[row]
    if imported:
        import sslzoo  # noqa: F401, it tells TensorFlow how to use the CPU
    answer = function(folder, images, threads)
    pipe.send(answer())
    answer()
    while pipe.recv():
        begin = clock()
        answer()
        pipe.send(clock() - begin)


def start(row, folder, images):
    """Starts a row's process; returns our end of its pipe."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(
        target=serve, args=(row, folder, images, FLAGS.threads, theirs), daemon=True
    )
    process.start()
    theirs.close()
    return ours


def seconds(folder, images):
    """Starts all rows, compares their answers; returns {row: seconds of its fastest answer}."""
    pipes = {row: start(row, folder, images) for row in ROWS}
    answers = {row: pipe.recv() for row, pipe in pipes.items()}
    expected = answers["Keras predict"]
    for row, answer in answers.items():
        np.testing.assert_allclose(answer, expected, atol=1e-4 * expected.max(), err_msg=row)
    best = dict.fromkeys(ROWS, np.inf)
    for _ in range(FLAGS.rounds):
        for row, pipe in pipes.items():
            pipe.send(True)
            best[row] = min(best[row], pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    return best


def main(_):
    """Prints the table."""
    if missing := [name for name in NEEDED if not importlib.util.find_spec(name)]:
        raise app.UsageError(f"needs {', '.join(missing)}: pip install -e '.[bench]'")
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    shape = (FLAGS.batch, FLAGS.size, FLAGS.size, 3)
    images = np.random.default_rng(0).random(shape, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder), FLAGS.encoder
        builder = multiprocessing.get_context("spawn").Process(target=build, args=made)
        builder.start()
        builder.join()
        best = seconds(made[0], images)
    print(f"{FLAGS.encoder}, {FLAGS.batch} images of {FLAGS.size} x {FLAGS.size} pixels")
    for row, time_ in best.items():
        ratio = best["PyTorch eager"] / time_
        print(f"  {row:32} {FLAGS.batch / time_:8.1f} images/s   x {ratio:.2f} of PyTorch eager")


if __name__ == "__main__":
    app.run(main)
