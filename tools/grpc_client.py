"""Asks a TensorFlow Serving about image files over gRPC; pip install -e '.[serving]'.

    python tools/grpc_client.py --model=rotation photo.jpg other.png
    python tools/grpc_client.py --model=flowers --signature=classify_bytes photo.jpg

Prints each output, one row per file. With `images` (N, H, W, 3) float32 in [0, 1] as the input, the
same request goes to `embed`, `features` or `classify`.
"""

import argparse
import pathlib
import sys

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def request(model, signature, **inputs):
    """A `PredictRequest` of {input: array}."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name = model
    message.model_spec.signature_name = signature
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


def predict(server, message):
    """{output: array}. Errors of the server come as `grpc.RpcError`."""
    limits = [("grpc.max_receive_message_length", -1)]  # feature maps pass the usual 4 MB
    with grpc.insecure_channel(server, limits) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(message, timeout=60)
    return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=pathlib.Path, help="JPEG or PNG")
    parser.add_argument("--server", default="localhost:8500", help="host:port of --port")
    parser.add_argument("--model", required=True)
    parser.add_argument("--signature", default="embed_bytes")
    options = parser.parse_args()
    try:
        files = [file.read_bytes() for file in options.files]
        message = request(options.model, options.signature, image_bytes=files)
        answer = predict(options.server, message)
    except OSError as error:
        sys.exit(f"error: {error}")
    except grpc.RpcError as error:
        sys.exit(f"error: {options.server}: {error.code().name}: {error.details()}")
    for name, rows in answer.items():
        for file, row in zip(options.files, rows, strict=True):
            print(file, name, row)


if __name__ == "__main__":
    main()
