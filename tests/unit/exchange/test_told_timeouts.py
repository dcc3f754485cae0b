"""What attempts are told of how long their caller waits, and what comes of being told."""

from __future__ import annotations

import asyncio

import pytest

from remora.model.policies import Balancer, RetryPolicy, ServicePolicy, Timeouts
from remora.sidecar.exchange.grpc_timeout import parse_grpc_timeout
from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.stream import ResetReason
from tests.support.waiting import until
from tests.unit.exchange.played import Play

GRPC = b"application/grpc"


def play(request_s: float = 10.0, *, tells: bool = True) -> Play:
    retry = RetryPolicy(tells_timeout=tells, backoff_base_s=0.001)
    return Play(ServicePolicy(balancer=Balancer("round_robin"), retry=retry, timeouts=Timeouts(request_s=request_s)))


def told(played: Play) -> bytes | None:
    """What the newest attempt was told."""
    return played.asked.asked[-1][0].grpc_timeout


async def test_each_try_is_told_what_is_left_of_a_configured_timeout() -> None:
    played = play()
    played.ask()
    before = parse_grpc_timeout(told(played) or b"")
    await asyncio.sleep(0.002)
    played.asked.handler.on_reset(ResetReason.PEER_RESET)
    await played.attempt(2)
    after = parse_grpc_timeout(told(played) or b"")
    assert before is not None
    assert after is not None
    assert 9.0 < after < before - 0.001 < 10.0


async def test_a_request_that_is_still_sent_is_told_all_of_it() -> None:
    played = play()
    played.ask(b"PUT", end=False)
    assert parse_grpc_timeout(told(played) or b"") == 10.0


@pytest.mark.parametrize(("content_type", "tells"), [(None, False), (GRPC, True)])
async def test_defaults_and_calls_are_told_nothing(content_type: bytes | None, tells: bool) -> None:
    played = play(tells=tells)
    played.ask(content_type=content_type)
    assert told(played) is None


@pytest.mark.parametrize(("own_s", "said", "counts_s"), [(10.0, b"5S", 5.0), (3.0, b"5S", 3.0), (0.0, b"5S", 5.0)])
async def test_the_shorter_of_the_callers_and_our_own_counts(own_s: float, said: bytes, counts_s: float) -> None:
    played = play(own_s, tells=False)
    exchange = played.ask(grpc_timeout=said)
    assert counts_s - 1.0 < exchange.time_left() <= counts_s
    left = parse_grpc_timeout(told(played) or b"")
    assert left is not None
    assert counts_s - 1.0 < left <= counts_s


async def test_what_cannot_be_read_is_told_on_by_those_without_a_timeout() -> None:
    played = play(0.0, tells=False)
    played.ask(grpc_timeout=b"soon")
    assert told(played) == b"soon"


@pytest.mark.parametrize("said", [b"20m", b"0n"])
async def test_a_caller_that_waits_no_longer_is_answered(said: bytes) -> None:
    played = play(0.0, tells=False)
    exchange = played.ask(grpc_timeout=said)
    await until(lambda: exchange.done)
    assert [head.status for head in played.downstream.heads] == [504]


async def test_an_answer_that_streams_is_not_cut() -> None:
    played = play(0.0, tells=False)
    exchange = played.ask(grpc_timeout=b"30m")
    played.asked.handler.on_head(ResponseHead(200, []), False)
    assert exchange.time_left() > 100.0
    await asyncio.sleep(0.05)
    assert not exchange.done
