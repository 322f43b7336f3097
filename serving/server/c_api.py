"""TensorFlow without its Python: as much of the C API (``tensorflow/c/c_api.h``) as a model server needs.

The library that ``import tensorflow`` brings in loads a SavedModel as TF Serving does, without the seconds and the
third of a million Python objects of that import, and none of its work holds the interpreter's lock.
"""

import ctypes
import functools
import importlib.util
import logging
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from preprocessing.environment import set_defaults
from preprocessing.native_log import without_import_chatter

_log = logging.getLogger("mtmh.serving")

INVALID_ARGUMENT: Final = 3
RESOURCE_EXHAUSTED: Final = 8

_LIBRARY: Final = "libtensorflow_cc.so.2"
_SCANN_OPS: Final = Path("scann_ops", "cc", "_scann_ops.so")


class ModelError(Exception):
    """What TensorFlow says is wrong with a model or a request.

    Attributes:
        code: a number of ``tensorflow.error.Code``.
        message: TensorFlow's words.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Buffer(ctypes.Structure):
    """A TF_Buffer."""

    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("release", ctypes.c_void_p))


class Output(ctypes.Structure):
    """A TF_Output: a tensor of a graph."""

    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


RELEASE: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
"""What TensorFlow calls with a tensor's memory and its length once it has done with it."""
_POINTER, _SIZE, _INT, _TEXT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_char_p
_OUTPUTS, _TENSORS = ctypes.POINTER(Output), ctypes.POINTER(ctypes.c_void_p)
_DIMS, _BUFFER = ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(Buffer)

# The result, then the arguments. What takes long gives the interpreter's lock back meanwhile.
_LONG: Final[dict[str, tuple[Any, ...]]] = {
    "TF_LoadLibrary": (_POINTER, _TEXT, _POINTER),
    "TF_LoadSessionFromSavedModel": (
        *(_POINTER, _POINTER, _BUFFER, _TEXT, ctypes.POINTER(_TEXT), _INT, _POINTER, _BUFFER, _POINTER),
    ),
    "TF_SessionRun": (
        *(None, _POINTER, _BUFFER, _OUTPUTS, _TENSORS, _INT, _OUTPUTS, _TENSORS, _INT),
        *(_TENSORS, _INT, _BUFFER, _POINTER),
    ),
    "TF_CloseSession": (None, _POINTER, _POINTER),
    "TF_DeleteSession": (None, _POINTER, _POINTER),
    "TF_DeleteGraph": (None, _POINTER),
}
_SHORT: Final[dict[str, tuple[Any, ...]]] = {
    "TF_NewStatus": (_POINTER,),
    "TF_DeleteStatus": (None, _POINTER),
    "TF_GetCode": (_INT, _POINTER),
    "TF_Message": (_TEXT, _POINTER),
    "TF_NewBuffer": (_BUFFER,),
    "TF_NewBufferFromString": (_BUFFER, _TEXT, _SIZE),
    "TF_DeleteBuffer": (None, _BUFFER),
    "TF_NewSessionOptions": (_POINTER,),
    "TF_SetConfig": (None, _POINTER, _TEXT, _SIZE, _POINTER),
    "TF_DeleteSessionOptions": (None, _POINTER),
    "TF_NewGraph": (_POINTER,),
    "TF_GraphOperationByName": (_POINTER, _POINTER, _TEXT),
    "TF_AllocateTensor": (_POINTER, _INT, _DIMS, _INT, _SIZE),
    "TF_NewTensor": (_POINTER, _INT, _DIMS, _INT, _POINTER, _SIZE, RELEASE, _POINTER),
    "TF_DeleteTensor": (None, _POINTER),
    "TF_OperationOutputType": (_INT, Output),
    "TF_NumDims": (_INT, _POINTER),
    "TF_Dim": (ctypes.c_int64, _POINTER, _INT),
    "TF_TensorData": (_POINTER, _POINTER),
    "TF_StringCopy": (None, _POINTER, _TEXT, _SIZE),
    "TF_StringDealloc": (None, _POINTER),
    "TF_StringGetDataPointer": (_POINTER, _POINTER),
    "TF_StringGetSize": (_SIZE, _POINTER),
}

_lock = threading.Lock()


def library() -> Any:
    """TensorFlow's C API, with ScaNN's ops: the functions by their names. The first call takes a fifth of a second.

    Raises:
        OSError: TensorFlow is not installed, or is another than the lock's.
    """
    with _lock:
        return _library()


@functools.cache
def _library() -> Any:
    set_defaults()
    path = _package("tensorflow") / _LIBRARY
    if not path.is_file():
        raise OSError(f"{path} does not exist: expected TensorFlow as requirements.lock has it")
    with without_import_chatter():
        unlocked, locked = ctypes.CDLL(str(path)), ctypes.PyDLL(str(path))
        functions = SimpleNamespace()
        for source, prototypes in ((unlocked, _LONG), (locked, _SHORT)):
            for name, (result, *arguments) in prototypes.items():
                function = getattr(source, name)
                function.restype, function.argtypes = result, arguments
                setattr(functions, name, function)
        scann = importlib.util.find_spec("scann")
        if scann is None:
            _log.warning("scann is not installed: only models of the stock flavour can be loaded")
        else:
            with Status(functions) as status:
                functions.TF_LoadLibrary(str(_package("scann") / _SCANN_OPS).encode(), status.pointer)
    return functions


def _package(name: str) -> Path:
    """The directory of a package, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise OSError(f"{name} is not installed: expected it as requirements.lock has it")
    return Path(spec.origin).parent


class Status:
    """A TF_Status; leaving the block raises what it says."""

    def __init__(self, functions: Any) -> None:
        self._functions = functions
        self.pointer = functions.TF_NewStatus()

    def __enter__(self) -> "Status":
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        code = self._functions.TF_GetCode(self.pointer)
        message = self._functions.TF_Message(self.pointer).decode("utf-8", "replace") if code else ""
        self._functions.TF_DeleteStatus(self.pointer)
        if code and kind is None:
            raise ModelError(code, message)
