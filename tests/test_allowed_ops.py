"""A SavedModel that could do more than compute is not loaded, whoever vouches for it."""

import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import tiny_encoder
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from sslzoo import export, zoo
from sslzoo.errors import UserError
from sslzoo.export import allowed_ops

IMAGES = np.full((1, 8, 8, 3), 0.5, np.float32)
NEVER = """
    ReadFile WriteFile MatchingFiles SaveV2 RestoreV2 MergeV2Checkpoints ShardedFilename PyFunc
    PyFuncStateless EagerPyFunc PrintV2 Print Save Restore ReaderReadV2 TextLineReaderV2
    FixedLengthRecordReaderV2 TFRecordReaderV2 TFRecordDataset TextLineDataset IteratorV2
    InitializeTableFromTextFileV2 HashTableV2 VarHandleOp AssignVariableOp XlaLaunch
    SymbolicGradient RemoteCall Send Recv ImmutableConst WriteImageSummary
    CreateSummaryFileWriter OutfeedEnqueue
"""


def publish(root, name, write):
    """An animal with a right card, whose SavedModel `write(folder)` makes."""
    folder = root / name / "1"
    folder.mkdir(parents=True)
    write(str(folder))
    files = {f"1/{file}": digest for file, digest in export.sha256(folder).items()}
    (root / name / "card.json").write_text(json.dumps({"version": 1, "files": files}))


def module(embed):
    """Writes a SavedModel with one signature, `embed`."""

    def write(folder):
        model = tf.Module()
        model.embed = tf.function(
            embed, input_signature=[tf.TensorSpec((None, None, None, 3), name="images")]
        )
        tf.saved_model.save(model, folder, signatures={"embed": model.embed})

    return write


# === What is good ===


def test_no_operation_of_the_list_leaves_the_process():
    assert not allowed_ops.ALLOWED & {*NEVER.split()}
    known = {name for name in allowed_ops.ALLOWED if op_def_registry.get(name)}
    assert known == allowed_ops.ALLOWED


def test_stateful_operations_of_the_list_are_calls_checks_and_reads():
    stateful = {name for name in allowed_ops.ALLOWED if op_def_registry.get(name).is_stateful}
    calls = {"Assert", "CheckNumerics", "If", "While", "PartitionedCall", "StatefulPartitionedCall"}
    assert stateful <= {*calls, "ReadVariableOp", "Placeholder"}


def test_what_is_left_of_an_export_answers_the_same(tmp_path):
    folder = pathlib.Path(export.save(tiny_encoder(), tmp_path))
    before = tf.saved_model.load(str(folder))
    expected = before.embed(IMAGES)["embedding"]
    export.keep_allowed(folder, "animal")
    assert b"traced_save" not in (folder / "saved_model.pb").read_bytes()
    after = tf.saved_model.load(str(folder))
    assert after.signatures.keys() == before.signatures.keys()
    np.testing.assert_array_equal(after.embed(IMAGES)["embedding"], expected)


def test_variables_and_captured_tensors_are_restored(tmp_path):
    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.shift = tf.Variable(3.0), tf.constant([1.0, 2.0, 3.0])

        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), name="images")])
        def embed(self, images):
            return {"embedding": tf.reduce_mean(images, (1, 2)) * self.scale + self.shift}

    model = Model()
    publish(
        tmp_path, "a", lambda f: tf.saved_model.save(model, f, signatures={"embed": model.embed})
    )
    np.testing.assert_allclose(
        zoo.load("a", tmp_path).embed(IMAGES)["embedding"], [[2.5, 3.5, 4.5]]
    )


# === What is not ===


def written(target):
    def embed(images):
        with tf.control_dependencies([tf.io.write_file(target, "x")]):
            return {"y": tf.identity(images)}

    return embed


def in_a_branch(target):
    def embed(images):
        def write():
            with tf.control_dependencies([tf.io.write_file(target, "x")]):
                return tf.constant(1.0)

        return {"y": tf.cond(tf.reduce_sum(images) > 1, write, lambda: tf.constant(0.0))}

    return embed


def in_a_loop(target):
    def length(image):
        with tf.control_dependencies([tf.io.read_file(target)]):
            return tf.reduce_sum(image)

    return lambda images: {"y": tf.map_fn(length, images)}


