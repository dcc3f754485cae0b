"""The server side of HTTP/1.1, played against h11 as the client that judges it."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.http1 import server
from remora.sidecar.wire.http1.server import Http1ServerConnection
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.stream import ResetReason
from remora.sidecar.wire.watch import Watch
from tests.support.wire import FakeTransport, Heard, Requests


class Play:
    """One connection, its transport, and the requests heard on it."""

    def __init__(self) -> None:
        self.requests = Requests()
        self.closed: list[object] = []
        self.connection = Http1ServerConnection(self.requests, self.closed.append, RequestLimits())
        self.transport = FakeTransport()
        self.connection.connection_made(self.transport)

    def send(self, *pieces: bytes) -> Play:
        for piece in pieces:
            self.connection.data_received(piece)
        return self

    @property
    def last(self) -> Heard:
        return self.requests.heard[-1]

    def answer(self, status: int = 200, body: bytes = b"ok") -> None:
        stream = self.last.stream
        stream.send_head(ResponseHead(status, [(b"x-a", b"1")], content_length=len(body)), not body)
        if body:
            stream.send_data(body, True)


def read_answers(data: bytes, method: str = "GET") -> list[tuple[int, bytes, list[tuple[bytes, bytes]]]]:
    """(status, body, trailers) of each response in `data`, as h11 reads them."""
    answers = []
    while data:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        client.send(h11.EndOfMessage())
        client.receive_data(data)
        status, body, trailers = 0, b"", []
        while True:
            event = client.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                trailers = list(event.headers)
                break
            elif event is h11.NEED_DATA:
                client.receive_data(b"")
        answers.append((status, body, trailers))
        data = client.trailing_data[0]
    return answers


async def test_a_request_and_its_answer() -> None:
    play = Play().send(b"GET /a?b=1 HTTP/1.1\r\nHost: shop\r\nX-One: 1\r\nx-one: 2\r\n\r\n")
    head = play.last.head
    assert (head.method, head.path, head.authority) == (b"GET", b"/a?b=1", b"shop")
    assert head.fields == [(b"X-One", b"1"), (b"x-one", b"2")]
    assert play.last.ended
    play.answer()
    assert read_answers(play.transport.take()) == [(200, b"ok", [])]
    assert not play.transport.closed


async def test_what_belongs_to_the_connection_is_not_handed_on() -> None:
    play = Play().send(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: 5\r\n"
        b"TE: deflate, Trailers\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nX-Kept: 1\r\nExpect: x\r\n\r\n"
    )
    assert play.last.head.fields == [(b"TE", b"trailers"), (b"X-Kept", b"1"), (b"Expect", b"x")]


async def test_fields_that_the_mesh_uses_are_lifted() -> None:
    play = Play().send(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTraceparent: t\r\nX-Request-Id: r\r\n"
        b"Grpc-Timeout: 1S\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    head = play.last.head
    assert head.fields == []
    assert (head.content_type, head.trace_parent, head.request_id) == (b"text/plain", b"t", b"r")
    assert (head.grpc_timeout, head.expect_continue, head.content_length) == (b"1S", True, 2)


async def test_absolute_form_replaces_host() -> None:
    play = Play().send(b"GET http://Shop:81/x?y HTTP/1.1\r\nHost: proxy\r\n\r\n")
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
    play = Play().send(line + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (play.last.head.authority, play.last.head.path) == (authority, path)


async def test_white_space_behind_a_value_is_not_of_it() -> None:
    play = Play().send(b"GET / HTTP/1.1\r\nHost: a \t\r\nX: y z\t\r\nContent-Type: a/b \r\n\r\n")
    head = play.last.head
    assert (head.authority, head.fields, head.content_type) == (b"a", [(b"X", b"y z")], b"a/b")


async def test_what_follows_the_last_request_is_left_unread() -> None:
    play = Play().send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
    play.answer()
    assert [status for status, _, _ in read_answers(play.transport.take())] == [200]
    assert play.transport.closed
    assert play.last.head.path == b"/"


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"])
async def test_a_refusal_waits_for_the_answers_to_what_came_before(garbage: bytes) -> None:
    play = Play().send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n" + garbage)
    assert play.last.reset is None
    play.answer(body=b"one")
    assert play.last.head.path == b"/2"
    play.answer(body=b"two")
    assert [status for status, _, _ in read_answers(play.transport.take())] == [200, 200, 400]
    assert play.transport.eof_written


async def test_a_pipelined_request_with_a_broken_body_is_refused_in_its_turn() -> None:
    chunked = b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    play = Play().send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" + chunked + b"1\r\nx\r\nno")
    play.answer()
    assert (play.last.head.path, play.last.data, play.last.reset) == (b"/2", b"x", ResetReason.PROTOCOL_ERROR)
    assert [status for status, _, _ in read_answers(play.transport.take())] == [200, 400]


async def test_chunked_body_with_trailers() -> None:
    play = Play().send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n2;ext=1\r\nde\r\n",
        b"0\r\nX-Sum: 5\r\n\r\n",
    )
    assert (play.last.data, play.last.trailers) == (b"abcde", [(b"X-Sum", b"5")])


async def test_the_last_piece_of_a_known_length_carries_the_end() -> None:
    play = Play().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
    assert not play.last.ended
    play.send(b"cde")
    assert (play.last.data, play.last.ended) == (b"abcde", True)


async def test_pipelined_requests_are_answered_in_order_and_reading_stops() -> None:
    play = Play().send(
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
    play = Play()

    def answer_at_once(stream, head, end):  # type: ignore[no-untyped-def]
        stream.send_head(ResponseHead(204, []), True)
        return Heard(stream, head, end)

    play.connection._factory = answer_at_once
    play.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)
    assert play.transport.take().count(b"204 No Content") == 2000


async def test_requests_that_wait_cost_little_more_than_their_bytes() -> None:
    """As large a read as there is, of the shortest requests that there are: parsed, they would be megabytes."""
    play = Play()
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
    play = Play()
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
    play = Play().send((b"POST / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n" + framed) * 3)
    for number in range(1, 4):
        assert len(play.requests.heard) == number
        assert (play.last.data == body, play.last.ended) == (True, True)
        play.answer()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert play.transport.reading
    assert [status for status, _, _ in read_answers(play.transport.take())] == [200, 200, 200]


async def test_a_long_read_goes_on_to_a_tunnel() -> None:
    play = Play()
    late = (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    )
    play.send(late + b"r" * 20_000)
    play.answer()
    await asyncio.sleep(0)
    assert play.last.head.upgrade == b"x"
    play.last.stream.send_head(ResponseHead(101, []), False)
    assert play.last.data == b"r" * 20_000


async def test_trailers_and_chunk_extensions_without_end_are_refused() -> None:
    for piece in (b"X-T: " + b"a" * 1000 + b"\r\n", b"a" * 1000):
        start = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
        play = Play().send(start + (b"0\r\n" if piece.startswith(b"X-T") else b"5;"))
        for _ in range(70):
            play.send(piece)
        assert play.last.reset is ResetReason.PROTOCOL_ERROR
        assert [status for status, _, _ in read_answers(play.transport.take())] == [431]


class Slow(Play):
    """A connection that is looked at when the test says so; the head may take three periods, the body six."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[int] = []
        self.watch = Watch(5.0)
        self.limits = RequestLimits(body_timeout_s=30.0, idle_timeout_s=60.0, write_timeout_s=45.0)
        self.connection = Http1ServerConnection(
            self.requests, self.closed.append, self.limits, self.watch, self.refused.append
        )
        self.transport = FakeTransport()
        self.connection.connection_made(self.transport)

    def look(self, times: int) -> None:
        for _ in range(times):
            self.connection.on_watch()

    @property
    def statuses(self) -> list[int]:
        return [status for status, _, _ in read_answers(self.transport.take())]


