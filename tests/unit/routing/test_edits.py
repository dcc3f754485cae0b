"""Header edits, path rewrites and redirects, by the tables of Gateway API."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.model.routes import FieldEdits, PathRewrite, Redirect, Rewrite
from remora.sidecar.routing.edits import CompiledEdits, location, rewrite_request, rewrite_target
from remora.sidecar.wire.heads import RequestHead

names = st.sampled_from(["a", "b", "X-C", "x-c", "content-type", "x-request-id"])
fields = st.lists(st.tuples(names.map(str.encode), st.sampled_from([b"1", b"2"])), max_size=8)


def test_set_replaces_add_appends_and_remove_takes_out() -> None:
    edits = CompiledEdits(FieldEdits(set=(("X-A", "new"),), add=(("b", "2"),), remove=("C",)))
    before = [(b"x-a", b"1"), (b"b", b"1"), (b"c", b"1"), (b"X-A", b"2"), (b"d", b"1")]
    assert edits.edit(before) == [(b"b", b"1"), (b"d", b"1"), (b"X-A", b"new"), (b"b", b"2")]


@given(fields, st.lists(names, max_size=3, unique_by=str.lower))
def test_nothing_else_is_touched(before: list[tuple[bytes, bytes]], removed: list[str]) -> None:
    original = list(before)
    after = CompiledEdits(FieldEdits(remove=tuple(removed))).edit(before)
    gone = {name.lower().encode() for name in removed}
    assert after == [field for field in original if field[0].lower() not in gone]
    assert before == original


def test_fields_that_live_in_slots_are_edited_there() -> None:
    head = RequestHead(b"GET", b"/", b"a", [(b"x", b"1")], content_type=b"text/plain", grpc_timeout=b"1S")
    CompiledEdits(
        FieldEdits(set=(("Content-Type", "a/b"), ("x-request-id", "7")), remove=("grpc-timeout",))
    ).edit_request(head)
    assert head.content_type == b"a/b"
    assert head.request_id == b"7"
    assert head.grpc_timeout is None
    assert head.fields == [(b"x", b"1")]


@pytest.mark.parametrize(
    ("path", "prefix", "value", "expected"),
    [
        (b"/foo/bar", "/foo", "/xyz", b"/xyz/bar"),
        (b"/foo/bar", "/foo", "/xyz/", b"/xyz/bar"),
        (b"/foo/bar", "/foo/", "/xyz", b"/xyz/bar"),
        (b"/foo/bar", "/foo/", "/xyz/", b"/xyz/bar"),
        (b"/foo", "/foo", "/xyz", b"/xyz"),
        (b"/foo/", "/foo", "/xyz", b"/xyz/"),
        (b"/foo/bar", "/foo", "", b"/bar"),
        (b"/foo/", "/foo", "", b"/"),
        (b"/foo", "/foo", "", b"/"),
        (b"/foo/", "/foo", "/", b"/"),
        (b"/foo", "/foo", "/", b"/"),
        (b"/foo/bar?a=/b", "", "/xyz", b"/xyz/foo/bar?a=/b"),
        (b"*", "", "/xyz", b"*"),
        (b"", "", "/xyz", b""),
    ],
)
def test_prefixes_are_replaced_as_gateway_api_says(path: bytes, prefix: str, value: str, expected: bytes) -> None:
    assert rewrite_target(path, PathRewrite("prefix", value), prefix.encode()) == expected


def test_a_whole_path_is_replaced_and_the_query_stays() -> None:
    head = RequestHead(b"GET", b"/a/b?c=d", b"shop", [])
    rewrite_request(head, Rewrite("other.example", PathRewrite("full", "/new")), "/a")
    assert (head.authority, head.path) == (b"other.example", b"/new?c=d")


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        (Redirect(), b"http://shop:8080/a/b?c"),
        (Redirect(scheme="https"), b"https://shop/a/b?c"),
        (Redirect(scheme="https", port=8443), b"https://shop:8443/a/b?c"),
        (Redirect(scheme="https", port=443), b"https://shop/a/b?c"),
        (Redirect(hostname="example.com"), b"http://example.com:8080/a/b?c"),
        (Redirect(hostname="example.com", port=80), b"http://example.com/a/b?c"),
        (Redirect(path=PathRewrite("full", "/x")), b"http://shop:8080/x?c"),
        (Redirect(path=PathRewrite("prefix", "/x")), b"http://shop:8080/x/b?c"),
    ],
)
def test_redirects_keep_what_they_do_not_name(redirect: Redirect, expected: bytes) -> None:
    assert location(RequestHead(b"GET", b"/a/b?c", b"shop:8080", []), redirect, "/a") == expected


def test_what_is_asked_of_the_whole_server_is_sent_to_its_root() -> None:
    assert location(RequestHead(b"OPTIONS", b"*", b"shop", []), Redirect(hostname="a"), "") == b"http://a/"
