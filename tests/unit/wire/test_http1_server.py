"""The server side of HTTP/1.1: its answers, played against h11 as the client that judges them, and its end."""

from __future__ import annotations

import pytest

from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.stream import ResetReason
from tests.unit.wire.played import Downstream, read_answers


async def test_a_request_and_its_answer() -> None:
    play = Downstream().send(b"GET /a?b=1 HTTP/1.1\r\nHost: shop\r\nX-One: 1\r\nx-one: 2\r\n\r\n")
    head = play.last.head
    assert (head.method, head.path, head.authority) == (b"GET", b"/a?b=1", b"shop")
    assert head.fields == [(b"X-One", b"1"), (b"x-one", b"2")]
    assert play.last.ended
    play.answer()
    assert read_answers(play.transport.take()) == [(200, b"ok", [])]
    assert not play.transport.closed


async def test_answer_of_unknown_length_is_chunked_with_trailers() -> None:
    play = Downstream().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    stream = play.last.stream
    stream.send_head(ResponseHead(200, []), False)
    stream.send_data(b"hello", False)
    stream.send_trailers([(b"grpc-status", b"0")])
    assert read_answers(play.transport.take()) == [(200, b"hello", [(b"grpc-status", b"0")])]


async def test_http10_gets_no_chunks_and_a_close() -> None:
    play = Downstream().send(b"GET / HTTP/1.0\r\n\r\n")
    stream = play.last.stream
    stream.send_head(ResponseHead(200, []), False)
    stream.send_data(b"hello", True)
    assert play.transport.take().endswith(b"Connection: close\r\n\r\nhello")
    assert play.transport.closed


async def test_head_is_answered_without_a_body_but_with_its_length() -> None:
    play = Downstream().send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    play.last.stream.send_head(ResponseHead(200, [], content_length=7), True)
    answer = play.transport.take()
    assert b"Content-Length: 7\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_interim_answers_come_before_the_final_one() -> None:
    play = Downstream().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    play.last.stream.send_head(ResponseHead(103, [(b"link", b"</a>")]), False)
    play.answer()
    answer = play.transport.take()
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_an_early_answer_closes_after_the_peer_could_read_it() -> None:
    play = Downstream().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
    play.last.stream.send_head(ResponseHead(413, [], content_length=0), True)
    assert b"Connection: close" in play.transport.take()
    assert play.transport.eof_written
    assert not play.transport.closed


@pytest.mark.parametrize(
    ("status", "length", "lingers"), [(413, 100, True), (500, 100, True), (200, 100, False), (200, 1_000_000, True)]
)
async def test_who_has_its_answer_does_not_stay_to_send_a_long_rest(status: int, length: int, lingers: bool) -> None:
    play = Downstream().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\nabc" % length)
    play.answer(status)
    assert (b"Connection: close" in play.transport.take()) is (status >= 400)
    assert play.transport.eof_written is lingers
    play.send(bytes(length - 3) + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    assert len(play.requests.heard) == (1 if lingers else 2)


async def test_drain_closes_after_the_request_in_hand() -> None:
    play = Downstream().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    play.connection.drain()
    assert not play.transport.closed
    play.answer()
    assert b"Connection: close" in play.transport.take()
    assert play.transport.closed


async def test_drain_closes_an_idle_connection_at_once() -> None:
    play = Downstream()
    play.connection.drain()
    assert play.transport.closed


async def test_a_downstream_that_goes_resets_its_request() -> None:
    play = Downstream().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab")
    play.connection.connection_lost(None)
    assert play.last.reset is ResetReason.PEER_RESET
    assert play.closed == [play.connection]


async def test_a_half_closed_downstream_still_gets_its_answer() -> None:
    play = Downstream().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert play.connection.eof_received() is True
    play.answer()
    assert read_answers(play.transport.take()) == [(200, b"ok", [])]
    assert play.transport.closed


async def test_a_request_that_is_given_up_at_once_hears_no_echo_of_it() -> None:
    play = Downstream()

    def give_up(stream, head, end):  # type: ignore[no-untyped-def]
        stream.reset(ResetReason.INTERNAL)
        return play.requests(stream, head, end)

    play.connection._factory = give_up
    play.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
    play.connection.connection_lost(None)
    assert play.transport.aborted
    assert (len(play.requests.heard), play.last.data, play.last.reset) == (1, b"", None)


async def test_a_slow_upstream_stops_reading() -> None:
    play = Downstream().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab")
    play.last.stream.pause()
    play.last.stream.pause()
    assert not play.transport.reading
    play.last.stream.resume()
    assert play.transport.reading