async def test_a_head_that_drips_is_answered_408() -> None:
    play = Slow()
    for byte in b"GET":
        play.send(bytes((byte,))).look(1)
    assert not play.transport.eof_written
    play.send(b" ").look(1)
    assert play.transport.eof_written
    assert (play.statuses, play.refused) == ([408], [408])


async def test_the_next_head_has_its_own_time() -> None:
    play = Slow()
    for _ in range(5):
        play.send(b"GET / HTTP/1.1\r\n").look(3)
        play.send(b"Host: a\r\n\r\n")
        play.answer()
    assert play.statuses == [200] * 5
    assert not play.transport.eof_written


async def test_a_body_that_stalls_is_answered_408() -> None:
    play = Slow().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
    play.look(6)
    play.send(b"a").look(6)
    assert play.last.reset is None
    play.look(1)
    assert (play.last.reset, play.statuses) == (ResetReason.PROTOCOL_ERROR, [408])
    assert play.refused == [], "the handler counts it"


async def test_a_body_may_stall_while_its_answer_streams_or_the_upstream_is_slow() -> None:
    for stall in ("answer", "pause"):
        play = Slow().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        if stall == "pause":
            play.last.stream.pause()
        else:
            play.last.stream.send_head(ResponseHead(200, []), False)
        play.look(50)
        assert play.last.reset is None
        assert not play.transport.closed


async def test_an_idle_connection_is_closed_in_the_end() -> None:
    play = Slow().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    play.look(50)
    assert not play.transport.closed, "the answer may take its time"
    play.answer()
    play.look(12)
    assert not play.transport.closed
    play.look(1)
    assert play.transport.closed
    assert not play.transport.aborted


async def test_a_peer_that_takes_nothing_of_its_answer_is_cut_off() -> None:
    play = Slow().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    play.transport.unsent = 5000
    play.look(9)
    play.transport.unsent = 4999
    play.look(9)
    assert not play.transport.closed
    play.look(1)
    assert play.transport.aborted


async def test_a_lost_connection_is_looked_at_no_more() -> None:
    play = Slow()
    assert len(play.watch) == 1
    play.connection.connection_lost(None)
    assert len(play.watch) == 0


