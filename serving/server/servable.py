"""A SavedModel in memory, and how it is asked.

It runs in a v1 session, as TF Serving itself runs it: every version has resources (tables, ScaNN's searchers) of its
own, which ``close`` gives back, and two versions in one process cannot share one by its name.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
import numpy as np

from serving.server import saved_model
from serving.server.errors import RequestError
from serving.server.runtime import tensorflow
from serving.signatures import SERVING_DEFAULT
from serving.tensors import Array

_MAX_MESSAGE: Final = 500
_CALLERS_THREAD: Final = -1
"""TensorFlow's pool of none: a request's ops run in the thread that asks. With one processor nothing can run beside
them, and handing them to another thread takes 40 of 750 microseconds."""
_NODE_NAMES: Final = re.compile(r"\s*(\[\[.*?\]\]|\{\{.*?\}\})", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """Dtype (number of ``tensorflow.DataType``) and shape of one input; None for an open dimension or rank."""

    dtype: int
    shape: tuple[int | None, ...] | None


@dataclasses.dataclass(frozen=True)
class SignatureInfo:
    """Inputs and output names of one signature."""

    name: str
    inputs: Mapping[str, TensorInfo]
    outputs: tuple[str, ...]


def short(error: BaseException | str) -> str:
    """An error in one bounded line, without TensorFlow's node names and stack traces."""
    text = _NODE_NAMES.sub("", str(getattr(error, "message", None) or error))
    lines = [line.strip() for line in text.split("Original stack trace")[0].splitlines() if line.strip()]
    line = " ".join(lines) or type(error).__name__
    return line if len(line) <= _MAX_MESSAGE else f"{line[:_MAX_MESSAGE]}…"


class Servable(Protocol):
    """What the server asks of a version; see `LoadedVersion` for the members."""

    version: int
    signatures: Mapping[str, SignatureInfo]
    signature_def_map: bytes
    metadata: dict[str, Any]

    def signature(self, name: str) -> SignatureInfo:
        """The signature of that name; the default one for the empty name."""
        ...

    def predict(self, signature: SignatureInfo, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs a signature."""
        ...

    def close(self) -> None:
        """Gives the memory back."""
        ...


def find_signature(signatures: Mapping[str, SignatureInfo], name: str) -> SignatureInfo:
    """The signature of that name; the default one for the empty name.

    Raises:
        RequestError: INVALID_ARGUMENT, there is no such signature.
    """
    name = name or SERVING_DEFAULT
    if name not in signatures:
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT, f'Serving signature name: "{name}" not found in signature def'
        )
    return signatures[name]


class LoadedVersion:
    """One version of the model, ready to answer from any thread.

    Attributes:
        version: the number of its directory.
        signatures: by name, without TensorFlow's own init signature.
        signature_def_map: the serialised ``tensorflow.serving.SignatureDefMap``.
        metadata: the same as TF Serving's REST API prints it.
    """

    def __init__(self, version: int, path: Path) -> None:
        """Loads a SavedModel.

        Args:
            version: the number of its directory.
            path: the directory that holds ``saved_model.pb``.

        Raises:
            tf.errors.OpError, OSError, ValueError: whatever TensorFlow finds wrong with it.
        """
        tf = tensorflow()
        self.version = version
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph)
        try:
            meta_graph = saved_model.load(self._session, path)
            definitions = {
                name: definition
                for name, definition in sorted(meta_graph.signature_def.items())
                if name != saved_model.INIT_SIGNATURE
            }
            self.signatures: Mapping[str, SignatureInfo] = {
                name: _signature_info(name, each) for name, each in definitions.items()
            }
            self._callables = {name: self._callable(each) for name, each in definitions.items()}
            self.signature_def_map, self.metadata = _metadata(definitions)
        except BaseException:
            self.close()
            raise

    def _callable(self, definition: Any) -> Any:
        from tensorflow.core.protobuf import config_pb2

        options = config_pb2.CallableOptions(
            run_options=config_pb2.RunOptions(inter_op_thread_pool=_CALLERS_THREAD if _one_processor() else 0),
            feed=[definition.inputs[name].name for name in sorted(definition.inputs)],
            fetch=[definition.outputs[name].name for name in sorted(definition.outputs)],
        )
        # Private, but what `Session.make_callable` is without feeds. With feeds that one is `Session.run` under another
        # name: 0.68 ms against 0.19 ms a call of a small model, a SavedModel function 0.79 ms.
        return self._session._make_callable_from_options(options)

    def signature(self, name: str) -> SignatureInfo:
        """The signature of that name; the default one for the empty name.

        Raises:
            RequestError: INVALID_ARGUMENT, the model has no such signature.
        """
        return find_signature(self.signatures, name)

    def predict(self, signature: SignatureInfo, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs a signature.

        Args:
            signature: one of this version's.
            inputs: an array for every input, of its dtype and rank.

        Returns:
            An array for every output; strings as dtype object.

        Raises:
            RequestError: INVALID_ARGUMENT where the model rejects the inputs, INTERNAL where it fails.
        """
        errors = tensorflow().errors
        try:
            # All outputs, whatever the caller's filter: a session keeps an executor for every set of fetches it saw.
            outputs = self._callables[signature.name](*(inputs[name] for name in sorted(inputs)))
        except errors.InvalidArgumentError as error:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, short(error)) from error
        except errors.ResourceExhaustedError as error:
            raise RequestError(grpc.StatusCode.RESOURCE_EXHAUSTED, short(error)) from error
        except errors.OpError as error:
            raise RequestError(grpc.StatusCode.INTERNAL, f"the model failed: {short(error)}") from error
        return {name: np.asarray(array) for name, array in zip(signature.outputs, outputs, strict=True)}

    def close(self) -> None:
        """Gives the memory back. Not while a ``predict`` runs."""
        self._callables = {}
        self._session.close()


def _one_processor() -> bool:
    return len(os.sched_getaffinity(0)) == 1


def _signature_info(name: str, definition: Any) -> SignatureInfo:
    inputs = {
        alias: TensorInfo(
            info.dtype,
            None
            if info.tensor_shape.unknown_rank
            else tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim),
        )
        for alias, info in sorted(definition.inputs.items())
    }
    return SignatureInfo(name, inputs, tuple(sorted(definition.outputs)))


def _metadata(definitions: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    from google.protobuf import json_format
    from tensorflow_serving.apis import get_model_metadata_pb2

    signature_map = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in definitions.items():
        signature_map.signature_def[name].CopyFrom(definition)
    printed = json_format.MessageToDict(
        signature_map, including_default_value_fields=True, preserving_proto_field_name=True
    )
    return signature_map.SerializeToString(deterministic=True), printed
