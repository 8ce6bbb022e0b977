"""Images per second at inference, of one network in five forms; trust the ratios of one run.

    pip install -e '.[bench]'
    python tools/bench_serving.py [--encoder=resnet18 --size=64 --batch=32]     # about a minute

Every row is a process of its own, asked in turn, round after round, so that what else runs on the
machine meets all of them; the fastest answer of each counts. A row that ends in "bare" has none of
the settings that `import sslzoo` makes in a process: it is what a server gets that is told nothing.
"""

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

OURS = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPU_ALLOCATOR_USE_BFC": "true"}


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


# === One row: (folder, images (N, H, W, 3)) -> a function that answers with (N, C) ===


def keras_predict(folder, images):
    """What `model.predict` does."""
    import keras

    model = keras.saving.load_model(folder / "model.keras")
    return lambda: model.predict(images, batch_size=len(images), verbose=0)


def saved_model(folder, images):
    """`serving_default` of a SavedModel, as its eager caller gets it."""
    import tensorflow as tf

    model = tf.saved_model.load(str(folder / "1"))
    images = tf.constant(images)
    return lambda: model.signatures["serving_default"](images=images)["embedding"].numpy()


def plain(folder, images):
    """Variables, batch norms."""
    return saved_model(folder / "plain", images)


def folded(folder, images):
    """What sslzoo exports."""
    return saved_model(folder / "folded", images)


def _torch(folder, memory_format):
    import keras
    import torch
    import torch_twin

    encoder = keras.saving.load_model(folder / "encoder.keras")
    return torch, torch_twin.Twin(encoder).to(memory_format=getattr(torch, memory_format))


def _torch_eager(folder, images, memory_format):
    torch, twin = _torch(folder, memory_format)
    images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    images = images.contiguous(memory_format=getattr(torch, memory_format))

    def answer():
        with torch.inference_mode():
            return twin(images).numpy()

    return answer


def torch_eager(folder, images):
    """PyTorch, NCHW in memory."""
    return _torch_eager(folder, images, "contiguous_format")


def torch_channels_last(folder, images):
    """PyTorch, NHWC in memory."""
    return _torch_eager(folder, images, "channels_last")


def _onnx_runtime(path, images):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {session.get_inputs()[0].name: images})[0]


def onnx_runtime(folder, images):
    """ONNX Runtime, of the file that PyTorch writes."""
    torch, twin = _torch(folder, "contiguous_format")
    images = images.transpose(0, 3, 1, 2).copy()
    path, axes = str(folder / "torch.onnx"), {"x": {0: "n", 2: "h", 3: "w"}}
    sample = (torch.from_numpy(images),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the exporter without dependencies is the old one
        torch.onnx.export(twin, sample, path, input_names=["x"], dynamic_axes=axes, dynamo=False)
    return _onnx_runtime(path, images)


ROWS = {  # name: (function, environment)
    "Keras predict": (keras_predict, OURS),
    "plain export": (plain, OURS),
    "folded export": (folded, OURS),
    "PyTorch eager": (torch_eager, {}),
    "PyTorch eager, channels last": (torch_channels_last, {}),
    "ONNX Runtime": (onnx_runtime, {}),
    "plain export, bare": (plain, {}),
    "folded export, bare": (folded, {}),
}


# === Measuring ===


def serve(row, folder, images, pipe):
    """A row's process: one answer, then seconds for every question."""
    answer = ROWS[row][0](folder, images)
    pipe.send(answer())
    answer()
    while pipe.recv():
        begin = time.perf_counter()
        answer()
        pipe.send(time.perf_counter() - begin)


def start(row, folder, images):
    """Starts a row's process; returns our end of its pipe."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(row, folder, images, theirs), daemon=True)
    os.environ.update(ROWS[row][1])
    process.start()
    for name in ROWS[row][1]:
        del os.environ[name]
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
    for name in OURS:
        os.environ.pop(name, None)
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
