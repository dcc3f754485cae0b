"""From bytes to requests of HTTP/1.1: what is handed on, and what is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.stream import ResetReason
from tests.unit.wire.played import Downstream, read_answers


async def test_what_belongs_to_the_connection_is_not_handed_on() -> None:
    play = Downstream().send(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: 5\r\n"
        b"TE: deflate, Trailers\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nX-Kept: 1\r\nExpect: x\r\n\r\n"
    )
    assert play.last.head.fields == [(b"TE", b"trailers"), (b"X-Kept", b"1"), (b"Expect", b"x")]


async def test_fields_that_the_mesh_uses_are_lifted() -> None:
    play = Downstream().send(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTraceparent: t\r\nX-Request-Id: r\r\n"
        b"Grpc-Timeout: 1S\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    head = play.last.head
    assert head.fields == []
    assert (head.content_type, head.trace_parent, head.request_id) == (b"text/plain", b"t", b"r")
    assert (head.grpc_timeout, head.expect_continue, head.content_length) == (b"1S", True, 2)


async def test_absolute_form_replaces_host() -> None:
    play = Downstream().send(b"GET http://Shop:81/x?y HTTP/1.1\r\nHost: proxy\r\n\r\n")
    assert (play.last.head.authority, play.last.head.path) == (b"Shop:81", b"/x?y")


@pytest.mark.parametrize(
    ("line", "authority", "path"),
    [
        (b"GET http://b", b"b", b"/"),
        (b"GET http://b?x=/y", b"b", b"/?x=/y"),
        (b"OPTIONS http://b:81", b"b:81", b"*"),
        (b"OPTIONS *", b"a", b"*"),
    ],
)
async def test_targets_without_a_path(line: bytes, authority: bytes, path: bytes) -> None:
    play = Downstream().send(line + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (play.last.head.authority, play.last.head.path) == (authority, path)


async def test_white_space_behind_a_value_is_not_of_it() -> None:
    play = Downstream().send(b"GET / HTTP/1.1\r\nHost: a \t\r\nX: y z\t\r\nContent-Type: a/b \r\n\r\n")
    head = play.last.head
    assert (head.authority, head.fields, head.content_type) == (b"a", [(b"X", b"y z")], b"a/b")


async def test_chunked_body_with_trailers() -> None:
    play = Downstream().send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n2;ext=1\r\nde\r\n",
        b"0\r\nX-Sum: 5\r\n\r\n",
    )
    assert (play.last.data, play.last.trailers) == (b"abcde", [(b"X-Sum", b"5")])


async def test_the_last_piece_of_a_known_length_carries_the_end() -> None:
    play = Downstream().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
    assert not play.last.ended
    play.send(b"cde")
    assert (play.last.data, play.last.ended) == (b"abcde", True)


async def test_trailers_and_chunk_extensions_without_end_are_refused() -> None:
    for piece in (b"X-T: " + b"a" * 1000 + b"\r\n", b"a" * 1000):
        start = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
        play = Downstream().send(start + (b"0\r\n" if piece.startswith(b"X-T") else b"5;"))
        for _ in range(70):
            play.send(piece)
        assert play.last.reset is ResetReason.PROTOCOL_ERROR
        assert [status for status, _, _ in read_answers(play.transport.take())] == [431]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET ftp://x/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", 400),
        (b"GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
        (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"0" * 5000 + b"1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 62_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 62_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: " + b"a" * 62_000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_is_no_proper_request_is_refused_and_the_connection_ends(request_bytes: bytes, status: int) -> None:
    play = Downstream().send(request_bytes)
    assert play.requests.heard == []
    answer = play.transport.take()
    assert [found for found, _, _ in read_answers(answer)] == [status]
    assert b"x-mesh-error: " in answer
    assert b"Connection: close" in answer
    assert play.transport.eof_written
    play.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert play.requests.heard == []


CONVERSATION = (
    b"GET /1 HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n"
    b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\nT: 1\r\n\r\n"
)


@given(st.lists(st.integers(0, len(CONVERSATION)), max_size=12), st.booleans())
async def test_how_the_bytes_are_cut_does_not_matter(cuts: list[int], answer_late: bool) -> None:
    bounds = [0, *sorted(cuts), len(CONVERSATION)]
    play = Downstream()
    for start, stop in itertools.pairwise(bounds):
        play.send(CONVERSATION[start:stop])
        if not answer_late and play.requests.heard and play.last.ended:
            play.answer()
    while len(play.requests.heard) < 3:
        play.answer()
    heard = [(one.head.path, one.data, one.trailers, one.ended) for one in play.requests.heard]
    assert heard == [
        (b"/1", b"", None, True),
        (b"/2", b"hello", None, True),
        (b"/3", b"abcd", [(b"T", b"1")], True),
    ]


@given(st.lists(st.integers(0, 300_000), max_size=8))
async def test_large_bodies_are_whole_however_they_are_cut(cuts: list[int]) -> None:
    """They go past the parser in part; the request behind must still be read."""
    body = bytes(range(256)) * 1000
    conversation = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    conversation += b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
    play = Downstream()
    bounds = [0, *sorted(min(cut, len(conversation)) for cut in cuts), len(conversation)]
    for start, stop in itertools.pairwise(bounds):
        if start < stop:
            play.send(conversation[start:stop])
    assert (play.last.head.path, play.last.data == body, play.last.ended) == (b"/1", True, True)
    play.answer()
    assert (play.last.head.path, play.last.ended) == (b"/2", True)


@pytest.mark.parametrize("cut", [-1, -2000])
async def test_what_the_mesh_adds_does_not_make_a_head_too_large(cut: int) -> None:
    """However it comes in pieces."""
    start = b"GET / HTTP/1.1\r\nHost: a\r\n"
    added = (
        b"Via: 1.1 a-name-of-some-length\r\nX-Request-Id: 01234567-89ab-cdef-0123-456789abcdef\r\n"
        b"Traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01\r\n"
    )
    room = RequestLimits().head_bytes - len(b"/aX: \r\n")
    for value, statuses in ((b"y" * room, []), (b"y" * (room + 1), [431])):
        head = start + b"X: %b\r\n" % value + added + b"\r\n"
        play = Downstream().send(head[:cut], head[cut:])
        assert len(play.requests.heard) == 1 - len(statuses)
        assert [status for status, _, _ in read_answers(play.transport.take())] == statuses
