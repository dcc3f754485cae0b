"""Whatever happens to a request, in whatever order: once it is over it takes no place anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from remora.model.policies import (
    AdaptiveConcurrency,
    Breaker,
    Hedging,
    LastGood,
    RetryPolicy,
    StaticAnswer,
)
from remora.sidecar.exchange.concurrency_gate import ConcurrencyGate
from remora.sidecar.exchange.decision import Decision
from remora.sidecar.exchange.exchange import Exchange
from remora.sidecar.exchange.failures import TIMEOUT
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.stream import ResetReason
from tests.unit.exchange.played import Upstream
from tests.unit.exchange.test_falling_back import OTHER, SORRY, FallingPlay

FALLBACKS: list[dict[str, Any]] = [
    {"service": OTHER},
    {"answer": SORRY},
    {"last_good": LastGood()},
    {"answer": StaticAnswer(204)},
]
KINDS: list[dict[str, Any]] = [
    {"method": b"GET"},
    {"method": b"PUT", "end": False},
    {"method": b"POST", "end": False},
    {"method": b"POST", "content_type": b"application/grpc"},
    {"method": b"GET", "end": False, "upgrade": b"websocket"},
]
BREAKER = Breaker("consecutive", failures=2, sleep_s=0.001)
statuses = st.sampled_from([100, 101, 200, 429, 500, 503])
whose = st.integers(0, 2)
steps = st.one_of(
    st.tuples(st.just("head"), whose, statuses, st.booleans()),
    st.tuples(st.just("data"), whose, st.booleans()),
    st.tuples(st.just("trailers"), whose, st.sampled_from([b"0", b"13", b"14"])),
    st.tuples(st.just("reset"), whose, st.sampled_from(list(ResetReason))),
    st.tuples(st.just("writable"), whose, st.booleans()),
    st.tuples(st.just("say"), st.booleans()),
    st.tuples(st.just("time out")),
    st.tuples(st.just("wait")),
    st.tuples(st.just("snapshot"), st.sampled_from([None, BREAKER]), st.booleans()),
    st.tuples(st.just("leave")),
)


class Scene:
    """A request, two endpoints, and another service."""

    def __init__(self, fallback: dict[str, Any], kind: dict[str, Any], hedged: bool) -> None:
        retry = RetryPolicy(backoff_base_s=0.0001, hedging=Hedging(0.0005, 2) if hedged else None)
        self.play = FallingPlay(retry, **fallback)
        self.gate = ConcurrencyGate("shop.default", AdaptiveConcurrency(5, 5), Metrics())
        answer = self.play.answer
        assert isinstance(answer, Decision)
        self.play.answer = answer.with_gates((*answer.gates, self.gate))
        self.play.answer.fallback = self.play.rule
        self.begun: set[Any] = set()
        self.ended: set[Any] = set()
        self.snapshot(BREAKER, True)
        self.exchange: Exchange = self.play.ask(**kind)
        self.said_all = kind.get("end", True)

    def do(self, what: str, *how: Any) -> None:
        getattr(self, what.replace(" ", "_"))(*how)

    def upstream(self, whose: int) -> Upstream | None:
        """What has been asked, and has not said all."""
        found = [*self.play.upstreams, self.play.other][whose]
        return None if found.handler is None or found.handler in self.ended else found

    def answering(self, whose: int) -> Upstream | None:
        """What has begun to answer."""
        found = self.upstream(whose)
        return None if found is None or found.handler not in self.begun else found

    def head(self, whose: int, status: int, end: bool) -> None:
        upstream = self.upstream(whose)
        if upstream is None or upstream.handler in self.begun:
            return
        handler = upstream.handler
        if status >= 200 or (status == 101 and upstream.asked[-1][0].upgrade):
            self.begun.add(handler)
            self._end(handler, end and status >= 200)
        handler.on_head(ResponseHead(status, []), handler in self.ended)

    def data(self, whose: int, end: bool) -> None:
        upstream = self.answering(whose)
        if upstream is not None:
            handler = upstream.handler
            self._end(handler, end)
            handler.on_data(b"data", end)

    def trailers(self, whose: int, status: bytes) -> None:
        upstream = self.answering(whose)
        if upstream is not None:
            handler = upstream.handler
            self._end(handler, True)
            handler.on_trailers([(b"grpc-status", status)])

    def reset(self, whose: int, reason: ResetReason) -> None:
        upstream = self.upstream(whose)
        if upstream is not None:
            handler = upstream.handler
            self._end(handler, True)
            handler.on_reset(reason)

    def _end(self, handler: Any, end: bool) -> None:
        if end:
            self.ended.add(handler)

    def writable(self, whose: int, writable: bool) -> None:
        upstream = self.upstream(whose)
        if upstream is not None:
            upstream.handler.on_writable(writable)

    def say(self, end: bool) -> None:
        if not self.said_all:
            self.said_all = end
            self.exchange.on_data(b"said", end)

    def time_out(self) -> None:
        self.exchange.on_timeout(TIMEOUT, 1.0, past_deadline=False)

    def snapshot(self, breaker: Breaker | None, both: bool) -> None:
        cluster = self.play.cluster
        endpoints = [endpoint.endpoint for endpoint in cluster.endpoints]
        cluster.update(endpoints if both else endpoints[:1], msgspec.structs.replace(self.play.policy, breaker=breaker))

    def leave(self) -> None:
        self.exchange.on_reset(ResetReason.CANCELLED)


async def play(fallback: dict[str, Any], kind: dict[str, Any], hedged: bool, story: list[tuple[Any, ...]]) -> None:
    scene = Scene(fallback, kind, hedged)
    played = scene.play
    everybody = played.cluster.endpoints
    for step in story:
        if step == ("wait",):
            await asyncio.sleep(0.002)
        else:
            scene.do(*step)
    if not scene.exchange.done:
        scene.leave()
    assert scene.exchange.done
    await asyncio.sleep(0)
    clusters = [played.cluster, *played.clusters]
    assert [cluster.active for cluster in clusters] == [0, 0]
    assert [endpoint.active for endpoint in everybody] == [0, 0]
    assert [cluster.traffic.room.waiting for cluster in clusters] == [0, 0]
    assert [(cluster.budget.retrying, cluster.budget.waiting) for cluster in clusters] == [(0, 0), (0, 0)]
    assert scene.gate.in_flight == 0
    assert sum(played.gates.heard) <= 1
    assert sum(1 for head in played.downstream.heads if head.status >= 200) <= 1
    played.cluster.abort()


@given(st.sampled_from(FALLBACKS), st.sampled_from(KINDS), st.booleans(), st.lists(steps, max_size=12))
@settings(deadline=None)
def test_a_request_that_is_over_takes_no_place(
    fallback: dict[str, Any], kind: dict[str, Any], hedged: bool, story: list[tuple[Any, ...]]
) -> None:
    asyncio.run(play(fallback, kind, hedged, story))
