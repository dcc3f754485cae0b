"""The client side of HTTP/1.1, played against h11 as the server that judges it."""

from __future__ import annotations

import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.wire.heads import RequestHead
from remora.sidecar.wire.http1.client import Http1ClientConnection
from remora.sidecar.wire.stream import ResetReason
from tests.support.wire import FakeTransport, Heard, Owner


class Play:
    """One connection to an upstream, and the answer heard on it."""

    def __init__(self) -> None:
        self.owner = Owner()
        self.connection = Http1ClientConnection(self.owner)
        self.transport = FakeTransport()
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)
        self.heard = Heard()

    def ask(self, method: bytes = b"GET", end: bool = True, length: int | None = None) -> Heard:
        self.heard = Heard()
        head = RequestHead(method, b"/x", b"shop", [(b"X-A", b"1")], content_length=length, request_id=b"r1")
        self.heard.stream = self.connection.open(head, end, self.heard)
        return self.heard

    def send(self, data: bytes) -> Play:
        self.transport.receive(data)
        return self


def read_request(data: bytes) -> tuple[h11.Request, bytes, list[tuple[bytes, bytes]]]:
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    request = server.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while True:
        event = server.next_event()
        if isinstance(event, h11.EndOfMessage):
            return request, body, list(event.headers)
        assert isinstance(event, h11.Data)
        body += event.data


async def test_a_request_as_h11_reads_it() -> None:
    play = Play()
    play.ask()
    request, body, _ = read_request(play.transport.take())
    assert (request.method, request.target, body) == (b"GET", b"/x", b"")
    assert dict(request.headers) == {b"host": b"shop", b"x-a": b"1", b"x-request-id": b"r1"}


async def test_a_body_of_unknown_length_is_chunked_with_trailers() -> None:
    play = Play()
    stream = play.ask(b"POST", end=False).stream
    stream.send_data(b"abc", False)
    stream.send_data(b"", False)
    stream.send_data(b"de", False)
    stream.send_trailers([(b"x-sum", b"5")])
    _, body, trailers = read_request(play.transport.take())
    assert (body, trailers) == (b"abcde", [(b"x-sum", b"5")])


async def test_a_body_of_known_length_is_sent_as_it_is() -> None:
    play = Play()
    stream = play.ask(b"POST", end=False, length=5).stream
    stream.send_data(b"hello", True)
    request, body, _ = read_request(play.transport.take())
    assert (dict(request.headers)[b"content-length"], body) == (b"5", b"hello")


async def test_the_connection_is_free_again_after_an_answer() -> None:
    play = Play()
    for round_ in range(1, 4):
        heard = play.ask()
        assert play.connection.free_slots == 0
        play.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-B: 1\r\n\r\nhi")
        head, _ = heard.heads[0]
        assert (head.status, head.fields, head.content_length) == (200, [(b"X-B", b"1")], 2)
        assert (heard.data, heard.ended) == (b"hi", True)
        assert (play.owner.freed, play.connection.free_slots) == (round_, 1)


async def test_chunked_answer_with_trailers() -> None:
    play = Play()
    heard = play.ask()
    play.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-T: 1\r\n\r\n")
    assert (heard.data, heard.trailers, heard.heads[0][0].content_length) == (b"ab", [(b"X-T", b"1")], None)
    assert play.owner.freed == 1


async def test_an_answer_without_length_ends_with_the_connection() -> None:
    play = Play()
    heard = play.ask()
    play.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert not heard.ended
    play.connection.connection_lost(None)
    assert (heard.data, heard.ended, heard.reset) == (b"abc", True, None)
    assert (play.owner.freed, play.owner.closed) == (0, 1)


async def test_a_cut_answer_is_a_reset_not_an_end() -> None:
    for answer in (
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    ):
        play = Play()
        heard = play.ask()
        if answer:
            play.send(answer)
        play.connection.connection_lost(None)
        assert (heard.reset, heard.ended) == (ResetReason.PEER_RESET, False), answer


