"""Warm-up requests: TensorFlow Serving runs them before it calls a version ready.

The first request to a signature pays for the optimisation of its graph. Serving looks for requests
in `assets.extra/tf_serving_warmup_requests`, TFRecords of its own `PredictionLog`, whose protocol
buffers come with `pip install -e '.[serving]'`.
"""

import importlib.util
import pathlib

import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import saved_model_pb2

FILE = "assets.extra/tf_serving_warmup_requests"


def write(folder, name, image_size):
    """Writes one request for each signature of the SavedModel in `folder`, model `name`.

    Each holds one grey image of `image_size` pixels. Without tensorflow-serving-api it writes
    nothing and says so: an export is whole without it, and its first requests are slow.
    """
    if not importlib.util.find_spec("tensorflow_serving"):
        logging.info("no warm-up requests for TensorFlow Serving: pip install -e '.[serving]'")
        return
    path = pathlib.Path(folder, FILE)
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in _signatures(folder).items():
            log = _log(name, signature, inputs, image_size)
            writer.write(log.SerializeToString(deterministic=True))


def _signatures(folder):
    """{signature: {input: dtype}} of a SavedModel, read without loading it."""
    model = saved_model_pb2.SavedModel()
    model.ParseFromString(pathlib.Path(folder, "saved_model.pb").read_bytes())
    return {
        name: {key: tensor.dtype for key, tensor in signature.inputs.items()}
        for name, signature in sorted(model.meta_graphs[0].signature_def.items())
        if signature.method_name  # `__saved_model_init_op` has none
    }


def _log(name, signature, inputs, image_size):
    """A `PredictionLog` of one request; what is not a file (string) is an image (float32)."""
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    shape = (image_size, image_size, 3)
    file = tf.io.encode_jpeg(tf.fill(shape, tf.constant(128, tf.uint8))).numpy()
    for key, dtype in inputs.items():
        if dtype == tf.string:
            tensor = tf.make_tensor_proto([file])
        else:  # one number is written, and stands for all
            tensor = tf.make_tensor_proto(0.5, tf.float32, (1, *shape))
        request.inputs[key].CopyFrom(tensor)
    return log
