"""The REST API, as TensorFlow Serving documents it."""

import base64
import http.client
import json
import math
import socket
import time
import urllib.parse

import numpy as np
import pytest
from hypothesis import given, strategies as st

from serving.server import rest_json
from serving.server.errors import RequestError
from serving.server.servable import SignatureInfo, TensorInfo
from serving.signatures import SIGNATURES
from serving.tensors import Plain

ROW = {"item_id": ["", "item3"], "relevance_weight": 0.3, "k": 2, "exclude_id": [""]}


@pytest.fixture(scope="module")
def ask(server):
    """A function (path, body or None, method) -> (status, JSON document)."""
    host = urllib.parse.urlsplit(server.rest).netloc

    def ask(path, body=None, method=None):
        connection = http.client.HTTPConnection(host, timeout=10)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method or ("GET" if body is None else "POST"), path, data)
        response = connection.getresponse()
        assert response.getheader("Content-Type") == "application/json"
        return response.status, json.loads(response.read())

    return ask


def predict(ask, body, path="/v1/models/mtmh:predict"):
    status, document = ask(path, body)
    assert status == 200, document
    return document


def test_row_form(ask):
    document = predict(ask, {"signature_name": "retrieve", "instances": [ROW, {**ROW, "k": 1}]})
    first, second = document["predictions"]
    assert first["item_id"] == ["item2", "item4"]
    assert first["score"] == [0.99, 0.99]
    assert first["count"] == 2
    assert (second["count"], second["item_id"]) == (1, ["item2", ""])


def test_column_form(ask):
    columns = {name: [value] for name, value in ROW.items()}
    document = predict(ask, {"signature_name": "retrieve", "inputs": columns})
    assert document["outputs"]["item_id"] == [["item2", "item4"]]
    assert document["outputs"]["count"] == [2]


def test_single_input_takes_bare_values(ask):
    named = predict(ask, {"instances": [{"item_id": "item3"}]})
    assert predict(ask, {"instances": ["item3"]}) == named
    assert predict(ask, {"inputs": ["item3"]})["outputs"]["item_id"] == [named["predictions"][0]["item_id"]]
    assert predict(ask, {"inputs": {"item_id": ["item3"]}}) == predict(ask, {"inputs": ["item3"]})
    encoded = {"b64": base64.b64encode(b"item3").decode()}
    assert predict(ask, {"instances": [encoded]}) == named
    assert predict(ask, {"instances": [{"item_id": encoded}]}) == named


def test_text_is_unicode(ask):
    document = predict(ask, {"signature_name": "describe", "instances": ["item3", "nobody"]})
    assert [each["title"] for each in document["predictions"]] == ["Title 3 é", ""]


def test_nan_is_read(ask):
    body = json.dumps({"signature_name": "retrieve", "instances": [{**ROW, "relevance_weight": math.nan}]})
    assert b"NaN" in body.encode()
    assert predict(ask, body.encode())["predictions"][0]["count"] == 2


