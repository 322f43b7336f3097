"""The client: typed questions to an MTMH model behind any server that speaks TF Serving's gRPC API.

    with Client("127.0.0.1:8500") as client:
        for result in client.retrieve(["1"], k=10, relevance_weight=0.3).results:
            print(result.item_id, result.score, result.source)

`serving.async_client` has the same for asyncio. It needs no TensorFlow, and lives beside it where a process has both.
"""

import queue
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar

import grpc

from serving import questions, wire
from serving.client_errors import MissingSignatureError, ServerError
from serving.connection import Tls, open_channel
from serving.questions import Question
from serving.results import Answer, Description, Embeddings, ModelVersion
from serving.retry import NEVER, Retries, Retry
from serving.target import Target
from serving.tensors import Array

__all__ = [
    "DEFAULT_ADDRESS",
    "DEFAULT_MODEL",
    "NEVER",
    "Client",
    "MissingSignatureError",
    "Retry",
    "ServerError",
    "Tls",
]

T = TypeVar("T")

DEFAULT_ADDRESS: Final = "127.0.0.1:8500"
DEFAULT_MODEL: Final = "mtmh"
_ALWAYS: Final = Retry()


class Client:
    """A connection to one model on one server; any number of threads may share it."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        model_name: str = DEFAULT_MODEL,
        timeout: float = 5.0,
        *,
        tls: Tls | None = None,
        retry: Retry = _ALWAYS,
        hedge_seconds: float | None = None,
        version: int | None = None,
        label: str = "",
    ) -> None:
        """Prepares the connection; it is made with the first call.

        Args:
            address: ``host:port`` of the gRPC API.
            model_name: the model's name on the server.
            timeout: seconds that a call may take, its retries included; each method takes another for one call.
            tls: None for a connection in the clear.
            retry: when a call is made again; `NEVER` for never.
            hedge_seconds: after so long without an answer the same is asked a second time, and what comes first
                counts; None for never. It cuts the slowest answers where several servers stand behind the address, and
                costs them work: choose about the 95th percentile of the latency, or more.
            version: the version to ask; None for the latest.
            label: the label of the version to ask, as ``canary``; TF Serving alone has labels.

        Raises:
            UserError: an argument is out of its range, or a file of ``tls`` cannot be read.
        """
        self._target = Target(address, model_name, version, label)
        self._timeout, self._hedge = timeout, hedge_seconds
        self._retries = Retries(retry)
        self._channel: Any = open_channel(address, tls)
        self._methods = {method: self._channel.unary_unary(method) for method in (wire.PREDICT, wire.GET_MODEL_STATUS)}

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._retries.end()
        self._channel.close()

    def retrieve(
        self,
        item_ids: Sequence[str],
        k: int | None = None,
        relevance_weight: float | None = None,
        exclude: Sequence[str] = (),
        *,
        allow_categories: Sequence[str] = (),
        deny_categories: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Answer:
        """What to show after these items.

        Args:
            item_ids: triggers, the one that counts most first; unknown ones are ignored, none at all gives popular
                items.
            k: most answers; None for the exported default.
            relevance_weight: the dial, 0 (engagement) to 1 (relevance); None for the exported default.
            exclude: ids that must not be among the answers.
            allow_categories: an answer has one of these categories; none given: any will do.
            deny_categories: an answer has none of these.
            timeout: seconds for this call; None for the client's.

        Raises:
            ServerError: the server cannot be reached or refuses.
            UserError: an argument is out of its range.
        """
        question = questions.retrieve(item_ids, k, relevance_weight, exclude, allow_categories, deny_categories)
        return self.ask(question, timeout)

    def retrieve_by_content(
        self,
        title: str = "",
        description: str = "",
        categories: Sequence[str] = (),
        content_vector: Sequence[float] | None = None,
        k: int | None = None,
        relevance_weight: float | None = None,
        *,
        timeout: float | None = None,
    ) -> Answer:
        """What to show after an item that the model never saw, from its words.

        Args:
            title: its title.
            description: its description.
            categories: its categories.
            content_vector: the teacher's vector of it, [D]; None for none.
            k: most answers; None for the exported default.
            relevance_weight: the dial, 0 (engagement) to 1 (relevance); None for the exported default.
            timeout: seconds for this call; None for the client's.

        Raises:
            ServerError: the server cannot be reached or refuses.
            UserError: an argument is out of its range.
        """
        question = questions.retrieve_by_content(title, description, categories, content_vector, k, relevance_weight)
        return self.ask(question, timeout)

    def describe(self, item_ids: Sequence[str], *, timeout: float | None = None) -> list[Description]:
        """Titles and categories of items, in the order asked; empty where the model has none (`export.titles`).

        Raises:
            MissingSignatureError: the model has no such signature.
            ServerError: the server cannot be reached or refuses.
        """
        return self.ask(questions.describe(item_ids), timeout) if item_ids else []

    def embed(self, item_ids: Sequence[str], *, timeout: float | None = None) -> Embeddings:
        """Both heads' vectors of items, in the order asked.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        return self.ask(questions.embed(item_ids), timeout)

    def status(self, *, timeout: float | None = None) -> list[ModelVersion]:
        """The model's versions on the server.

        Raises:
            ServerError: the server cannot be reached or does not know the model.
        """
        return self._target.read_status(self._call(wire.GET_MODEL_STATUS, self._target.status_request(), timeout))

    def predict(
        self, signature: str, inputs: Mapping[str, Array], *, timeout: float | None = None
    ) -> tuple[dict[str, Array], int]:
        """Asks any signature.

        Args:
            signature: its name.
            inputs: an array for every input.
            timeout: seconds for this call; None for the client's.

        Returns:
            An array for every output (strings as ``bytes``), and the version that answered.

        Raises:
            MissingSignatureError: the model has no such signature.
            ServerError: the server cannot be reached or refuses.
        """
        request = self._target.predict_request(signature, inputs)
        return self._target.read_predict(self._call(wire.PREDICT, request, timeout))

    def ask(self, question: Question[T], timeout: float | None = None) -> T:
        """Puts a question of `serving.questions`.

        Raises:
            ServerError: the server cannot be reached or refuses.
            UserError: it does not answer as an MTMH model does.
        """
        outputs, version = self.predict(question.signature, question.inputs, timeout=timeout)
        return self._target.read_answer(question, outputs, version)

    def _call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """One answer within the deadline, by as many attempts as it takes and `Retry` allows."""
        seconds = self._timeout if timeout is None else timeout
        deadline, attempt = time.monotonic() + seconds, 0
        while True:
            try:
                response = self._attempt(method, request, self._target.seconds_left(deadline, seconds))
            except grpc.RpcError as error:
                attempt += 1
                wait = self._retries.wait(error, attempt, deadline - time.monotonic())
                if wait is None:
                    raise self._target.error(error, seconds) from error
                time.sleep(wait)
            else:
                self._retries.answered()
                return response

    def _attempt(self, method: str, request: bytes, seconds: float) -> bytes:
        if self._hedge is None:
            return bytes(self._methods[method](request, timeout=seconds))
        return self._hedged(method, request, seconds, self._hedge)

    def _hedged(self, method: str, request: bytes, seconds: float, after: float) -> bytes:
        """The first answer of two calls, of which the second begins after a while; its failure alone is none."""
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        deadline = time.monotonic() + seconds
        calls = [self._begin(method, request, seconds, ended)]
        try:
            try:
                first = ended.get(timeout=after)
            except queue.Empty:
                if self._retries.spend():
                    calls.append(self._begin(method, request, deadline - time.monotonic(), ended))
                first = ended.get()
            if first.code() != grpc.StatusCode.OK and len(calls) > 1:
                first = ended.get()
            return bytes(first.result())
        finally:
            for call in calls:
                call.cancel()

    def _begin(self, method: str, request: bytes, seconds: float, ended: "queue.SimpleQueue[Any]") -> Any:
        call = self._methods[method].future(request, timeout=seconds)
        call.add_done_callback(ended.put)
        return call
