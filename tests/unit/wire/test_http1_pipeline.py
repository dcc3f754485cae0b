"""Requests of HTTP/1.1 that come before the one in front of them is answered."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.stream import ResetReason
from tests.support.wire import Heard
from tests.unit.wire.played import Downstream, read_answers


async def test_pipelined_requests_are_answered_in_order_and_reading_stops() -> None:
    play = Downstream().send(
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nxGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
        b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\ny\r\n0\r\n\r\n"
    )
    assert [heard.head.path for heard in play.requests.heard] == [b"/1"]
    assert not play.transport.reading
    play.answer(body=b"one")
    assert play.last.head.path == b"/2"
    play.answer(body=b"two")
    assert (play.last.head.path, play.last.data, play.last.ended) == (b"/3", b"y", True)
    assert play.transport.reading
    play.answer(body=b"three")
    assert [body for _, body, _ in read_answers(play.transport.take())] == [b"one", b"two", b"three"]


async def test_many_pipelined_requests_answered_at_once_do_not_pile_up_the_stack() -> None:
    play = Downstream()

    def answer_at_once(stream, head, end):  # type: ignore[no-untyped-def]
        stream.send_head(ResponseHead(204, []), True)
        return Heard(stream, head, end)

    play.connection._factory = answer_at_once
    play.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)
    assert play.transport.take().count(b"204 No Content") == 2000


async def test_requests_that_wait_cost_little_more_than_their_bytes() -> None:
    """As large a read as there is, of the shortest requests that there are: parsed, they would be megabytes."""
    play = Downstream()
    read = b"GET / HTTP/1.1\r\nHost:\r\n\r\n" * 9800
    tracemalloc.start()
    play.send(read)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 240_000 < len(read) < 256_000
    assert held < 32 * 1024
    assert not play.transport.reading
    for _ in range(9800):
        assert play.last.ended
        play.answer(body=b"")
        await asyncio.sleep(0)
    assert len(play.requests.heard) == 9800
    assert play.transport.reading


async def test_a_flood_of_requests_behind_chunks_is_refused() -> None:
    play = Downstream()
    read = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    tracemalloc.start()
    play.send(read + b"GET / HTTP/1.1\r\nHost:\r\n\r\n" * 9000)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 256 * 1024
    while not play.transport.eof_written:
        play.answer(body=b"")
        await asyncio.sleep(0)
    statuses = [status for status, _, _ in read_answers(play.transport.take())]
    assert statuses[-1] == 400
    assert len(statuses) > 200


@pytest.mark.parametrize("size", [9_000, 100_000, 250_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_long_reads_of_pipelined_bodies(size: int, chunked: bool) -> None:
    body = bytes(range(256)) * (size // 256)
    framed = b"%x\r\n%b\r\n0\r\nT: 1\r\n\r\n" % (len(body), body) if chunked else body
    field = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    play = Downstream().send((b"POST / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n" + framed) * 3)
    for number in range(1, 4):
        assert len(play.requests.heard) == number
        assert (play.last.data == body, play.last.ended) == (True, True)
        play.answer()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert play.transport.reading
    assert [status for status, _, _ in read_answers(play.transport.take())] == [200, 200, 200]


async def test_a_long_read_goes_on_to_a_tunnel() -> None:
    play = Downstream()
    late = (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    )
    play.send(late + b"r" * 20_000)
    play.answer()
    await asyncio.sleep(0)
    assert play.last.head.upgrade == b"x"
    play.last.stream.send_head(ResponseHead(101, []), False)
    assert play.last.data == b"r" * 20_000


async def test_upgrades_that_are_not_taken_are_ignored_however_many() -> None:
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    play = Downstream().send(upgrade * 1200)
    for _ in range(1200):
        assert (play.last.head.fields, play.last.head.upgrade, play.last.ended) == ([], None, True)
        play.answer()
        await asyncio.sleep(0)
    assert len(play.requests.heard) == 1200


async def test_what_follows_the_last_request_is_left_unread() -> None:
    play = Downstream().send(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    play.answer()
    assert [status for status, _, _ in read_answers(play.transport.take())] == [200]
    assert play.transport.closed
    assert play.last.head.path == b"/"


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"])
async def test_a_refusal_waits_for_the_answers_to_what_came_before(garbage: bytes) -> None:
    play = Downstream().send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n" + garbage)
    assert play.last.reset is None
    play.answer(body=b"one")
    assert play.last.head.path == b"/2"
    play.answer(body=b"two")
    assert [status for status, _, _ in read_answers(play.transport.take())] == [200, 200, 400]
    assert play.transport.eof_written


async def test_a_pipelined_request_with_a_broken_body_is_refused_in_its_turn() -> None:
    chunked = b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    play = Downstream().send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" + chunked + b"1\r\nx\r\nno")
    play.answer()
    assert (play.last.head.path, play.last.data, play.last.reset) == (b"/2", b"x", ResetReason.PROTOCOL_ERROR)
    assert [status for status, _, _ in read_answers(play.transport.take())] == [200, 400]
