"""TensorFlow's C API through ctypes: the C++ loader and session that TensorFlow Serving uses.

The library lies in TensorFlow's wheel. No Python of TensorFlow takes part in loading or running.
"""

import ctypes
import pathlib

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

LIBRARY = pathlib.Path(tf.__file__).with_name("libtensorflow_cc.so.2")
FLOAT, STRING, STRING_SIZE = 1, 7, 24  # TF_FLOAT, TF_STRING, sizeof(TF_TString)
OK, INVALID_ARGUMENT, NOT_FOUND = 0, 3, 5


class Buffer(ctypes.Structure):
    """TF_Buffer."""

    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("free", ctypes.c_void_p))


class Output(ctypes.Structure):
    """TF_Output: one output of an operation."""

    _fields_ = (("oper", ctypes.c_void_p), ("index", ctypes.c_int))


class Failed(Exception):
    """A TF_Status that is not OK."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def _library():
    lib = ctypes.CDLL(str(LIBRARY))
    pointers = "NewStatus NewSessionOptions NewGraph LoadSessionFromSavedModel"
    for name in f"{pointers} GraphOperationByName AllocateTensor TensorData".split():
        getattr(lib, f"TF_{name}").restype = ctypes.c_void_p
    lib.TF_Message.restype = ctypes.c_char_p
    lib.TF_Dim.restype = ctypes.c_int64
    lib.TF_StringGetSize.restype = ctypes.c_size_t
    lib.TF_StringGetDataPointer.restype = ctypes.c_void_p
    return lib


class Session:
    """A SavedModel as TensorFlow Serving would hold it."""

    def __init__(self, folder):
        self.lib = lib = _library()
        self.status, self.graph = pointer(lib.TF_NewStatus()), pointer(lib.TF_NewGraph())
        meta_graph, options = Buffer(), pointer(lib.TF_NewSessionOptions())
        tags = (ctypes.c_char_p * 1)(b"serve")
        self.session = pointer(
            lib.TF_LoadSessionFromSavedModel(
                options,
                None,
                str(folder).encode(),
                tags,
                1,
                self.graph,
                ctypes.byref(meta_graph),
                self.status,
            )
        )
        self.check()
        proto = meta_graph_pb2.MetaGraphDef()
        proto.ParseFromString(ctypes.string_at(meta_graph.data, meta_graph.length))
        self.signatures = {k: s for k, s in proto.signature_def.items() if s.method_name}

    def check(self):
        """Raises what the status says."""
        code = self.lib.TF_GetCode(self.status)
        if code != OK:
            raise Failed(code, self.lib.TF_Message(self.status).decode())

    def run(self, signature, **inputs):
        """Feeds {input: array} to a signature; returns {output: array}."""
        infos = self.signatures[signature]
        fetches = sorted(infos.outputs)
        assert inputs.keys() == infos.inputs.keys()
        tensors = [self.tensor(value) for value in inputs.values()]
        results = (ctypes.c_void_p * len(fetches))()
        self.lib.TF_SessionRun(
            self.session,
            None,
            self.outputs(infos.inputs[key].name for key in inputs),
            (ctypes.c_void_p * len(tensors))(*[t.value for t in tensors]),
            len(tensors),
            self.outputs(infos.outputs[key].name for key in fetches),
            results,
            len(fetches),
            None,
            0,
            None,
            self.status,
        )
        self.release(tensors)
        self.check()
        found = {key: self.array(pointer(t)) for key, t in zip(fetches, results, strict=True)}
        self.release(pointer(t) for t in results)
        return found

    def predict(self, request):
        """What a server answers to a `PredictRequest`: {output: array}."""
        inputs = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
        return self.run(request.model_spec.signature_name, **inputs)

    def release(self, tensors):
        """Frees tensors."""
        for tensor in tensors:
            self.lib.TF_DeleteTensor(tensor)

    def outputs(self, names):
        """`"operation:0"`, ... -> an array of TF_Output."""
        found = []
        for name in names:
            operation, _, index = name.partition(":")
            oper = self.lib.TF_GraphOperationByName(self.graph, operation.encode())
            assert oper, f"no operation {operation}"
            found.append(Output(oper, int(index)))
        return (Output * len(found))(*found)

    def tensor(self, array):
        """An array of float32 or of bytes -> TF_Tensor."""
        array = np.asarray(array)
        text = array.dtype.kind in "SO"
        array = array if text else np.ascontiguousarray(array, np.float32)
        dims = (ctypes.c_int64 * array.ndim)(*array.shape)
        size = array.size * STRING_SIZE if text else array.nbytes
        kind = STRING if text else FLOAT
        tensor = pointer(self.lib.TF_AllocateTensor(kind, dims, array.ndim, ctypes.c_size_t(size)))
        data = self.lib.TF_TensorData(tensor)
        if not text:
            ctypes.memmove(data, array.ctypes.data, size)
            return tensor
        for i, value in enumerate(array.ravel()):
            place = ctypes.c_void_p(data + i * STRING_SIZE)
            self.lib.TF_StringInit(place)
            self.lib.TF_StringCopy(place, value, ctypes.c_size_t(len(value)))
        return tensor

    def array(self, tensor):
        """TF_Tensor -> an array of float32 or of bytes."""
        lib = self.lib
        shape = [lib.TF_Dim(tensor, i) for i in range(lib.TF_NumDims(tensor))]
        data, count = lib.TF_TensorData(tensor), int(np.prod(shape))
        if lib.TF_TensorType(tensor) == FLOAT:
            return np.frombuffer(ctypes.string_at(data, count * 4), np.float32).reshape(shape)
        assert lib.TF_TensorType(tensor) == STRING
        places = [ctypes.c_void_p(data + i * STRING_SIZE) for i in range(count)]
        values = np.empty(count, object)
        values[:] = [
            ctypes.string_at(lib.TF_StringGetDataPointer(p), lib.TF_StringGetSize(p))
            for p in places
        ]
        return values.reshape(shape)


def pointer(address):
    """ctypes hands pointers out as numbers, and would pass them on as 32-bit ones."""
    return ctypes.c_void_p(address)
