"""A SavedModel in memory, and how it is asked.

It is loaded and run as TF Serving does both: every version is a session with resources (tables, ScaNN's searchers) of
its own, which ``close`` gives back, and two versions in one process cannot share one by its name.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
from google.protobuf import json_format

from serving import wire
from serving.server.c_api import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, ModelError
from serving.server.errors import RequestError
from serving.server.session import Call, Session
from serving.signatures import SERVING_DEFAULT
from serving.tensors import Array, Plain

_MAX_MESSAGE: Final = 500
_TAG: Final = "serve"
_INIT_SIGNATURE: Final = "__saved_model_init_op"
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

    def predict(self, signature: SignatureInfo, inputs: Mapping[str, Plain]) -> dict[str, Plain]:
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
            ModelError: whatever TensorFlow finds wrong with it.
            OSError: TensorFlow's library cannot be used.
        """
        self.version = version
        self._session = Session(path, _TAG)
        try:
            every = wire.MetaGraphDef.FromString(self._session.meta_graph).signature_def
            definitions = {name: every[name] for name in sorted(every) if name != _INIT_SIGNATURE}
            self.signatures: Mapping[str, SignatureInfo] = {
                name: _signature_info(name, each) for name, each in definitions.items()
            }
            self._calls = {name: self._call(each) for name, each in definitions.items()}
            self.signature_def_map, self.metadata = _metadata(definitions)
        except BaseException:
            self.close()
            raise

    def _call(self, definition: Any) -> Call:
        feeds, fetches = (
            [each[name].name for name in sorted(each)] for each in (definition.inputs, definition.outputs)
        )
        # All outputs, whatever a caller's filter: a session keeps an executor for every set of fetches that it saw.
        return Call(self._session, feeds, fetches)

    def signature(self, name: str) -> SignatureInfo:
        """The signature of that name; the default one for the empty name.

        Raises:
            RequestError: INVALID_ARGUMENT, the model has no such signature.
        """
        return find_signature(self.signatures, name)

    def predict(self, signature: SignatureInfo, inputs: Mapping[str, Plain]) -> dict[str, Plain]:
        """Runs a signature.

        Args:
            signature: one of this version's.
            inputs: a tensor for every input, of its type and rank.

        Returns:
            A tensor for every output.

        Raises:
            RequestError: INVALID_ARGUMENT where the model rejects the inputs, INTERNAL where it fails.
        """
        try:
            outputs = self._calls[signature.name]([inputs[name] for name in signature.inputs])
        except ModelError as error:
            if error.code == INVALID_ARGUMENT:
                raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, short(error)) from error
            if error.code == RESOURCE_EXHAUSTED:
                raise RequestError(grpc.StatusCode.RESOURCE_EXHAUSTED, short(error)) from error
            raise RequestError(grpc.StatusCode.INTERNAL, f"the model failed: {short(error)}") from error
        return dict(zip(signature.outputs, outputs, strict=True))

    def ask(self, name: str, /, **inputs: Array) -> dict[str, Array]:
        """`predict` by a signature's name, with arrays."""
        tensors = {key: Plain.of(array) for key, array in inputs.items()}
        return {key: each.array() for key, each in self.predict(self.signature(name), tensors).items()}

    def close(self) -> None:
        """Gives the memory back. Not while a ``predict`` runs."""
        self._calls = {}
        self._session.close()


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
    signature_map = wire.SignatureDefMap()
    for name, definition in definitions.items():
        signature_map.signature_def[name].CopyFrom(definition)
    printed = json_format.MessageToDict(
        signature_map, including_default_value_fields=True, preserving_proto_field_name=True
    )
    return signature_map.SerializeToString(deterministic=True), printed
