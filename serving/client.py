"""The client: typed questions to an MTMH model behind any server that speaks TF Serving's gRPC API.

    with Client("127.0.0.1:8500") as client:
        for result in client.retrieve(["1"], k=10, relevance_weight=0.3).results:
            print(result.item_id, result.score, result.source)

It needs no TensorFlow, and lives beside it where a process has both.
"""

import math
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from preprocessing.errors import UserError
from serving import wire
from serving.results import Answer, Description, Embeddings, ModelVersion, first_row, text
from serving.signatures import DESCRIBE, EMBED, MAX_EXCLUSIONS, RETRIEVE, RETRIEVE_BY_CONTENT
from serving.tensors import Array, TensorError, fill, to_array

DEFAULT_ADDRESS: Final = "127.0.0.1:8500"
DEFAULT_MODEL: Final = "mtmh"
_DEFAULT_K: Final = -1
"""The graph reads a negative k as the exported default."""
_MAX_K: Final = 2**31 - 1
_NO_SIGNATURE: Final = ("not found in signature def", "Serving signature key")
"""TF Serving's two ways to say that a model lacks a signature."""


class MissingSignatureError(UserError):
    """The served model has no such signature."""


class Client:
    """A connection to one model on one server; any number of threads may share it."""

    def __init__(self, address: str = DEFAULT_ADDRESS, model_name: str = DEFAULT_MODEL, timeout: float = 5.0) -> None:
        """Prepares the connection; it is made with the first call.

        Args:
            address: ``host:port`` of the gRPC API.
            model_name: the model's name on the server.
            timeout: seconds that a call may take.
        """
        self._address, self._model, self._timeout = address, model_name, timeout
        self._channel: Any = grpc.insecure_channel(
            address,
            options=(
                ("grpc.max_receive_message_length", -1),
                # A proxy from the environment is for the web, not for a model server.
                ("grpc.enable_http_proxy", 0),
            ),
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def retrieve(
        self,
        item_ids: Sequence[str],
        k: int | None = None,
        relevance_weight: float | None = None,
        exclude: Sequence[str] = (),
    ) -> Answer:
        """What to show after these items.

        Args:
            item_ids: triggers, the one that counts most first; unknown ones are ignored, none at all gives popular
                items.
            k: most answers; None for the exported default.
            relevance_weight: the dial, 0 (engagement) to 1 (relevance); None for the exported default.
            exclude: ids that must not be among the answers.

        Raises:
            UserError: the server cannot be reached or refuses, or an argument is out of its range.
        """
        inputs = {
            "item_id": _row(item_ids, "item_ids"),
            "relevance_weight": _weight(relevance_weight),
            "k": _k(k),
            "exclude_id": _row(exclude, "exclude", MAX_EXCLUSIONS),
        }
        return self._answer(RETRIEVE, inputs)

    def retrieve_by_content(
        self,
        title: str = "",
        description: str = "",
        categories: Sequence[str] = (),
        content_vector: Sequence[float] | None = None,
        k: int | None = None,
        relevance_weight: float | None = None,
    ) -> Answer:
        """What to show after an item that the model never saw, from its words.

        Args:
            title: its title.
            description: its description.
            categories: its categories.
            content_vector: the teacher's vector of it, [D]; None for none.
            k: most answers; None for the exported default.
            relevance_weight: the dial, 0 (engagement) to 1 (relevance); None for the exported default.

        Raises:
            UserError: the server cannot be reached or refuses, or an argument is out of its range.
        """
        inputs = {
            "title": _strings([title], "title"),
            "description": _strings([description], "description"),
            "categories": _strings(["|".join(categories)], "categories"),
            # A row of zeros stands for no vector.
            "content_vector": np.array([[0.0] if content_vector is None else content_vector], np.float32),
            "relevance_weight": _weight(relevance_weight),
            "k": _k(k),
        }
        return self._answer(RETRIEVE_BY_CONTENT, inputs)

    def describe(self, item_ids: Sequence[str]) -> list[Description]:
        """Titles and categories of items, in the order asked.

        Raises:
            MissingSignatureError: the model was exported without titles.
            UserError: the server cannot be reached or refuses.
        """
        if not item_ids:
            return []
        outputs, _ = self.predict(DESCRIBE, {"item_id": _strings(item_ids, "item_ids")})
        rows = zip(self._output(outputs, "title"), self._output(outputs, "categories"), strict=True)
        return [
            Description(text(title), tuple(part for part in text(categories).split("|") if part))
            for title, categories in rows
        ]

    def embed(self, item_ids: Sequence[str]) -> Embeddings:
        """Both heads' vectors of items, in the order asked.

        Raises:
            UserError: the server cannot be reached or refuses.
        """
        outputs, _ = self.predict(EMBED, {"item_id": _strings(item_ids, "item_ids")})
        names = ("engagement_trigger", "engagement_candidate", "relevance")
        return Embeddings(*(self._output(outputs, name) for name in names))

    def status(self) -> list[ModelVersion]:
        """The model's versions on the server.

        Raises:
            UserError: the server cannot be reached or does not know the model.
        """
        request = wire.GetModelStatusRequest()
        request.model_spec.name = self._model
        response = self._call(wire.GET_MODEL_STATUS, request, wire.GetModelStatusResponse)
        return [
            ModelVersion(each.version, wire.STATES.get(each.state, "UNKNOWN"), each.status.error_message)
            for each in response.model_version_status
        ]

    def predict(self, signature: str, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], int]:
        """Asks any signature.

        Args:
            signature: its name.
            inputs: an array for every input.

        Returns:
            An array for every output (strings as ``bytes``), and the version that answered.

        Raises:
            MissingSignatureError: the model has no such signature.
            UserError: the server cannot be reached or refuses.
        """
        request = wire.PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            fill(request.inputs[name], array)
        response = self._call(wire.PREDICT, request, wire.PredictResponse)
        try:
            outputs = {name: to_array(tensor) for name, tensor in response.outputs.items()}
        except TensorError as error:
            raise UserError(f"the server at {self._address} sent an answer that cannot be read: {error}") from error
        return outputs, int(response.model_spec.version.value)

    def _answer(self, signature: str, inputs: Mapping[str, Array]) -> Answer:
        outputs, version = self.predict(signature, inputs)
        try:
            return first_row(outputs, version)
        except (KeyError, IndexError, ValueError) as error:
            raise self._not_mtmh(signature) from error

    def _output(self, outputs: Mapping[str, Array], name: str) -> Array:
        if name not in outputs:
            raise self._not_mtmh(name)
        return outputs[name]

    def _not_mtmh(self, what: str) -> UserError:
        return UserError(
            f"model {self._model} at {self._address} does not answer `{what}` as an MTMH model does: was it exported "
            "by `mtmh export`?"
        )

    def _call(self, method: str, request: Any, response: Any) -> Any:
        call = self._channel.unary_unary(method)
        try:
            return response.FromString(call(request.SerializeToString(), timeout=self._timeout))
        except grpc.RpcError as error:
            raise self._user_error(error) from error
        except DecodeError as error:
            raise UserError(f"the server at {self._address} does not speak TF Serving's gRPC API") from error

    def _user_error(self, error: Any) -> UserError:
        code, details = error.code(), error.details() or ""
        if code == grpc.StatusCode.UNAVAILABLE:
            return UserError(
                f"no server is reachable at {self._address}: is `mtmh serve` running there, and is that its gRPC port?"
            )
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return UserError(
                f"the server at {self._address} did not answer within {self._timeout:g} s: try again or allow more"
            )
        if code == grpc.StatusCode.NOT_FOUND:
            return self._unknown_model(dict(error.trailing_metadata() or ()).get(wire.MODELS_KEY, ""), details)
        if any(words in details for words in _NO_SIGNATURE):
            return MissingSignatureError(f"model {self._model} at {self._address}: {details}")
        return UserError(f"the server at {self._address} refused: {details} ({code.name})")

    def _unknown_model(self, served: str, details: str) -> UserError:
        if served == self._model:
            return UserError(f"model {self._model} at {self._address} has no version to answer with yet: {details}")
        hint = f"it serves {served}" if served else "ask with the name that it serves"
        return UserError(f"the server at {self._address} has no model {self._model}: {hint} ({details})")


