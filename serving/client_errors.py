"""What a client raises: the server's status as a `UserError` that names the remedy."""

from typing import Any

import grpc

from preprocessing.errors import UserError
from serving import wire

_NO_SIGNATURE = ("not found in signature def", "Serving signature key")
"""TF Serving's two ways to say that a model lacks a signature."""


class ServerError(UserError):
    """The server could not be reached, was too slow, or refused.

    Attributes:
        code: the gRPC status.
    """

    def __init__(self, message: str, code: grpc.StatusCode) -> None:
        """Args are the message, in one line, and the status."""
        super().__init__(message)
        self.code = code


class MissingSignatureError(ServerError):
    """The served model has no such signature."""


def server_error(error: Any, address: str, model: str, seconds: float) -> ServerError:
    """What a failed call means.

    Args:
        error: the ``grpc.RpcError``, of the blocking or of the asyncio API.
        address: what was called.
        model: the model's name in the request.
        seconds: how long the call was given.
    """
    code, details = error.code(), error.details() or ""
    if code == grpc.StatusCode.NOT_FOUND:
        message = _unknown_model(_trailing(error).get(wire.MODELS_KEY, ""), details, address, model)
    elif code == grpc.StatusCode.UNAVAILABLE:
        # The handshake's own words are the only trace of a wrong certificate.
        tls = f" ({details})" if "SSL" in details or "certificate" in details.lower() else ""
        message = (
            f"no server is reachable at {address}: is `mtmh serve` running there, and is that its gRPC port, with or "
            f"without TLS as here?{tls}"
        )
    elif code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return too_late(address, seconds)
    elif any(words in details for words in _NO_SIGNATURE):
        return MissingSignatureError(f"model {model} at {address}: {details}", code)
    else:
        message = f"the server at {address} refused: {details} ({code.name})"
    return ServerError(message, code)


def too_late(address: str, seconds: float) -> ServerError:
    """A call to an address was not answered in the seconds that it was given."""
    message = f"the server at {address} did not answer within {seconds:g} s: try again or allow more"
    return ServerError(message, grpc.StatusCode.DEADLINE_EXCEEDED)


def _trailing(error: Any) -> dict[str, Any]:
    return {key: value for key, value in error.trailing_metadata() or ()}  # noqa: C416  asyncio's kind is no mapping


def _unknown_model(served: str, details: str, address: str, model: str) -> str:
    if served == model:
        return f"model {model} at {address} has no version to answer with yet: {details}"
    hint = f"it serves {served}" if served else "ask with the name that it serves"
    return f"the server at {address} has no model {model}: {hint} ({details})"
