"""What a SavedModel may do: the operations that exports need, and no others.

The file is read as the protocol buffer that it is, without TensorFlow's loader, and rewritten:
what Python never calls (the V1 graph, with the functions that save and restore it) is dropped,
and every operation of what is left is compared with a list. None of the list touches files, the
network, Python or the state of the machine.
"""

import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from sslzoo.errors import UserError

OBJECTS = {
    *("function", "bare_concrete_function", "variable", "captured_tensor", "constant"),
    *("_generic_user_object", "signature_map", "trackable_list_wrapper"),
    *("trackable_dict_wrapper", "trackable_tuple_wrapper"),
}
CALLS = "PartitionedCall StatefulPartitionedCall If StatelessIf While StatelessWhile Assert NoOp"
VALUES = """
    Placeholder Const Identity IdentityN StopGradient PreventGradient EnsureShape Cast Bitcast
    ReadVariableOp ZerosLike OnesLike Fill Range LinSpace Shape ShapeN Size Rank
"""
SHAPES = """
    Reshape Squeeze ExpandDims Transpose ConcatV2 Pack Unpack Split SplitV Slice StridedSlice
    Gather GatherV2 GatherNd Tile BroadcastTo BroadcastArgs Pad PadV2 MirrorPad ReverseV2 Roll
    SpaceToBatchND BatchToSpaceND SpaceToDepth DepthToSpace MatrixBandPart OneHot Where Select
    SelectV2 ScatterNd TensorScatterUpdate InvertPermutation TopKV2 ArgMax ArgMin
"""
LISTS = """
    TensorListFromTensor TensorListGetItem TensorListReserve TensorListSetItem TensorListStack
    TensorListLength TensorListElementShape EmptyTensorList TensorListPushBack
"""
NUMBERS = """
    Abs Add AddN AddV2 Sub Mul MulNoNan Div DivNoNan RealDiv FloorDiv FloorMod Neg Sign Square
    SquaredDifference Sqrt Rsqrt Reciprocal Inv Pow Exp Expm1 Log Log1p Sin Cos Tan Asin Acos Atan
    Atan2 Sinh Cosh Tanh Erf Erfc Floor Ceil Round Rint Maximum Minimum ClipByValue IsFinite IsNan
    IsInf Equal NotEqual Less LessEqual Greater GreaterEqual LogicalAnd LogicalOr LogicalNot All Any
    Max Min Mean Prod Sum Cumsum Cumprod L2Loss EuclideanNorm SegmentSum UnsortedSegmentSum
    CheckNumerics DenseBincount
"""
NETWORKS = """
    Conv2D Conv2DBackpropInput DepthwiseConv2dNative BiasAdd MatMul BatchMatMulV2 BatchMatMulV3
    Einsum AvgPool MaxPool FusedBatchNormV3 LRN Relu Relu6 LeakyRelu Elu Selu Sigmoid Softplus
    Softsign Softmax LogSoftmax
"""
IMAGES = """
    DecodeJpeg DecodePng DecodeImage DecodeRaw EncodePng EncodeJpeg ExtractJpegShape
    ScaleAndTranslate ResizeBilinear ResizeBicubic ResizeNearestNeighbor ResizeArea CropAndResize
    RGBToHSV HSVToRGB AdjustContrastv2 ExtractImagePatches
"""
STRINGS = """
    AsString StaticRegexFullMatch StringJoin StringLength StringFormat StringSplitV2 Substr
"""
ALLOWED = {*" ".join([CALLS, VALUES, SHAPES, LISTS, NUMBERS, NETWORKS, IMAGES, STRINGS]).split()}


def keep_allowed(folder: pathlib.Path | str, name: str) -> None:
    """Rewrites `folder`/saved_model.pb so that only what Python may call is in it.

    Args:
        folder: of a SavedModel that nobody else can change.
        name: of the entry, for messages.

    Raises:
        UserError: it is no SavedModel as `sslzoo.export` writes them, or has other operations.
    """
    path, model = pathlib.Path(folder, "saved_model.pb"), saved_model_pb2.SavedModel()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise UserError(f"{name}: expected a saved_model.pb. Received: other bytes") from None
    if len(model.meta_graphs) != 1 or not model.meta_graphs[0].HasField("object_graph_def"):
        raise UserError(f"{name}: expected one graph with objects, as sslzoo exports it")
    graph = model.meta_graphs[0]
    refused = {*_strange(graph.object_graph_def), *(f.filename for f in graph.asset_file_def)}
    library = graph.graph_def.library
    called = _called(library, graph.object_graph_def.concrete_functions)
    _keep(library.function, lambda function: function.signature.name in called)
    refused.update(called - {function.signature.name for function in library.function})
    refused.update({node.op for f in library.function for node in f.node_def} - ALLOWED)
    if refused:
        raise UserError(
            f"{name}: expected only what exports need, see sslzoo/export/allowed_ops.py. "
            f"Received: {', '.join(map(ascii, sorted(refused))):.300}"
        )
    for field in ("gradient", "registered_gradients"):
        library.ClearField(field)
    for field in ("saver_def", "collection_def"):
        graph.ClearField(field)
    _keep(graph.graph_def.node, lambda node: node.op == "Const")  # objects may name them
    path.write_bytes(model.SerializeToString())


def _strange(objects: Any) -> Iterator[str]:
    """What is in an object graph and in no export's."""
    for node in objects.nodes:
        kind = node.WhichOneof("kind")
        if kind == "user_object":
            kind = node.user_object.identifier
        if kind not in OBJECTS:
            yield str(kind)
        yield from {node.registered_name, node.registered_saver} - {"", "tf.TrackableConstant"}


def _called(library: Any, roots: Iterable[str]) -> set[str]:
    """Names of the functions that Python can call, and of those that they call."""
    functions = {function.signature.name: function for function in library.function}
    called: set[str] = set()
    waiting = [*roots]
    while waiting:
        name = waiting.pop()
        if name not in called:
            called.add(name)
            if name in functions:
                function = functions[name]
                waiting += _named(function.attr)
                waiting += [f for node in function.node_def for f in _named(node.attr)]
    return called


def _named(attributes: Any) -> Iterator[str]:
    """Names of the functions that attributes hold, at any depth."""
    for value in attributes.values():
        for function in [*([value.func] if value.HasField("func") else []), *value.list.func]:
            yield function.name
            yield from _named(function.attr)


def _keep(messages: Any, wanted: Callable[[Any], bool]) -> None:
    """Drops from a repeated field, in place, what is not wanted."""
    for i in reversed(range(len(messages))):
        if not wanted(messages[i]):
            del messages[i]
