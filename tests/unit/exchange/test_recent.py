"""The memory of requests: what it keeps, and that it stays small."""

from __future__ import annotations

import asyncio
import sys

import msgspec

from remora.model.happened import Happened, Tried
from remora.model.policies import Balancer, RetryPolicy, ServicePolicy
from remora.model.routes import FieldEdits, Filters, PathRewrite, Rewrite
from remora.sidecar.exchange import failures
from remora.sidecar.exchange.recent import MAX_FAILURES, MAX_SAMPLES, MAX_TEXT, MAX_TRIED, Recent
from remora.sidecar.exchange.story import Story
from remora.sidecar.exchange.timers import TimerWheel
from remora.sidecar.routing.filters import CompiledFilters
from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.stream import ResetReason
from tests.unit.exchange.played import Play

TRIED = (Tried("10.0.0.1:80", "answered 500", 0.1),)


def happened(name: str, at: float = 0.0) -> Happened:
    return Happened(at, 0.1, "outbound", "GET", "shop", "/", "shop", "", 200, request_id=name, trace_id=f"t{name}")


async def test_it_keeps_the_newest_and_no_more_than_it_may() -> None:
    recent = Recent(TimerWheel())
    for number in range(MAX_FAILURES + 10):
        recent.keep(msgspec.structs.replace(happened(str(number)), attempts=TRIED), failed=True)
    for number in range(MAX_FAILURES + 10):  # however many are refused, those that were tried stay
        recent.keep(happened(f"r{number}"), failed=True)
    for number in range(MAX_SAMPLES + 10):
        recent.keep(happened(f"s{number}"), failed=False)
    assert len(recent) == 2 * MAX_FAILURES + MAX_SAMPLES
    assert [each.request_id for each in recent.failures()[-2:]] == ["r508", "r509"]
    assert recent.find("9") == []
    assert recent.find("10") == [msgspec.structs.replace(happened("10"), attempts=TRIED)]
    assert [each.request_id for each in recent.find("t10")] == ["10"]
    assert recent.find("s10") == [happened("s10")]


async def test_after_a_sample_it_is_closed_for_a_while() -> None:
    recent = Recent(TimerWheel())
    recent.keep(happened("a"), failed=True)
    assert recent.open
    recent.keep(happened("b"), failed=False)
    assert not recent.open
    async with asyncio.timeout(5):
        while not recent.open:
            await asyncio.sleep(0.01)


async def test_attempts_are_told_with_what_became_of_each() -> None:
    retry = RetryPolicy(backoff_base_s=0.001, backoff_cap_s=0.001)
    play = Play(ServicePolicy(balancer=Balancer("round_robin"), retry=retry))
    exchange = play.ask(request_id=b"r1")
    play.asked.handler.on_head(ResponseHead(503, []), True)
    (await play.attempt(2)).handler.on_reset(ResetReason.PEER_RESET)
    (await play.attempt(3)).handler.on_head(ResponseHead(200, []), True)
    assert exchange.done
    (told,) = play.recent.find("r1")
    assert [each.result for each in told.attempts] == ["answered 503", ResetReason.PEER_RESET.value, "answered 200"]
    assert sorted({each.endpoint for each in told.attempts}) == ["127.0.0.1:1", "127.0.0.1:2"]
    assert (told.status, told.flag, told.route) == (200, "", "default")
    play.ask(request_id=b"r2")
    assert play.recent.open  # a request that was tried again is kept for that
    assert told.trace_id == (exchange.head.trace_parent or b"").decode()[3:35]


async def test_all_failures_are_kept_and_of_the_rest_a_share() -> None:
    play = Play()
    for number in range(50):
        play.ask(method=b"POST", request_id=b"f%d" % number)
        play.asked.handler.on_head(ResponseHead(500, []), True)
    for number in range(50):
        play.ask(request_id=b"g%d" % number)
        play.asked.handler.on_head(ResponseHead(200, []), True)
    kept = [each.request_id for each in play.recent.all()]
    assert kept == [*(f"f{number}" for number in range(50)), "g0"]


async def test_what_callers_choose_is_cut() -> None:
    play = Play()
    play.ask(request_id=b"r" * 8000)
    play.asked.handler.on_head(ResponseHead(200, []), True)
    (told,) = play.recent.find("r" * 8000)
    assert len(told.request_id) == MAX_TEXT
    assert sys.getsizeof(told.request_id) < 400


def size(value: object) -> int:
    """Bytes of a value and of all that it holds, none of it shared."""
    parts = value if isinstance(value, tuple) else ()
    if isinstance(value, msgspec.Struct):
        parts = msgspec.structs.astuple(value)
    return sys.getsizeof(value) + sum(map(size, parts))


async def test_at_the_very_worst_it_takes_a_few_mebibytes() -> None:
    play = Play()
    long = b"/" + b"a" * 9000
    exchange = play.ask(request_id=b"r" * 9000)
    exchange.head.authority = exchange.head.path = long
    exchange.head.method = b"M" * 9000
    exchange.head.trace_parent = b"00-" + b"f" * 9000
    exchange.story = Story()
    attempt = exchange._attempt
    assert attempt is not None
    for _ in range(100):
        exchange.note(attempt, "o" * 9000)
    exchange.break_off(failures.UPSTREAM_RESET)
    (told,) = play.recent.all()
    assert len(told.attempts) == MAX_TRIED
    assert max(len(each.result) for each in told.attempts) == MAX_TEXT
    assert size(told) <= 8 << 10
    assert size(told) * (2 * MAX_FAILURES + MAX_SAMPLES) < 10 << 20
    usual = happened("0123456789abcdef0123456789abcdef")
    assert size(usual) < 1024


async def test_what_may_be_secret_is_not_kept() -> None:
    play = Play()
    edits = Filters(
        request=FieldEdits(set=(("authorization", "Bearer of-the-route"),)),
        rewrite=Rewrite("inside", PathRewrite("full", "/inner")),
    )
    play.answer.filters = (CompiledFilters(edits, ""),)  # type: ignore[union-attr]
    exchange = play.ask(request_id=b"r1", path=b"/x?token=t0ken", fields=[(b"cookie", b"id=c00kie")])
    assert exchange.head.path == b"/inner?token=t0ken"
    play.asked.handler.on_head(ResponseHead(500, [(b"set-cookie", b"id=c00kie")]), False)
    play.asked.handler.on_data(b"b0dy", True)
    (told,) = play.recent.find("r1")
    assert (told.authority, told.path) == ("shop", "/x")  # as it was asked for
    written = msgspec.json.encode(told)
    for secret in (b"t0ken", b"c00kie", b"b0dy", b"of-the-route"):
        assert secret not in written
