"""The client for asyncio: `serving.client.Client` with its methods as coroutines.

async with AsyncClient("127.0.0.1:8500") as client:
    answer = await client.retrieve(["1"], k=10, relevance_weight=0.3)
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar

import grpc
import grpc.aio

from serving import questions, wire
from serving.client import DEFAULT_ADDRESS, DEFAULT_MODEL
from serving.connection import Tls, open_channel
from serving.questions import Question
from serving.results import Answer, Description, Embeddings, ModelVersion
from serving.retry import Retries, Retry
from serving.target import Target
from serving.tensors import Array

T = TypeVar("T")

_ALWAYS: Final = Retry()


class AsyncClient:
    """A connection to one model on one server, for the tasks of one event loop. Make it inside a coroutine."""

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
        """Prepares the connection; args as of `serving.client.Client`.

        Raises:
            UserError: an argument is out of its range, or a file of ``tls`` cannot be read.
        """
        self._target = Target(address, model_name, version, label)
        self._timeout, self._hedge = timeout, hedge_seconds
        self._retries = Retries(retry)
        self._channel: Any = open_channel(address, tls, grpc.aio)
        self._methods = {method: self._channel.unary_unary(method) for method in (wire.PREDICT, wire.GET_MODEL_STATUS)}

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        self._retries.end()
        await self._channel.close()

    async def retrieve(
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
        """What to show after these items: see `serving.client.Client.retrieve`."""
        question = questions.retrieve(item_ids, k, relevance_weight, exclude, allow_categories, deny_categories)
        return await self.ask(question, timeout)

    async def retrieve_by_content(
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
        """What to show after an item of these words: see `serving.client.Client.retrieve_by_content`."""
        question = questions.retrieve_by_content(title, description, categories, content_vector, k, relevance_weight)
        return await self.ask(question, timeout)

    async def describe(self, item_ids: Sequence[str], *, timeout: float | None = None) -> list[Description]:
        """Titles and categories of items: see `serving.client.Client.describe`."""
        return await self.ask(questions.describe(item_ids), timeout) if item_ids else []

    async def embed(self, item_ids: Sequence[str], *, timeout: float | None = None) -> Embeddings:
        """Both heads' vectors of items: see `serving.client.Client.embed`."""
        return await self.ask(questions.embed(item_ids), timeout)

    async def status(self, *, timeout: float | None = None) -> list[ModelVersion]:
        """The model's versions on the server: see `serving.client.Client.status`."""
        request = self._target.status_request()
        return self._target.read_status(await self._call(wire.GET_MODEL_STATUS, request, timeout))

    async def predict(
        self, signature: str, inputs: Mapping[str, Array], *, timeout: float | None = None
    ) -> tuple[dict[str, Array], int]:
        """Asks any signature: see `serving.client.Client.predict`."""
        request = self._target.predict_request(signature, inputs)
        return self._target.read_predict(await self._call(wire.PREDICT, request, timeout))

    async def ask(self, question: Question[T], timeout: float | None = None) -> T:
        """Puts a question of `serving.questions`: see `serving.client.Client.ask`."""
        outputs, version = await self.predict(question.signature, question.inputs, timeout=timeout)
        return self._target.read_answer(question, outputs, version)

    async def _call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """One answer within the deadline, by as many attempts as it takes and `Retry` allows."""
        seconds = self._timeout if timeout is None else timeout
        deadline, attempt = time.monotonic() + seconds, 0
        while True:
            try:
                response = await self._attempt(method, request, self._target.seconds_left(deadline, seconds))
            except grpc.RpcError as error:
                attempt += 1
                wait = self._retries.wait(error, attempt, deadline - time.monotonic())
                if wait is None:
                    raise self._target.error(error, seconds) from error
                await asyncio.sleep(wait)
            else:
                self._retries.answered()
                return response

    async def _attempt(self, method: str, request: bytes, seconds: float) -> bytes:
        call = self._methods[method]
        if self._hedge is None:
            return bytes(await call(request, timeout=seconds))

        async def once(left: float) -> bytes:
            return bytes(await call(request, timeout=left))

        return await self._hedged(once, seconds, self._hedge)

    async def _hedged(self, once: Any, seconds: float, after: float) -> bytes:
        """The first answer of two calls, of which the second begins after a while; its failure alone is none."""
        deadline = time.monotonic() + seconds
        running = {asyncio.create_task(once(seconds))}
        try:
            done, _ = await asyncio.wait(running, timeout=after)
            if not done and self._retries.spend():
                running.add(asyncio.create_task(once(deadline - time.monotonic())))
            while True:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                answered = [task for task in done if task.exception() is None]
                if answered or not running:
                    return bytes((answered or list(done))[0].result())
        finally:
            for task in running:
                task.cancel()