def printed(target):
    def embed(images):
        with tf.control_dependencies([tf.print("x", output_stream=f"file://{target}")]):
            return {"y": tf.identity(images)}

    return embed


def python(target):
    return lambda x: {"y": tf.numpy_function(lambda y: y, [x], tf.float32)}


@pytest.mark.parametrize(
    ("make", "operation"),
    [
        (written, "WriteFile"),
        (in_a_branch, "WriteFile"),
        (in_a_loop, "ReadFile"),
        (printed, "PrintV2"),
        (python, "PyFunc"),
    ],
)
def test_what_touches_files_or_python_is_refused(tmp_path, make, operation):
    target = tmp_path / "target"
    publish(tmp_path, "enemy", module(make(str(target))))
    with pytest.raises(UserError, match=f"enemy: expected .*{operation}"):
        zoo.load("enemy", tmp_path)
    assert not target.exists()


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    root = tmp_path_factory.mktemp("zoo")
    export.save(tiny_encoder(), root / "good")
    return root


@pytest.fixture
def edited(good, tmp_path):
    """Function that loads the good animal after `edit(graph)`, under a card that knows of it."""

    def load(edit):
        root = pathlib.Path(shutil.copytree(good, tmp_path / "zoo", symlinks=True))
        path, model = root / "good/1/saved_model.pb", saved_model_pb2.SavedModel()
        model.ParseFromString(path.read_bytes())
        edit(model.meta_graphs[0])
        path.write_bytes(model.SerializeToString())
        card = json.loads((root / "good/card.json").read_text())
        card["files"]["1/saved_model.pb"] = export.digest(path)
        (root / "good/card.json").write_text(json.dumps(card))
        return zoo.load("good", root)

    return load


def function(graph, part):
    return next(f for f in graph.graph_def.library.function if part in f.signature.name)


def add_call(graph, name):
    """A node in `embed` that calls the function `name`."""
    node = function(graph, "__inference_embed_").node_def.add(name="x", op="PartitionedCall")
    node.attr["f"].func.name = name


def test_an_edit_that_changes_nothing_loads(edited):
    assert edited(lambda graph: None).embed(IMAGES)


def test_what_saves_a_model_may_not_be_called(edited):
    with pytest.raises(UserError, match="SaveV2"):
        edited(lambda g: add_call(g, function(g, "traced_save").signature.name))


def test_an_operation_may_not_be_called_as_a_function(edited):
    with pytest.raises(UserError, match="WriteFile"):
        edited(lambda graph: add_call(graph, "WriteFile"))


def test_a_function_in_a_list_is_looked_at_too(edited):
    def edit(graph):
        node = function(graph, "__inference_embed_").node_def.add(name="x", op="NoOp")
        node.attr["f"].list.func.add(name=function(graph, "traced_restore").signature.name)

    with pytest.raises(UserError, match="RestoreV2"):
        edited(edit)


def test_assets_resources_and_registered_classes_are_refused(edited):
    def edit(graph):
        graph.asset_file_def.add(filename="../../secret")
        graph.object_graph_def.nodes.add().resource.SetInParent()
        graph.object_graph_def.nodes[0].registered_name = "Some.Class"

    with pytest.raises(UserError, match=r"secret.*Some\.Class.*resource"):
        edited(edit)


def test_a_model_of_the_first_kind_is_refused(edited):
    with pytest.raises(UserError, match="one graph with objects"):
        edited(lambda graph: graph.ClearField("object_graph_def"))


def test_other_bytes_are_refused(tmp_path):
    noise = b"\xff" * 9
    publish(tmp_path, "noise", lambda f: pathlib.Path(f, "saved_model.pb").write_bytes(noise))
    with pytest.raises(UserError, match=r"saved_model\.pb"):
        zoo.load("noise", tmp_path)


def test_a_painter_is_good(tmp_path):
    x = keras.Input((None, None, 3))
    y = keras.layers.UpSampling2D()(keras.layers.Conv2D(3, 3)(x))
    export.save_image_model(keras.Model(x, y), tmp_path / "painter")
    assert zoo.load("painter", tmp_path).generate(IMAGES)["images"].shape == (1, 12, 12, 3)