async def test_upgrades_that_are_not_taken_are_ignored_however_many() -> None:
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    play = Play().send(upgrade * 1200)
    for _ in range(1200):
        assert (play.last.head.fields, play.last.head.upgrade, play.last.ended) == ([], None, True)
        play.answer()
        await asyncio.sleep(0)
    assert len(play.requests.heard) == 1200


async def test_answer_of_unknown_length_is_chunked_with_trailers() -> None:
    play = Play().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    stream = play.last.stream
    stream.send_head(ResponseHead(200, []), False)
    stream.send_data(b"hello", False)
    stream.send_trailers([(b"grpc-status", b"0")])
    assert read_answers(play.transport.take()) == [(200, b"hello", [(b"grpc-status", b"0")])]


async def test_http10_gets_no_chunks_and_a_close() -> None:
    play = Play().send(b"GET / HTTP/1.0\r\n\r\n")
    stream = play.last.stream
    stream.send_head(ResponseHead(200, []), False)
    stream.send_data(b"hello", True)
    assert play.transport.take().endswith(b"Connection: close\r\n\r\nhello")
    assert play.transport.closed


async def test_head_is_answered_without_a_body_but_with_its_length() -> None:
    play = Play().send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    play.last.stream.send_head(ResponseHead(200, [], content_length=7), True)
    answer = play.transport.take()
    assert b"Content-Length: 7\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_interim_answers_come_before_the_final_one() -> None:
    play = Play().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    play.last.stream.send_head(ResponseHead(103, [(b"link", b"</a>")]), False)
    play.answer()
    answer = play.transport.take()
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_an_early_answer_closes_after_the_peer_could_read_it() -> None:
    play = Play().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
    play.last.stream.send_head(ResponseHead(413, [], content_length=0), True)
    assert b"Connection: close" in play.transport.take()
    assert play.transport.eof_written
    assert not play.transport.closed


@pytest.mark.parametrize(
    ("status", "length", "lingers"), [(413, 100, True), (500, 100, True), (200, 100, False), (200, 1_000_000, True)]
)
async def test_who_has_its_answer_does_not_stay_to_send_a_long_rest(status: int, length: int, lingers: bool) -> None:
    play = Play().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\nabc" % length)
    play.answer(status)
    assert (b"Connection: close" in play.transport.take()) is (status >= 400)
    assert play.transport.eof_written is lingers
    play.send(bytes(length - 3) + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    assert len(play.requests.heard) == (1 if lingers else 2)


async def test_lingering_does_not_cut_off_an_answer_that_is_still_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LINGER_S", 0.01)
    play = Slow().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    play.transport.unsent = 1
    play.answer(413)
    await asyncio.sleep(0.05)
    assert not play.transport.aborted
    play.transport.unsent = 0
    async with asyncio.timeout(10):
        while not play.transport.aborted:
            await asyncio.sleep(0.005)


async def test_drain_closes_after_the_request_in_hand() -> None:
    play = Play().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    play.connection.drain()
    assert not play.transport.closed
    play.answer()
    assert b"Connection: close" in play.transport.take()
    assert play.transport.closed


async def test_drain_closes_an_idle_connection_at_once() -> None:
    play = Play()
    play.connection.drain()
    assert play.transport.closed


async def test_a_downstream_that_goes_resets_its_request() -> None:
    play = Play().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab")
    play.connection.connection_lost(None)
    assert play.last.reset is ResetReason.PEER_RESET
    assert play.closed == [play.connection]


async def test_a_half_closed_downstream_still_gets_its_answer() -> None:
    play = Play().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert play.connection.eof_received() is True
    play.answer()
    assert read_answers(play.transport.take()) == [(200, b"ok", [])]
    assert play.transport.closed


async def test_a_request_that_is_given_up_at_once_hears_no_echo_of_it() -> None:
    play = Play()

    def give_up(stream, head, end):  # type: ignore[no-untyped-def]
        stream.reset(ResetReason.INTERNAL)
        return play.requests(stream, head, end)

    play.connection._factory = give_up
    play.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
    play.connection.connection_lost(None)
    assert play.transport.aborted
    assert (len(play.requests.heard), play.last.data, play.last.reset) == (1, b"", None)


async def test_a_slow_upstream_stops_reading() -> None:
    play = Play().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab")
    play.last.stream.pause()
    play.last.stream.pause()
    assert not play.transport.reading
    play.last.stream.resume()
    assert play.transport.reading


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
    ],
)
async def test_what_is_no_proper_request_is_refused_and_the_connection_ends(request_bytes: bytes, status: int) -> None:
    play = Play().send(request_bytes)
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
    play = Play()
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
    play = Play()
    bounds = [0, *sorted(min(cut, len(conversation)) for cut in cuts), len(conversation)]
    for start, stop in itertools.pairwise(bounds):
        if start < stop:
            play.send(conversation[start:stop])
    assert (play.last.head.path, play.last.data == body, play.last.ended) == (b"/1", True, True)
    play.answer()
    assert (play.last.head.path, play.last.ended) == (b"/2", True)
