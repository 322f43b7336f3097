"""A refusal, as a gRPC status and as an HTTP one."""

from typing import Final

import grpc

_HTTP_CODES: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


_MAX_MESSAGE: Final = 2000
"""Bytes: gRPC sends a message as a header, of up to three bytes for one, and callers take 8 KiB of headers."""


class RequestError(Exception):
    """A request that cannot be answered: a gRPC status code and one line for the caller, cut where it is too long."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        text = message.encode(errors="replace")
        if len(text) > _MAX_MESSAGE:
            message = text[:_MAX_MESSAGE].decode(errors="ignore") + "…"
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The HTTP status that TF Serving gives for the same gRPC code."""
        return _HTTP_CODES.get(self.code, 500)


def invalid(message: str) -> RequestError:
    """An INVALID_ARGUMENT."""
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> RequestError:
    """A NOT_FOUND."""
    return RequestError(grpc.StatusCode.NOT_FOUND, message)


def unimplemented(message: str) -> RequestError:
    """An UNIMPLEMENTED."""
    return RequestError(grpc.StatusCode.UNIMPLEMENTED, message)