def _strings(values: Sequence[str], what: str) -> Array:
    if isinstance(values, str):
        raise UserError(f"{what}: expected a list of ids, not the string {values[:80]!r}")
    array = np.empty(len(values), object)
    try:
        # Arguments of a command line that are no UTF-8 come as lone surrogates: send the bytes that they were.
        array[:] = [value.encode(errors="surrogateescape") for value in values]
    except UnicodeEncodeError as error:
        raise UserError(f"{what}: {str(error.object)[:80]!r} is not valid Unicode text") from error
    return array


def _row(values: Sequence[str], what: str, most: int | None = None) -> Array:
    """One row of strings after an empty one: TF Serving pads a batch with a tensor's first element."""
    if most is not None and len(values) >= most:
        raise UserError(f"{what}: {len(values)} ids given, at most {most - 1} are allowed")
    return np.concatenate([_strings([""], what), _strings(values, what)])[None, :]


def _weight(value: float | None) -> Array:
    if value is not None and not 0.0 <= value <= 1.0:
        raise UserError(f"relevance weight {value:g}: expected a number from 0 (engagement) to 1 (relevance)")
    return np.array([math.nan if value is None else value], np.float32)


def _k(value: int | None) -> Array:
    if value is not None and not 0 <= value <= _MAX_K:
        raise UserError(f"k {value}: expected a number from 0 to {_MAX_K}")
    return np.array([_DEFAULT_K if value is None else value], np.int32)