def test_specific_version(ask):
    assert predict(ask, {"instances": ["item3"]}, "/v1/models/mtmh/versions/1:predict")
    status, document = ask("/v1/models/mtmh/versions/2:predict", {"instances": ["item3"]})
    assert (status, document) == (404, {"error": "Servable not found for request: Specific(mtmh, 2)"})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error"),
        (b"{", "JSON Parse error"),
        (b"\xff\xfe{", "JSON Parse error"),
        (b"[" * 100_000, "JSON Parse error"),
        (b'{"instances": [' + b"9" * 5000 + b"]}", ""),
        (b"[1]", "Is not object"),
        ({"signature_name": "retrieve"}, "Missing 'inputs' or 'instances' key"),
        ({"instances": ["a"], "inputs": ["a"]}, "only one of 'inputs' or 'instances'"),
        ({"signature_name": 3, "instances": ["a"]}, "'signature_name' key must be a string"),
        ({"signature_name": "x", "instances": ["a"]}, 'Serving signature name: "x" not found in signature def'),
        ({"instances": []}, "No values in 'instances'"),
        ({"instances": "a"}, "to be an list/array"),
        ({"instances": [["a"], ["a", "b"]]}, "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ({"instances": [{"item_id": "a"}, "b"]}, "Expecting object but got list at item 1"),
        ({"instances": ["a", {"item_id": "a"}]}, "Expecting value/list but got object at item 1"),
        ({"instances": [3]}, "is not of expected type: string"),
        ({"instances": [None]}, "is not of expected type: string"),
        ({"instances": [{"b64": "%%%"}]}, "Unable to base64 decode"),
        ({"instances": [["a"]]}, "has shape [1, 1], the signature expects [?]"),
        ({"instances": ["a"] * 4097}, "input tensor item_id has 4097 rows, this server takes 4096 a request"),
        ({"signature_name": "retrieve", "instances": ["a"]}, "instances is a plain list"),
        ({"signature_name": "retrieve", "inputs": ["a"]}, "inputs is a plain value/list"),
        ({"signature_name": "retrieve", "instances": [{"item_id": ["a"]}]}, "must be equal to: exclude_id,item_id,k"),
        ({"signature_name": "retrieve", "instances": [{**ROW, "x": 1}]}, "keys must be equal to"),
        ({"signature_name": "retrieve", "inputs": {"item_id": [["a"]]}}, "Missing named input: exclude_id"),
        ({"signature_name": "retrieve", "instances": [ROW, {**ROW, "item_id": ["a"]}]}, "must have lists of equal"),
        ({"signature_name": "retrieve", "instances": [{**ROW, "k": 1.5}]}, "is not of expected type: int32"),
        ({"signature_name": "retrieve", "instances": [{**ROW, "k": 2**31}]}, "is not of expected type: int32"),
        ({"signature_name": "retrieve", "instances": [{**ROW, "k": True}]}, "is not of expected type: int32"),
        ({"signature_name": "retrieve", "instances": [{**ROW, "relevance_weight": 1e300}]}, "it is too large"),
        ({"signature_name": "retrieve", "instances": [{**ROW, "relevance_weight": "1"}]}, "expected type: float32"),
        ({"signature_name": "retrieve", "instances": [{**ROW, "exclude_id": ["x"] * 20}]}, "too many exclusions"),
    ],
)  # fmt: skip
def test_wrong_bodies(ask, body, message):
    status, document = ask("/v1/models/mtmh:predict", body)
    assert status == 400
    assert message in document["error"]
    assert len(document["error"]) < 1000


@pytest.mark.parametrize("form", [b"%b", b'{"instances": %b}', b'{"inputs": %b}', b'{"instances": [{"item_id": %b}]}'])
def test_deep_lists_are_refused(ask, form):
    """What Python can parse is not yet what it can print, or numpy hold."""
    for depth in (33, 40, 500, *range(880, 1000, 4)):
        status, document = ask("/v1/models/mtmh:predict", form % (b"[" * depth + b"]" * depth))
        assert (depth, status) == (depth, 400)
        assert "see the server's log" not in document["error"]


@pytest.mark.parametrize("header", ["Content-Encoding: gzip", "Content-Encoding: deflate"])
def test_a_body_that_is_not_in_its_encoding_is_refused(server, header):
    host, port = urllib.parse.urlsplit(server.rest).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"POST /v1/models/mtmh:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n{header}\r\n\r\n"
        connection.sendall(head.encode())
        time.sleep(0.3)  # the head alone is parsed, and the request begun
        connection.sendall(b"x" * 20)
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 400
        assert "the body cannot be read" in json.loads(response.read())["error"]


def test_lone_surrogates_are_refused(ask):
    status, document = ask("/v1/models/mtmh:predict", b'{"instances": ["\\ud800"]}')
    assert status == 400
    assert "not valid Unicode" in document["error"]


