"""The list of models, and the clients of `tools/`: their requests are TensorFlow Serving's own."""

import base64
import http.server
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import threading
from concurrent import futures

import c_api
import grpc
import numpy as np
import pytest
import tensorflow as tf
from conftest import jpeg, photo, tiny_encoder
from google.protobuf import text_format

from sslzoo import cli, encoders, export, zoo
from sslzoo.commands import serving_config
from sslzoo.errors import UserError

predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
service = pytest.importorskip("tensorflow_serving.apis.prediction_service_pb2_grpc")
config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")

TOOLS = pathlib.Path(__file__).parents[1] / "tools"


def classify(features):
    """A head without weights: softmax over the channels of the last stage."""
    scores = tf.nn.softmax(tf.reduce_mean(features["stage2"], (1, 2)))
    return {"scores": scores, "classes": tf.strings.as_string(scores, 3)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A zoo of an encoder with a head and of one without."""
    root = tmp_path_factory.mktemp("zoo")
    export.save(tiny_encoder(), root / "head", image_size=16, classify=classify)
    export.save(encoders.get("small"), root / "plain", image_size=16)
    return root


# === The list of models ===


def parsed(file):
    config = text_format.Parse(file.read_text(), config_pb2.ModelServerConfig())
    return {model.name: model.base_path for model in config.model_config_list.config}


def test_the_config_names_every_model_and_where_the_server_sees_it(root, monkeypatch):
    monkeypatch.chdir(root.parent)  # the server may be started elsewhere
    serving_config.main(root=root.name)
    names = ["head", "plain"]
    assert parsed(root / "models.config") == {name: str(root / name) for name in names}
    assert [entry.name for entry in zoo.list(root)] == names
    serving_config.main(root=str(root), base_path="/models", output=str(root / "other.config"))
    assert parsed(root / "other.config") == {name: f"/models/{name}" for name in names}


def test_the_config_is_a_command(root, monkeypatch, tmp_path):
    file = tmp_path / "served.config"
    command = ["sslzoo", "serving-config", f"--root={root}", f"--output={file}"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        cli.console()
    assert not ended.value.code
    assert parsed(file).keys() == {"head", "plain"}


def test_the_config_survives_odd_folders():
    path = 'C:\\zoo "of" café\n/rotation'
    config = text_format.Parse(
        serving_config.config({"rotation": path}), config_pb2.ModelServerConfig()
    )
    (model,) = config.model_config_list.config
    assert (model.base_path, model.model_platform) == (path, "tensorflow")


def test_an_empty_zoo_has_no_config(tmp_path):
    with pytest.raises(UserError, match="--root"):
        serving_config.main(root=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


# === The clients, against a stand-in for the server: its protocols around the C++ session ===


class Servicer(service.PredictionServiceServicer):
    """`PredictionService.Predict` of the exports under `root`."""

    def __init__(self, root):
        self.root = root

    def Predict(self, request, context):
        """An answer, or the loader's own status."""
        try:
            outputs = c_api.Session(self.root / request.model_spec.name / "1").predict(request)
        except c_api.Failed as error:
            codes = {code.value[0]: code for code in grpc.StatusCode}
            context.abort(codes[error.code], str(error))
        response = predict_pb2.PredictResponse()
        for name, array in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
        return response


class RestHandler(http.server.BaseHTTPRequestHandler):
    """`POST /v1/models/NAME:predict` in the row format of TensorFlow Serving's REST API."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = re.fullmatch(r"/v1/models/(\w+):predict", self.path).group(1)
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = body["signature_name"]
        for key in body["instances"][0]:
            values = [base64.b64decode(row[key]["b64"], validate=True) for row in body["instances"]]
            request.inputs[key].CopyFrom(tf.make_tensor_proto(values))
        try:
            outputs = c_api.Session(self.server.root / name / "1").predict(request)
            self.answer(200, {"predictions": rows(outputs)})
        except c_api.Failed as error:
            self.answer(400, {"error": str(error)})

    def answer(self, code, value):
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, *args):
        pass


def rows(outputs):
    """{output: (N, ...)} -> N answers: the value where there is one output, else a dict."""
    lists = {
        name: np.char.decode(v.astype("S")) if v.dtype == object else v
        for name, v in outputs.items()
    }
    lists = {name: v.tolist() for name, v in lists.items()}
    if len(lists) == 1:
        return next(iter(lists.values()))
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


@pytest.fixture(scope="module")
def grpc_server(root):
    server = grpc.server(futures.ThreadPoolExecutor(1))
    service.add_PredictionServiceServicer_to_server(Servicer(root), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture(scope="module")
def rest_server(root):
    server = http.server.HTTPServer(("127.0.0.1", 0), RestHandler)
    server.root = root
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


def tool(name):
    """A file of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_rest_client_gets_embeddings_classes_and_errors(root, rest_server):
    client, files = tool("rest_client"), [jpeg(20, 1), jpeg(30, 2)]
    expected = zoo.load("head", root)
    got = client.predict(rest_server, "head", files)
    np.testing.assert_allclose(got, expected.embed_bytes(files)["embedding"], atol=1e-5)
    got = client.predict(rest_server, "head", files, "classify_bytes")
    classes = expected.classify_bytes(files)["classes"].numpy().tolist()
    assert [[c.encode() for c in row["classes"]] for row in got] == classes
    with pytest.raises(RuntimeError, match="JPEG or PNG"):
        client.predict(rest_server, "head", [b"words"])


def test_the_grpc_client_gets_embeddings_large_features_and_errors(root, grpc_server):
    client, files = tool("grpc_client"), [jpeg(20, 1), jpeg(30, 2)]
    expected = zoo.load("plain", root)

    def ask(signature, **inputs):
        return client.predict(grpc_server, client.request("plain", signature, **inputs))

    got = ask("embed_bytes", image_bytes=files)["embedding"]
    np.testing.assert_allclose(got, expected.embed_bytes(files)["embedding"], atol=1e-5)
    images = photo(200)[None]
    got = ask("features", images=images)
    np.testing.assert_allclose(got["stage1"], expected.features(images)["stage1"], atol=1e-5)
    assert got["stage1"].nbytes > 4e6
    with pytest.raises(grpc.RpcError, match="JPEG or PNG") as raised:
        ask("embed_bytes", image_bytes=[b"words"])
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["rest", "grpc"])
def test_the_clients_are_commands(name, request, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(20))
    server = request.getfixturevalue(f"{name}_server")
    command = [sys.executable, TOOLS / f"{name}_client.py", "--server", server, "--model=plain"]
    command.append(tmp_path / "a.jpg")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(done.stdout.replace(",", " ").split()) > 64
