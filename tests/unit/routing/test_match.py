"""Matches that stand elsewhere than in routes."""

from __future__ import annotations

import pytest

from remora.model.routes import FieldMatch, PathMatch, RouteMatch
from remora.sidecar.routing.match import Matcher
from remora.sidecar.wire.heads import RequestHead


def head(path: bytes = b"/", method: bytes = b"GET", *fields: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead(method, path, b"shop", list(fields))


def test_without_matches_all_requests_are_taken() -> None:
    assert Matcher(()).takes(head(b"/anything"))


@pytest.mark.parametrize(
    ("path", "taken"),
    [(b"/a", True), (b"/a/b", True), (b"/a?x=1", True), (b"/ab", False), (b"/", False)],
)
def test_a_prefix_takes_whole_segments(path: bytes, taken: bool) -> None:
    assert Matcher((RouteMatch(PathMatch("prefix", "/a")),)).takes(head(path)) is taken


def test_an_exact_path_takes_itself_only() -> None:
    matcher = Matcher((RouteMatch(PathMatch("exact", "/a")),))
    assert matcher.takes(head(b"/a?q=1"))
    assert not matcher.takes(head(b"/a/b"))


def test_all_parts_of_one_match_must_hold_and_one_match_is_enough() -> None:
    posts = RouteMatch(PathMatch("regex", "/o[0-9]+"), method="POST")
    beta = RouteMatch(headers=(FieldMatch("x-group", "beta"),))
    matcher = Matcher((posts, beta))
    assert matcher.takes(head(b"/o12", b"POST"))
    assert not matcher.takes(head(b"/o12", b"GET"))
    assert matcher.takes(head(b"/", b"GET", (b"X-Group", b"beta")))


@pytest.mark.parametrize("match", [FieldMatch("x-role", "a,b"), FieldMatch("x-role", ".*b", "regex")])
def test_a_repeated_field_is_one_with_all_values(match: FieldMatch) -> None:
    matcher = Matcher((RouteMatch(headers=(match,)),))
    assert matcher.takes(head(b"/", b"GET", (b"X-Role", b"a"), (b"x-role", b"b")))
    assert not matcher.takes(head(b"/", b"GET", (b"X-Role", b"a")))


def test_crumbs_of_a_cookie_are_one_cookie() -> None:
    matcher = Matcher((RouteMatch(headers=(FieldMatch("cookie", "a=1; b=2"),)),))
    assert matcher.takes(head(b"/", b"GET", (b"cookie", b"a=1"), (b"cookie", b"b=2")))


def test_a_field_that_the_head_keeps_apart_is_found() -> None:
    matcher = Matcher((RouteMatch(headers=(FieldMatch("grpc-timeout", "1S"),)),))
    request = head()
    request.grpc_timeout = b"1S"
    assert matcher.takes(request)


@pytest.mark.parametrize(("name", "value"), [("host", "shop:8080"), ("content-length", "12")])
def test_what_codecs_make_of_fields_is_matched_as_the_field(name: str, value: str) -> None:
    request = RequestHead(b"PUT", b"/", b"shop:8080", [], content_length=12)
    assert Matcher((RouteMatch(headers=(FieldMatch(name, value),)),)).takes(request)
    assert not Matcher((RouteMatch(headers=(FieldMatch(name, ".*"),)),)).takes(request)
    assert not Matcher((RouteMatch(headers=(FieldMatch(name, ".*", "regex"),)),)).takes(
        RequestHead(b"GET", b"/", b"", [])
    )