@pytest.mark.parametrize(
    "before",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_connection_that_ends_before_the_next_answer_has_begun_is_a_reset(before: bytes) -> None:
    play = Play()
    play.ask()
    play.send(before)
    heard = play.ask()
    play.connection.connection_lost(None)
    assert (heard.heads, heard.ended, heard.reset) == ([], False, ResetReason.PEER_RESET)


async def test_a_connection_that_ends_after_an_interim_answer_is_a_reset() -> None:
    play = Play()
    heard = play.ask()
    play.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    play.connection.connection_lost(None)
    assert (heard.ended, heard.reset) == (False, ResetReason.PEER_RESET)


async def test_head_and_bodiless_answers_leave_the_connection_usable() -> None:
    play = Play()
    heard = play.ask(b"HEAD")
    play.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
    assert heard.heads[0][1] is True
    assert play.connection.free_slots == 1
    for status in (b"204 No Content", b"304 Not Modified"):
        heard = play.ask()
        play.send(b"HTTP/1.1 " + status + b"\r\n\r\n")
        assert heard.ended
        assert play.connection.free_slots == 1


async def test_interim_answers_are_handed_on() -> None:
    play = Play()
    heard = play.ask()
    play.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert [(head.status, end) for head, end in heard.heads] == [(100, False), (103, False)]
    play.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert heard.heads[-1][0].status == 200
    assert play.connection.free_slots == 1


async def test_connection_close_retires_the_connection() -> None:
    play = Play()
    heard = play.ask()
    play.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
    assert heard.ended
    assert (play.owner.freed, play.owner.closed, play.transport.closed) == (0, 1, True)


async def test_data_that_nobody_asked_for_closes_an_idle_connection() -> None:
    play = Play()
    play.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert (play.owner.closed, play.transport.closed) == (1, True)


async def test_a_broken_answer_is_a_protocol_error() -> None:
    play = Play()
    heard = play.ask()
    play.send(b"SSH-2.0-OpenSSH\r\n")
    assert (heard.reset, play.transport.aborted, play.owner.closed) == (ResetReason.PROTOCOL_ERROR, True, 1)


async def test_reset_closes_the_connection_and_is_not_echoed() -> None:
    play = Play()
    heard = play.ask()
    heard.stream.reset(ResetReason.CANCELLED)
    play.connection.connection_lost(None)
    assert (heard.reset, play.transport.aborted, play.owner.closed) == (None, True, 1)


async def test_drain_waits_for_the_answer() -> None:
    play = Play()
    heard = play.ask()
    play.connection.drain()
    assert not play.transport.closed
    play.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
    assert (heard.ended, play.transport.closed, play.owner.closed) == (True, True, 1)


ANSWERS = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
)


@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 80), max_size=8))
async def test_how_the_bytes_are_cut_does_not_matter(answer: bytes, cuts: list[int]) -> None:
    play = Play()
    heard = play.ask()
    bounds = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    for start, stop in itertools.pairwise(bounds):
        if start < stop:
            play.send(answer[start:stop])
    assert (heard.heads[-1][0].status, heard.data, heard.ended) == (200, b"hello", True)
    assert play.connection.free_slots == 1


@given(st.lists(st.integers(0, 300_000), max_size=8), st.booleans())
async def test_large_bodies_are_whole_however_they_are_cut(cuts: list[int], junk: bool) -> None:
    """They go past the parser in part; the next answer on the connection must still be read, junk must close it."""
    body = bytes(range(256)) * 1000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body + (b"junk" if junk else b"")
    play = Play()
    heard = play.ask()
    bounds = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    for start, stop in itertools.pairwise(bounds):
        if start < stop:
            play.send(answer[start:stop])
    assert (heard.data, heard.ended, heard.reset) == (body, True, None)
    if junk:
        assert play.connection.free_slots == 0
        return
    heard = play.ask()
    play.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert (heard.data, heard.ended, play.connection.free_slots) == (b"hi", True, 1)


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 001 X\r\n\r\n",
        b"HTTP/1.1 199 OK\r\n" + CHUNKED + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + CHUNKED,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"0" * 5000 + b"1\r\n\r\nx",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 OK\r\nX: 1\r\n\r\n" * 3000,
    ],
)
async def test_an_answer_that_is_none_is_not_handed_on(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    play = Play()
    heard = play.ask()
    play.send(answer)
    assert heard.reset is ResetReason.PROTOCOL_ERROR
    assert [head.status for head, _ in heard.heads if head.status >= 200] == []
    assert heard.data == b""
    assert play.transport.aborted
    assert (play.owner.freed, play.owner.closed) == (0, 1)
    assert "Traceback" not in caplog.text


async def test_bytes_behind_an_answer_are_not_the_answer_to_the_next_request() -> None:
    """The pool gives a free connection away at once: that must not happen while more of the read is to come."""
    play = Play()
    next_ = Heard()

    class Pool(Owner):
        def on_connection_free(self, connection: object) -> None:
            super().on_connection_free(connection)
            play.connection.open(RequestHead(b"GET", b"/next", b"shop", []), True, next_)

    play.connection._owner = Pool()
    heard = play.ask()
    play.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    assert (heard.data, heard.ended, heard.reset) == (b"ok", True, None)
    assert (next_.heads, next_.data) == ([], b"")
    assert play.transport.aborted


@pytest.mark.parametrize("status", [200, 204, 304])
async def test_a_body_where_none_can_be_ends_the_connection(status: int) -> None:
    play = Play()
    heard = play.ask(b"HEAD" if status == 200 else b"GET")
    play.send(b"HTTP/1.1 %d X\r\nContent-Length: 4\r\n\r\nbody" % status)
    assert (heard.ended, heard.data) == (True, b"")
    assert play.transport.closed
    assert play.owner.freed == 0


async def test_trailers_without_end_are_cut_off() -> None:
    play = Play()
    heard = play.ask()
    play.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
    for _ in range(70):
        if not play.transport.closed:
            play.send(b"X-T: " + b"a" * 1000 + b"\r\n")
    assert (heard.reset, play.transport.aborted) == (ResetReason.PROTOCOL_ERROR, True)


async def test_white_space_behind_a_value_is_not_of_it() -> None:
    play = Play()
    heard = play.ask()
    play.send(b"HTTP/1.1 200 OK\r\nX: y z \t\r\nContent-Length: 0\r\n\r\n")
    assert heard.heads[0][0].fields == [(b"X", b"y z")]
