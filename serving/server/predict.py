"""From a PredictRequest to a PredictResponse, with TF Serving's checks and words."""

from collections.abc import Iterable, Mapping
from typing import Any

from serving import wire
from serving.server.errors import invalid
from serving.server.servable import Servable, SignatureInfo, TensorInfo
from serving.tensors import Plain, TensorError, fill_plain, numpy_dtype, to_plain, type_name


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def check_names(signature: SignatureInfo, given: Iterable[str]) -> None:
    """Refuses a request whose inputs are not exactly those of the signature.

    Raises:
        RequestError: INVALID_ARGUMENT, naming what is missing and what is too many.
    """
    sent, wanted = set(given), signature.inputs.keys()
    if sent == wanted:
        return
    if len(sent) != len(wanted):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({{{_joined(sent)}}}) != "
            f"len({{{_joined(wanted)}}}). Sent extra: {{{_joined(sent - wanted)}}}. "
            f"Missing but required: {{{_joined(wanted - sent)}}}."
        )
    for alias in sorted(sent - wanted):
        raise invalid(
            f"input tensor alias not found in signature: {alias}. "
            f"Inputs expected to be in the set {{{_joined(wanted)}}}."
        )


def check_shape(alias: str, info: TensorInfo, shape: tuple[int, ...]) -> None:
    """Refuses a tensor whose rank or fixed dimensions are not the signature's.

    Raises:
        RequestError: INVALID_ARGUMENT.
    """
    if info.shape is None:
        return
    fits = len(shape) == len(info.shape) and all(
        want is None or want == size for want, size in zip(info.shape, shape, strict=True)
    )
    if not fits:
        wanted = ",".join("?" if size is None else str(size) for size in info.shape)
        raise invalid(
            f"input tensor {alias} has shape {list(shape)}, the signature expects [{wanted}]".replace(" ,", ",")
        )


def check_rows(tensors: Mapping[str, Plain], most: int) -> None:
    """Refuses a request of too many rows: what the model takes for them has no other bound.

    Raises:
        RequestError: INVALID_ARGUMENT.
    """
    for alias, tensor in tensors.items():
        if tensor.shape and tensor.shape[0] > most:
            raise invalid(
                f"input tensor {alias} has {tensor.shape[0]} rows, this server takes {most} a request (--max-rows): "
                "ask in parts"
            )


def output_names(signature: SignatureInfo, wanted: Iterable[str]) -> tuple[str, ...]:
    """The outputs to answer with: the caller's filter, or all.

    Raises:
        RequestError: INVALID_ARGUMENT, an unknown or repeated name.
    """
    names: list[str] = []
    for alias in wanted:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {{{_joined(signature.outputs)}}}."
            )
        if alias in names:
            raise invalid(f"duplicate output tensor alias: {alias}")
        names.append(alias)
    return tuple(names) or signature.outputs


def _tensors(signature: SignatureInfo, inputs: Mapping[str, Any]) -> dict[str, Plain]:
    tensors = {}
    for alias, info in signature.inputs.items():
        proto = inputs[alias]
        if proto.dtype != info.dtype:
            raise invalid(
                f"input tensor {alias} is {type_name(proto.dtype)}, the signature expects {type_name(info.dtype)}"
            )
        try:
            numpy_dtype(info.dtype)
            tensor = to_plain(proto)
        except TensorError as error:
            raise invalid(f"tensor parsing error: {alias}: {error}") from error
        check_shape(alias, info, tensor.shape)
        tensors[alias] = tensor
    return tensors


def predict(loaded: Servable, request: Any, max_rows: int | None = None) -> Any:
    """Answers a ``wire.PredictRequest`` with a ``wire.PredictResponse``.

    Args:
        loaded: the version that is asked.
        request: for it.
        max_rows: most rows of the request; None for any number.

    Raises:
        RequestError: the request does not fit the model or has too many rows, or the model fails.
    """
    signature = loaded.signature(request.model_spec.signature_name)
    check_names(signature, request.inputs)
    names = output_names(signature, request.output_filter)
    tensors = _tensors(signature, request.inputs)
    if max_rows is not None:
        check_rows(tensors, max_rows)
    outputs = loaded.predict(signature, tensors)
    response = wire.PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.signature_name = signature.name
    response.model_spec.version.value = loaded.version
    for name in names:
        fill_plain(response.outputs[name], outputs[name])
    return response
