"""TF Serving's JSON forms of predict requests and responses: rows (``instances``) and columns (``inputs``).

https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from serving.server.errors import invalid, unimplemented
from serving.server.predict import check_shape
from serving.server.servable import SignatureInfo, TensorInfo
from serving.tensors import MAX_RANK, Array, Plain, TensorError, numpy_dtype, type_name

_B64: Final = "b64"
_BYTES_SUFFIX: Final = "_bytes"
_SHOWN: Final = 80


def parse_body(body: bytes) -> dict[str, Any]:
    """The request's JSON object.

    Raises:
        RequestError: INVALID_ARGUMENT, the body is no JSON object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body)
    except RecursionError as error:
        raise invalid("JSON Parse error: nested too deeply") from error
    except ValueError as error:
        raise invalid(f"JSON Parse error: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_shown(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature asked for; empty for the default.

    Raises:
        RequestError: INVALID_ARGUMENT, it is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("JSON Value not formatted correctly. 'signature_name' key must be a string value.")
    return name


def is_row_form(document: Mapping[str, Any]) -> bool:
    """Whether the request is in row form.

    Raises:
        RequestError: INVALID_ARGUMENT, it is in none or in both forms.
    """
    rows, columns = "instances" in document, "inputs" in document
    if rows and columns:
        raise invalid("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if not rows and not columns:
        raise invalid("Missing 'inputs' or 'instances' key")
    return rows


def read_rows(document: Mapping[str, Any], signature: SignatureInfo) -> dict[str, Plain]:
    """The inputs of a request in row form: one tensor a name, the rows stacked.

    Raises:
        RequestError: INVALID_ARGUMENT: a name is missing or unknown, a value is of another type, rows differ in shape.
    """
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid("Excepting 'instances' to be an list/array")
    if not rows:
        raise invalid("No values in 'instances' array")
    named = _is_object(rows[0])
    if not named and len(signature.inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            f"tensorinfo_map: {','.join(signature.inputs)}"
        )
    columns: dict[str, list[Any]] = {name: [] for name in signature.inputs}
    for number, row in enumerate(rows):
        if _is_object(row) != named:
            wanted, got = ("object", "list") if named else ("value/list", "object")
            raise invalid(f"Expecting {wanted} but got {got} at item {number} of input list")
        values = row if named else {next(iter(signature.inputs)): row}
        if values.keys() != columns.keys():
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. JSON object: {_shown(row)} "
                f"keys must be equal to: {','.join(signature.inputs)}"
            )
        for name, value in values.items():
            columns[name].append(value)
    return {name: _tensor(name, columns[name], info, rows=True) for name, info in signature.inputs.items()}


def read_columns(document: Mapping[str, Any], signature: SignatureInfo) -> dict[str, Plain]:
    """The inputs of a request in column form.

    Raises:
        RequestError: INVALID_ARGUMENT: a name is missing or unknown, a value is of another type, a list is ragged.
    """
    inputs = document["inputs"]
    if not _is_object(inputs):
        if len(signature.inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                f"tensorinfo_map: {','.join(signature.inputs)}"
            )
        inputs = {next(iter(signature.inputs)): inputs}
    for name in signature.inputs:
        if name not in inputs:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    for name in inputs:
        if name not in signature.inputs:
            raise invalid(f"JSON object: does not have named input: {str(name)[:_SHOWN]}")
    return {name: _tensor(name, inputs[name], info, rows=False) for name, info in signature.inputs.items()}


def write(outputs: Mapping[str, Plain], row_form: bool) -> bytes:
    """The response's JSON.

    A float32 is written with the fewest digits that give it back, NaN and infinities as ``NaN``, ``Infinity``. A
    string is text, unless its name ends in ``_bytes`` or it is not UTF-8: then ``{"b64": ...}``. A single output is
    written without its name.

    Raises:
        RequestError: INVALID_ARGUMENT, row form of outputs whose first dimensions differ.
    """
    columns = {name: _json_values(name, tensor.array()) for name, tensor in outputs.items()}
    single = next(iter(columns)) if len(columns) == 1 else None
    document: dict[str, Any]
    if not row_form:
        document = {"outputs": columns[single] if single else columns}
    else:
        sizes = {name: tensor.shape[0] if tensor.shape else None for name, tensor in outputs.items()}
        if None in sizes.values() or len(set(sizes.values())) != 1:
            raise invalid(f"outputs have no common batch size: {sizes}; ask for them in column form")
        rows = range(next(iter(sizes.values())) or 0)
        document = {
            "predictions": columns[single]
            if single
            else [{name: values[row] for name, values in columns.items()} for row in rows]
        }
    return json.dumps(document, ensure_ascii=False).encode()


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {_B64} and isinstance(value[_B64], str)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except RecursionError:
        return "[…]"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _tensor(name: str, value: Any, info: TensorInfo, *, rows: bool) -> Plain:
    try:
        dtype = numpy_dtype(info.dtype)
    except TensorError as error:
        raise unimplemented(f"input {name}: {error}") from error
    shape: list[int] = []
    probe = value
    while isinstance(probe, list):
        shape.append(len(probe))
        probe = probe[0] if probe else None
    if len(shape) > MAX_RANK:
        raise invalid(f"input {name}: lists are nested {len(shape)} deep, at most {MAX_RANK} levels are possible")
    leaves: list[Any] = []
    _flatten(name, value, 0, shape, info.dtype, leaves, rows)
    array = np.empty(len(leaves), dtype)
    array[:] = leaves
    tensor = Plain.of(array.reshape(shape))
    check_shape(name, info, tensor.shape)
    return tensor


def _flatten(name: str, value: Any, level: int, shape: list[int], dtype: int, leaves: list[Any], rows: bool) -> None:
    if level < len(shape):
        if not isinstance(value, list):
            raise invalid(f"input {name}: JSON Value: {_shown(value)} found where a list of {shape[level]} is expected")
        if len(value) != shape[level]:
            hint = "; rows must have lists of equal length: pad with empty strings" if rows else ""
            raise invalid(
                f"input {name}: Encountered list at unexpected size: {len(value)} at level: {level} "
                f"expected size: {shape[level]}{hint}"
            )
        for each in value:
            _flatten(name, each, level + 1, shape, dtype, leaves, rows)
    elif isinstance(value, list):
        raise invalid(f"input {name}: Encountered list at unexpected level: {level} expected < {len(shape)}")
    else:
        leaves.append(_leaf(name, value, dtype))


def _leaf(name: str, value: Any, dtype: int) -> Any:
    kind = type_name(dtype)
    wrong = f"input {name}: JSON Value: {_shown(value)} is not of expected type: {kind}"
    if kind == "string":
        return _string_leaf(name, value, wrong)
    if kind == "bool":
        fits = isinstance(value, bool)
    elif kind.startswith("int"):
        bound = 1 << (int(kind[3:]) - 1)
        fits = isinstance(value, int) and not isinstance(value, bool) and -bound <= value < bound
    else:
        return _float_leaf(value, kind, wrong)
    if not fits:
        raise invalid(wrong)
    return value


def _string_leaf(name: str, value: Any, wrong: str) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
        if _is_base64(value):
            return base64.b64decode(value[_B64], validate=True)
    except UnicodeEncodeError as error:
        raise invalid(f"input {name}: JSON Value: {_shown(value)} is not valid Unicode") from error
    except (binascii.Error, ValueError) as error:
        raise invalid(f"input {name}: Unable to base64 decode") from error
    raise invalid(wrong)


def _float_leaf(value: Any, kind: str, wrong: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(wrong)
    try:
        number = float(value)
    except OverflowError as error:
        raise invalid(f"{wrong}: it is too large") from error
    if kind == "float32" and math.isfinite(number) and abs(number) > np.finfo(np.float32).max:
        raise invalid(f"{wrong}: it is too large")
    return number


def _json_values(name: str, array: Array) -> Any:
    if array.dtype == np.float32:
        return array.astype(str).astype(np.float64).tolist()
    if array.dtype != object:
        return array.tolist()
    as_bytes = name.endswith(_BYTES_SUFFIX)
    texts = np.empty(array.size, object)
    texts[:] = [_json_string(value, as_bytes) for value in array.ravel()]
    return texts.reshape(array.shape).tolist()


def _json_string(value: bytes, as_bytes: bool) -> Any:
    if not as_bytes:
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return {_B64: base64.b64encode(value).decode()}
