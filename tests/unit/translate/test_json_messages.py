"""JSON, paths and queries made messages, and messages made JSON, with the bindings of library.proto."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from remora.sidecar.translate.descriptors import Binding, load_bindings
from remora.sidecar.translate.json_messages import BadRequestError, RequestBuilder, response_body, status_value
from remora.sidecar.translate.path_template import Found, PathTable
from remora.sidecar.translate.status import GrpcStatus, read_status
from tests.support.library import descriptor_set, types


@functools.cache
def table() -> PathTable[Binding]:
    return load_bindings([descriptor_set()])


def found(method: str, path: str) -> Found[Binding]:
    target = table().find(method, path)
    assert target is not None
    return target


def build(method: str, path: str, *, body: bytes = b"", query: str = "", kind: bytes = b"application/json") -> bytes:
    target = found(method, path)
    return RequestBuilder(target.target).build(body, kind, query, target.bound)


def search(query: str) -> Any:
    return types()["SearchRequest"].FromString(build("GET", "/v1/search", query=query))


def test_parameters_of_all_kinds() -> None:
    query = (
        "text=a+b&words=x&words=y&genres=GENRE_NOVEL&genres=2&sub.subfield=s&exact=true&minPrice=1.5&limit=7"
        "&since=2026-11-21T08:00:00Z&within=1.5s&mask=a,bC&maxPages=9007199254740993&lent=f&author=ada"
        "&weights[a]=1&weights%5Bb%5D=2&extra=%7B%22k%22%3A%5B1%5D%7D&token=_-8%3D&shelf=&depth=0"
    )
    request = search(query)
    assert (request.text, list(request.words), list(request.genres)) == ("a b", ["x", "y"], [1, 2])
    assert (request.sub.subfield, request.exact, request.min_price, request.limit) == ("s", True, 1.5, 7)
    assert (request.since.ToJsonString(), request.within.ToJsonString()) == ("2026-11-21T08:00:00Z", "1.500s")
    assert list(request.mask.paths) == ["a", "b_c"]
    assert (request.max_pages.value, request.lent.value, request.author.value) == (2**53 + 1, False, "ada")
    assert (request.HasField("lent"), dict(request.weights)) == (True, {"a": 1, "b": 2})
    assert (request.extra["k"][0], request.token) == (1, b"\xff\xef")
    assert (request.WhichOneof("place"), request.HasField("depth"), request.depth) == ("shelf", True, 0)


def test_names_as_declared_are_taken_too() -> None:
    assert search("min_price=2&max_pages=3").min_price == 2
    with pytest.raises(BadRequestError, match="given 2 times"):
        search("min_price=2&minPrice=3")


@pytest.mark.parametrize(
    "query", ["since=&since.seconds=", "since.seconds=1&since=2026-11-21T08:00:00Z", "extra={}&extra.fields[a]=1"]
)
def test_a_message_and_a_field_of_it_are_not_both_taken(query: str) -> None:
    with pytest.raises(BadRequestError, match=r"(seconds|fields) is given, and so is (since|extra): give"):
        search(query)


def test_what_path_and_body_give_is_not_a_parameter() -> None:
    request = build("GET", "/v1/search/deep", query="sub.subfield=shallow")
    assert types()["SearchRequest"].FromString(request).sub.subfield == "deep"
    request = build("PATCH", "/v1/messages/1", body=b'{"text": "b"}', query="message.text=q")
    assert types()["UpdateMessageRequest"].FromString(request).message.text == "b"


def test_too_many_parameters_are_told() -> None:
    with pytest.raises(BadRequestError, match="more than 1000"):
        search("&".join(["words=w"] * 1_001))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"a', "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"text": "a", "text2": 1}', 'no field named "text2"'),
        (b"7", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"limit": -1}', "limit"),
        (b'{"limit": 1e99}', "limit"),
        (b'{"genres": ["NONE"]}', "NONE"),
        (b'{"since": "today"}', "since"),
        (b'{"extra": ' + b'{"a":' * 2_000 + b"1" + b"}" * 2_001, "deep|depth|recursion"),
        (b'{"genres": ["\\ud800"]}', "does not fit library.v1.SearchRequest"),
        (b'{"genres": [Infinity]}', "infinity"),
        (b'{"subs": 1}', "subs"),
        (b'{"weights": [1]}', "weights"),
        (b'{"shelf": "a", "room": "b"}', "oneof"),
        (b'{"minPrice": ' + b"9" * 5_000 + b"}", "not JSON"),
    ],
)
def test_bodies_that_do_not_fit_are_told(body: bytes, says: str) -> None:
    with pytest.raises(BadRequestError, match=says) as caught:
        build("REPORT", "/v1/search", body=body)
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
FIELDS = sorted(field.json_name for field in types()["SearchRequest"].DESCRIPTOR.fields)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4) | JSON)
def test_any_json_is_taken_or_refused(value: Any) -> None:
    with contextlib.suppress(BadRequestError):
        build("REPORT", "/v1/search", body=json.dumps(value).encode())


@given(st.binary())
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    for method, path in (("REPORT", "/v1/search"), ("PATCH", "/v1/messages/1"), ("PUT", "/v1/files/a")):
        with contextlib.suppress(BadRequestError):
            build(method, path, body=body)


KEYS = st.one_of(st.sampled_from((*FIELDS, "sub.subfield", "weights[a]", "extra.fields", "since.seconds")), st.text())


@settings(max_examples=300)
@given(st.lists(st.tuples(KEYS, st.text(max_size=8)), max_size=4))
def test_any_query_is_taken_or_refused(pairs: list[tuple[str, str]]) -> None:
    with contextlib.suppress(BadRequestError):
        search(urlencode(pairs))


@given(st.text(alphabet="abc%&=[].+;0123é\x00", max_size=30))
def test_any_text_of_a_query_is_taken_or_refused(query: str) -> None:
    with contextlib.suppress(BadRequestError):
        search(query)


@given(st.text(min_size=1))
def test_any_path_value_is_taken_or_refused(value: str) -> None:
    with contextlib.suppress(BadRequestError):
        message = types()["GetMessageRequest"].FromString(build("GET", "/v1/messages/" + quote(value, safe="")))
        assert message.message_id == value


ANSWERS = (
    ("GET", "/v1/search"),
    ("GET", "/v1/shelves/1/books/2"),
    ("GET", "/v1/files/a"),
    ("POST", "/v1/shelves/1/books"),
)


@settings(max_examples=300)
@given(st.sampled_from(ANSWERS), st.binary())
def test_any_answer_is_json_or_refused(asked: tuple[str, str], data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        kind, body = response_body(found(*asked).target, data)
        if kind == b"application/json":
            json.loads(body)


@settings(max_examples=50)
@given(
    st.builds(
        dict,
        text=st.text(),
        words=st.lists(st.text(), max_size=3),
        min_price=st.floats(allow_nan=False),
        limit=st.integers(0, 2**32 - 1),
        token=st.binary(),
        weights=st.dictionaries(st.text(), st.integers(-(2**31), 2**31 - 1), max_size=3),
        depth=st.integers(-(2**31), 2**31 - 1),
    )
)
def test_what_is_said_in_json_comes_back(fields: dict[str, Any]) -> None:
    message = types()["SearchRequest"](**fields)
    _, body = response_body(found("GET", "/v1/search").target, message.SerializeToString())
    assert types()["SearchRequest"].FromString(build("REPORT", "/v1/search", body=body)) == message


def test_deep_answers_are_refused_not_raised() -> None:
    """Any in Any, each of which starts protobuf's own limit of depth anew."""
    inner = any_pb2.Any()
    for _ in range(2_000):
        outer = any_pb2.Any()
        outer.Pack(inner)
        inner = outer
    details = base64.b64encode(status_pb2.Status(details=[inner]).SerializeToString())
    value = status_value(GrpcStatus(3, "m", details), found("GET", "/v1/search").target.pool)
    (detail,) = value["details"]
    assert detail["@type"] == "type.googleapis.com/google.protobuf.Any"


def test_content_types_of_http_bodies_cannot_break_out() -> None:
    body = types()["HttpBody"](content_type="text/plain\r\nset-cookie: a", data=b"x")
    assert response_body(found("GET", "/v1/files/a").target, body.SerializeToString()) == (
        b"application/octet-stream",
        b"x",
    )


@given(st.binary(), st.binary(), st.binary())
def test_any_status_is_read(code: bytes, message: bytes, details: bytes) -> None:
    status = read_status([(b"grpc-status", code), (b"grpc-message", message), (b"grpc-status-details-bin", details)])
    value = status_value(status, found("GET", "/v1/search").target.pool)
    json.dumps(value)
    assert 400 <= status.http_status < 600 or status.code == 0