def test_unknown_model(ask):
    expected = 404, {"error": "Servable not found for request: Latest(x)"}
    assert ask("/v1/models/x:predict", {"instances": ["a"]}) == expected
    assert ask("/v1/models/x/metadata") == expected
    assert ask("/v1/models/x") == (404, {"error": "Could not find any versions of model x"})


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/", 400),
        ("GET", "/v1/models", 400),
        ("GET", "/v1/models/mtmh:predict", 400),
        ("POST", "/v1/models/mtmh", 400),
        ("PUT", "/v1/models/mtmh", 400),
        ("POST", "/v1/models/mtmh:classify", 501),
        ("POST", "/v1/models/mtmh/labels/canary:predict", 400),
        ("GET", f"/v1/models/mtmh/versions/{10**30}", 400),
        ("GET", f"/v1/models/mtmh/versions/{'9' * 5000}", 400),
        ("GET", "/v1/models/mtmh/%00", 400),
    ],
)
def test_wrong_paths(ask, method, path, code):
    status, document = ask(path, b"{}" if method != "GET" else None, method)
    assert status == code
    assert document["error"]


def test_status(ask):
    expected = {
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    assert ask("/v1/models/mtmh") == (200, expected)
    assert ask("/v1/models/mtmh/versions/1") == (200, expected)
    assert ask("/V1/Models/mtmh") == (200, expected)
    assert ask("/v1/models/mtmh/versions/2") == (404, {"error": "Could not find version 2 of model mtmh"})


def test_metadata(ask):
    status, document = ask("/v1/models/mtmh/metadata")
    assert status == 200
    assert document["model_spec"] == {"name": "mtmh", "signature_name": "", "version": "1"}
    signatures = document["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == set(SIGNATURES)
    k = signatures["retrieve"]["inputs"]["k"]
    assert k["dtype"] == "DT_INT32"
    assert [dim["size"] for dim in k["tensor_shape"]["dim"]] == ["-1"]


def test_oversize(ask):
    status, document = ask("/v1/models/mtmh:predict", b"x" * (2 << 20))
    assert status == 413
    assert "too large" in document["error"]


def test_not_http(server, ask):
    host, port = urllib.parse.urlsplit(server.rest).netloc.split(":")
    for garbage in (
        b"\x16\x03\x01\x02\x00",
        b"GET",
        b"POST /v1/models/mtmh:predict HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
    ):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(garbage)
    assert ask("/v1/models/mtmh")[0] == 200


def _write(array, name="x", rows=False):
    return json.loads(rest_json.write({name: Plain.of(array)}, rows))["predictions" if rows else "outputs"]


@given(st.lists(st.floats(width=32), min_size=1))
def test_floats_come_back_as_they_were(values):
    array = np.array(values, np.float32)
    read = np.array(_write(array), np.float32)
    np.testing.assert_array_equal(read, array)


def test_floats_have_no_noise_digits():
    assert rest_json.write({"x": Plain.of(np.array([0.2, 1, 1e-7, np.nan, np.inf], np.float32))}, False) == (
        b'{"outputs": [0.2, 1.0, 1e-07, NaN, Infinity]}'
    )


def test_bytes_are_base64_where_they_must_be():
    array = np.array([b"a", "é".encode()], object)
    assert _write(array) == ["a", "é"]
    assert _write(array, "x_bytes")[0] == {"b64": "YQ=="}
    assert _write(np.array([b"\xff"], object)) == [{"b64": "/w=="}]


def test_single_output_has_no_name():
    assert _write(np.array([[1, 2], [3, 4]], np.int32), rows=True) == [[1, 2], [3, 4]]


def test_row_form_needs_a_common_batch():
    with pytest.raises(RequestError, match="no common batch size"):
        rest_json.write({"a": Plain.of(np.zeros(2)), "b": Plain.of(np.zeros(3))}, True)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "b64", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    json_values,
    st.sampled_from([1, 3, 7, 10]),
    st.sampled_from([None, (None,), (None, None)]),
    st.sampled_from(["instances", "inputs"]),
    st.booleans(),
)
def test_any_json_is_read_or_refused(value, dtype, shape, form, two):
    info = TensorInfo(dtype, shape)
    signature = SignatureInfo("s", {"a": info, "b": info} if two else {"a": info}, ("x",))
    read = rest_json.read_rows if form == "instances" else rest_json.read_columns
    try:
        arrays = read({form: value}, signature)
    except RequestError as error:
        refused = error
    else:
        assert set(arrays) == set(signature.inputs)
        return
    assert refused.http_status == 400
