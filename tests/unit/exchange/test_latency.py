"""What peak EWMA learns of attempts: how long the head took, and that failures are no quick answers."""

from __future__ import annotations

import time

import pytest

from remora.model.policies import Balancer, RetryPolicy, ServicePolicy
from remora.sidecar.policy.ewma import PENALTY_S
from remora.sidecar.upstream.endpoint import UpstreamEndpoint
from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.stream import ResetReason
from tests.unit.exchange.played import Play, Upstream

POLICY = ServicePolicy(balancer=Balancer("peak_ewma"), retry=RetryPolicy(attempts=0))


def begun(**slots: object) -> tuple[Play, Upstream, UpstreamEndpoint]:
    """A request, its upstream, and the endpoint that is measured."""
    play = Play(POLICY)
    play.ask(**slots)  # type: ignore[arg-type]
    upstream = play.asked
    return play, upstream, play.cluster.endpoints[play.upstreams.index(upstream)]


def latency(endpoint: UpstreamEndpoint) -> float:
    assert endpoint.ewma is not None
    return endpoint.ewma.latency_s(time.monotonic())


async def test_the_time_to_the_head_counts_not_that_to_the_end() -> None:
    _, upstream, endpoint = begun()
    upstream.handler.on_head(ResponseHead(200, []), False)
    first = latency(endpoint)
    assert 0.0 < first < 1.0
    upstream.handler.on_data(b"x", True)
    assert latency(endpoint) <= first


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_fails_or_turns_away_counts_as_slow(status: int) -> None:
    _, upstream, endpoint = begun()
    upstream.handler.on_head(ResponseHead(status, []), True)
    assert latency(endpoint) == pytest.approx(PENALTY_S, rel=0.1)


@pytest.mark.parametrize("status", [404, 400, 302])
async def test_what_is_the_clients_fault_counts_as_it_was(status: int) -> None:
    _, upstream, endpoint = begun()
    upstream.handler.on_head(ResponseHead(status, []), True)
    assert latency(endpoint) < 1.0


@pytest.mark.parametrize("status", [b"8", b"14"])
async def test_grpc_that_fails_or_turns_away_counts_as_slow(status: bytes) -> None:
    _, upstream, endpoint = begun(method=b"POST", content_type=b"application/grpc")
    upstream.handler.on_head(ResponseHead(200, []), False)
    assert latency(endpoint) < 1.0
    upstream.handler.on_trailers([(b"grpc-status", status)])
    assert latency(endpoint) == pytest.approx(PENALTY_S, rel=0.1)


async def test_grpc_that_succeeds_counts_as_it_was() -> None:
    _, upstream, endpoint = begun(method=b"POST", content_type=b"application/grpc")
    upstream.handler.on_head(ResponseHead(200, []), False)
    upstream.handler.on_data(b"\0\0\0\0\0", False)
    upstream.handler.on_trailers([(b"grpc-status", b"0")])
    assert 0.0 < latency(endpoint) < 1.0


async def test_a_reset_counts_as_slow() -> None:
    _, upstream, endpoint = begun()
    upstream.handler.on_reset(ResetReason.INTERNAL)
    assert latency(endpoint) == pytest.approx(PENALTY_S, rel=0.1)


async def test_a_client_that_left_says_that_it_took_at_least_as_long() -> None:
    play = Play(POLICY)
    exchange = play.ask()
    endpoint = play.cluster.endpoints[play.upstreams.index(play.asked)]
    exchange.on_reset(ResetReason.CANCELLED)
    assert 0.0 < latency(endpoint) < 1.0


async def test_nothing_is_measured_for_other_balancers() -> None:
    play = Play()
    play.ask()
    play.asked.handler.on_head(ResponseHead(200, []), True)
    assert all(endpoint.ewma is None for endpoint in play.cluster.endpoints)
