"""What a client talks to, a model of a server: requests for it, and what is read from its responses."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from preprocessing.errors import UserError
from serving import wire
from serving.client_errors import ServerError, server_error, too_late
from serving.questions import Question
from serving.results import ModelVersion
from serving.tensors import Array, TensorError, fill, to_array

T = TypeVar("T")

_MAX_VERSION: Final = 2**63 - 1
_SHORTEST: Final = 0.001
"""Seconds: what gRPC counts deadlines in."""


@dataclasses.dataclass(frozen=True)
class Target:
    """The model that requests name.

    Attributes:
        address: ``host:port`` of the gRPC API.
        model: the model's name there.
        version: the version that answers; None for the server's choice, the latest.
        label: the label of the version that answers (``stable``, ``canary``); empty for none.
    """

    address: str
    model: str
    version: int | None = None
    label: str = ""

    def __post_init__(self) -> None:
        """Checks that there is one way to say which version, and that there can be one of that number.

        Raises:
            UserError: there are two, or there cannot.
        """
        if self.version is not None and self.label:
            raise UserError(f"ask for version {self.version} or for label {self.label!r}, not for both")
        if self.version is not None and not (
            isinstance(self.version, int | np.integer) and 0 <= self.version <= _MAX_VERSION
        ):
            raise UserError(f"version {self.version}: expected a whole number from 0 to {_MAX_VERSION}")

    def predict_request(self, signature: str, inputs: Mapping[str, Array]) -> bytes:
        """A serialised PredictRequest."""
        request = wire.PredictRequest()
        self._name(request.model_spec)
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            fill(request.inputs[name], array)
        return bytes(request.SerializeToString())

    def status_request(self) -> bytes:
        """A serialised GetModelStatusRequest for all versions."""
        request = wire.GetModelStatusRequest()
        request.model_spec.name = self.model
        return bytes(request.SerializeToString())

    def _name(self, spec: Any) -> None:
        spec.name = self.model
        if self.version is not None:
            spec.version.value = int(self.version)
        if self.label:
            spec.version_label = self.label

    def read_predict(self, data: bytes) -> tuple[dict[str, Array], int]:
        """An array for every output, and the version, of a serialised PredictResponse.

        Raises:
            UserError: it is none.
        """
        response = self._parse(wire.PredictResponse, data)
        try:
            outputs = {name: to_array(tensor) for name, tensor in response.outputs.items()}
        except TensorError as error:
            raise UserError(f"the server at {self.address} sent an answer that cannot be read: {error}") from error
        return outputs, int(response.model_spec.version.value)

    def read_status(self, data: bytes) -> list[ModelVersion]:
        """The versions in a serialised GetModelStatusResponse.

        Raises:
            UserError: it is none.
        """
        return [
            ModelVersion(each.version, wire.STATES.get(each.state, "UNKNOWN"), each.status.error_message)
            for each in self._parse(wire.GetModelStatusResponse, data).model_version_status
        ]

    def read_answer(self, question: Question[T], outputs: Mapping[str, Array], version: int) -> T:
        """The result of a question.

        Raises:
            UserError: the outputs are not an MTMH model's.
        """
        try:
            return question.read(outputs, version)
        except (KeyError, IndexError, ValueError) as error:
            raise UserError(
                f"model {self.model} at {self.address} does not answer `{question.signature}` as an MTMH model does: "
                "was it exported by `mtmh export`?"
            ) from error

    def error(self, error: Any, seconds: float) -> ServerError:
        """What a failed call that had so many seconds means."""
        return server_error(error, self.address, self.model, seconds)

    def seconds_left(self, deadline: float, seconds: float) -> float:
        """Of a call that was given so many seconds, until ``deadline`` on the monotonic clock.

        Raises:
            ServerError: less than a millisecond is left, gRPC's unit: it would round up and sometimes answer.
        """
        left = deadline - time.monotonic()
        if left < _SHORTEST:
            raise too_late(self.address, seconds)
        return left

    def _parse(self, message: Any, data: bytes) -> Any:
        try:
            return message.FromString(data)
        except DecodeError as error:
            raise UserError(f"the server at {self.address} does not speak TF Serving's gRPC API") from error
