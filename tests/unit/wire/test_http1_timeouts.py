"""How long the server side of HTTP/1.1 waits for its peer."""

from __future__ import annotations

import pytest

from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.http1 import server
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.stream import ResetReason
from remora.sidecar.wire.watch import Watch
from tests.support.waiting import until
from tests.unit.wire.played import Downstream, read_answers


class Watched(Downstream):
    """A connection that is looked at when the test says so; the head may take three periods, the body six."""

    def __init__(self) -> None:
        self.watch = Watch(5.0)
        super().__init__(RequestLimits(body_timeout_s=30.0, idle_timeout_s=60.0, write_timeout_s=45.0), self.watch)

    def look(self, times: int) -> None:
        for _ in range(times):
            self.connection.on_watch()

    @property
    def statuses(self) -> list[int]:
        return [status for status, _, _ in read_answers(self.transport.take())]


async def test_a_head_that_drips_is_answered_408() -> None:
    play = Watched()
    for byte in b"GET":
        play.send(bytes((byte,))).look(1)
    assert not play.transport.eof_written
    play.send(b" ").look(1)
    assert play.transport.eof_written
    assert (play.statuses, play.refused) == ([408], [408])


async def test_the_next_head_has_its_own_time() -> None:
    play = Watched()
    for _ in range(5):
        play.send(b"GET / HTTP/1.1\r\n").look(3)
        play.send(b"Host: a\r\n\r\n")
        play.answer()
    assert play.statuses == [200] * 5
    assert not play.transport.eof_written


async def test_a_body_that_stalls_is_answered_408() -> None:
    play = Watched().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
    play.look(6)
    play.send(b"a").look(6)
    assert play.last.reset is None
    play.look(1)
    assert (play.last.reset, play.statuses) == (ResetReason.PROTOCOL_ERROR, [408])
    assert play.refused == [], "the handler counts it"


async def test_a_body_may_stall_while_its_answer_streams_or_the_upstream_is_slow() -> None:
    for stall in ("answer", "pause"):
        play = Watched().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        if stall == "pause":
            play.last.stream.pause()
        else:
            play.last.stream.send_head(ResponseHead(200, []), False)
        play.look(50)
        assert play.last.reset is None
        assert not play.transport.closed


async def test_an_idle_connection_is_closed_in_the_end() -> None:
    play = Watched().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    play.look(50)
    assert not play.transport.closed, "the answer may take its time"
    play.answer()
    play.look(12)
    assert not play.transport.closed
    play.look(1)
    assert play.transport.closed
    assert not play.transport.aborted


async def test_a_peer_that_takes_nothing_of_its_answer_is_cut_off() -> None:
    play = Watched().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    play.transport.unsent = 5000
    play.look(9)
    play.transport.unsent = 4999
    play.look(9)
    assert not play.transport.closed
    play.look(1)
    assert play.transport.aborted


async def test_a_lost_connection_is_looked_at_no_more() -> None:
    play = Watched()
    assert len(play.watch) == 1
    play.connection.connection_lost(None)
    assert len(play.watch) == 0


async def test_lingering_does_not_cut_off_an_answer_that_is_still_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LINGER_S", 0.01)
    play = Watched().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    looks: list[int] = []

    def look() -> int:
        looks.append(play.transport.unsent)
        return play.transport.unsent

    monkeypatch.setattr(play.transport, "get_write_buffer_size", look)
    play.transport.unsent = 1
    play.answer(413)
    await until(lambda: len(looks) >= 3)
    assert not play.transport.aborted
    play.transport.unsent = 0
    await until(lambda: play.transport.aborted)
