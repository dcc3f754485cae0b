"""A request that asks for a tunnel, played: no sockets."""

from __future__ import annotations

import pytest

from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.stream import ResetReason
from tests.unit.exchange.played import Play


def sums(play: Play) -> tuple[int, int, int, dict[str, int]]:
    """(opened, received, sent, closed) of the one series."""
    (series,) = play.metrics.tcp.values()
    return series.opened, series.received_bytes, series.sent_bytes, series.closed


async def test_bytes_pass_until_both_have_ended() -> None:
    play = Play()
    exchange = play.ask(end=False, upgrade=b"websocket")
    assert play.asked.asked[-1][1] is False
    up = play.asked
    up.handler.on_head(ResponseHead(101, []), False)
    assert (play.downstream.heads[-1].status, play.downstream.ended) == (101, False)
    exchange.on_data(b"hello", False)
    up.handler.on_data(b"hi", True)
    assert (up.data, play.downstream.data, play.downstream.ended) == (b"hello", b"hi", True)
    assert not exchange.done
    exchange.on_data(b"!", True)
    assert (exchange.done, up.data, up.ended) == (True, b"hello!", True)
    assert sums(play) == (1, 6, 2, {"": 1})
    assert next(iter(play.metrics.requests))[-2:] == ("1xx", "")


async def test_an_early_end_goes_in_the_tunnel() -> None:
    """Who ends at once is not sent on as a request without a body, which would be no request for a tunnel."""
    play = Play()
    for upstream in play.upstreams:
        upstream.connected = False
    exchange = play.ask(end=False, upgrade=b"raw")
    exchange.on_data(b"all", False)
    exchange.on_data(b"", True)
    up = play.upstreams[0]
    up.connected = True
    pool = next(endpoint.pool("http1") for endpoint in play.cluster.endpoints if endpoint.pool("http1").waiting)
    pool.on_connection_free(up)
    assert (up.asked[-1][1], up.data, up.ended) == (False, b"all", True)


@pytest.mark.parametrize("status", [200, 426])
async def test_another_answer_is_no_tunnel(status: int) -> None:
    play = Play()
    exchange = play.ask(end=False, upgrade=b"websocket")
    up = play.asked
    up.handler.on_head(ResponseHead(status, [], content_length=2), False)
    up.handler.on_data(b"no", True)
    assert (exchange.done, play.downstream.data, play.metrics.tcp) == (True, b"no", {})
    assert (up.resets, play.downstream.resets) == ([], [ResetReason.CANCELLED])


async def test_a_cut_is_passed_on_and_counted() -> None:
    play = Play()
    play.ask(end=False, upgrade=b"websocket")
    play.asked.handler.on_head(ResponseHead(101, []), False)
    play.asked.handler.on_reset(ResetReason.PEER_RESET)
    assert play.downstream.resets
    assert sums(play)[3] == {"UC": 1}


async def test_what_is_not_open_yet_is_tried_elsewhere() -> None:
    play = Play()
    play.ask(end=False, upgrade=b"websocket")
    play.asked.handler.on_reset(ResetReason.REFUSED)
    (await play.attempt(2)).handler.on_head(ResponseHead(101, []), False)
    assert sums(play)[0] == 1
