"""Mirrors, played: copies go as the request goes; what becomes of them concerns nobody but the counter."""

from __future__ import annotations

import pytest

from remora.model.names import ServiceName
from remora.model.policies import ServicePolicy, Timeouts
from remora.model.routes import FieldEdits, Filters
from remora.model.snapshot import Endpoint
from remora.sidecar.exchange.decision import Decision, MirrorTarget
from remora.sidecar.exchange.mirror import COPY_BYTES, LIMIT_S, MAX_COPIES, SERVICE_BYTES
from remora.sidecar.routing.filters import CompiledFilters
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import Cluster
from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.stream import ResetReason
from tests.support.waiting import until
from tests.unit.exchange.played import Play, Upstream

SHADOW = ServiceName("shadow.default")
OK = ResponseHead(200, [], content_length=2)


class Mirrored(Play):
    """A request whose copy goes to `mirror`."""

    def __init__(self, *filters: CompiledFilters, known: bool = True) -> None:
        super().__init__()
        policy = ServicePolicy(timeouts=Timeouts(request_s=0.05))
        self.shadow = Cluster(SHADOW, policy, Metrics())
        self.shadow.update((Endpoint("m", "127.0.0.1", 3),), policy)
        self.mirror = Upstream()
        self.shadow.endpoints[0].pool("http1").on_connection_free(self.mirror)  # type: ignore[arg-type]
        assert isinstance(self.answer, Decision)
        self.answer.filters = filters
        self.answer.mirrors = (MirrorTarget(SHADOW, self.shadow if known else None, filters[:1]),)

    @property
    def mirrored(self) -> dict[tuple[str, str, str], int]:
        return self.metrics.mirrored

    def answer_request(self) -> None:
        self.asked.handler.on_head(OK, False)
        self.asked.handler.on_data(b"hi", True)
        assert (self.downstream.data, self.downstream.ended) == (b"hi", True)


def counted(status: str, flag: str, copies: int = 1) -> dict[tuple[str, str, str], int]:
    return {(SHADOW, status, flag): copies}


async def test_a_copy_is_what_the_filters_beside_it_have_made_of_the_request() -> None:
    def adding(value: str) -> CompiledFilters:
        return CompiledFilters(Filters(request=FieldEdits(add=(("x-way", value),))), "")

    play = Mirrored(adding("route"), adding("backend"))
    play.ask()
    (copied, end) = play.mirror.asked[0]
    (sent, _) = play.asked.asked[0]
    assert end
    assert copied.fields == [(b"x-way", b"route")]
    assert sent.fields == [(b"x-way", b"route"), (b"x-way", b"backend")]
    assert (copied.path, copied.authority, copied.request_id) == (sent.path, sent.authority, sent.request_id)
    assert (copied.trace_parent or b"")[:35] == (sent.trace_parent or b"")[:35]
    assert copied.trace_parent != sent.trace_parent


async def test_the_body_goes_along_and_the_answer_is_dropped() -> None:
    play = Mirrored()
    exchange = play.ask(b"POST", end=False)
    exchange.on_data(b"one", False)
    exchange.on_data(b"two", True)
    assert (play.mirror.data, play.mirror.ended) == (b"onetwo", True)
    play.answer_request()
    assert play.mirrored == {}
    play.mirror.handler.on_head(ResponseHead(500, []), False)
    play.mirror.handler.on_data(b"no", True)
    assert play.mirrored == counted("5xx", "")
    assert play.downstream.data == b"hi"
    assert play.shadow.copies == play.shadow.active == 0


async def test_trailers_and_statuses_of_grpc() -> None:
    play = Mirrored()
    exchange = play.ask(b"POST", end=False, content_type=b"application/grpc")
    exchange.on_data(b"\0\0\0\0\0", False)
    exchange.on_trailers([(b"x", b"y")])
    assert play.mirror.ended
    play.mirror.handler.on_head(ResponseHead(200, [(b"grpc-status", b"5")]), True)
    assert play.mirrored == counted("NOT_FOUND", "")


@pytest.mark.parametrize("reason", [ResetReason.PEER_RESET, ResetReason.REFUSED, ResetReason.PROTOCOL_ERROR])
async def test_a_copy_that_fails_is_not_tried_again_and_troubles_nobody(reason: ResetReason) -> None:
    play = Mirrored()
    play.ask()
    play.mirror.handler.on_reset(reason)
    assert len(play.mirror.asked) == 1
    assert sum(play.mirrored.values()) == 1
    play.answer_request()


async def test_a_mirror_that_does_not_answer_is_not_waited_for() -> None:
    play = Mirrored()
    play.ask()
    play.answer_request()
    assert play.mirrored == {}
    await until(lambda: bool(play.mirrored))
    assert play.mirrored == counted("", "UT")
    assert play.mirror.resets == [ResetReason.CANCELLED]


async def test_a_copy_has_a_limit_where_requests_have_none() -> None:
    play = Mirrored()
    play.shadow.policy = ServicePolicy(timeouts=Timeouts(request_s=0.0))
    play.ask()
    assert play.mirror.handler._exchange.decision.request_timeout_s == LIMIT_S


async def test_an_answer_without_end_is_not_read_for_ever() -> None:
    play = Mirrored()
    play.ask()
    play.mirror.handler.on_head(ResponseHead(200, []), False)
    play.mirror.handler.on_data(b"and on", False)
    await until(lambda: bool(play.mirrored))
    assert play.mirrored == counted("", "UT")


async def test_what_a_slow_mirror_does_not_take_is_kept_and_sent_later() -> None:
    play = Mirrored()
    exchange = play.ask(b"POST", end=False)
    play.mirror.handler.on_writable(False)
    for _ in range(4):
        exchange.on_data(bytes(1000), False)
    exchange.on_data(b"", True)
    assert play.mirror.data == b""
    assert play.shadow.copied_bytes == 4000
    assert not play.downstream.paused
    play.mirror.handler.on_writable(True)
    assert (len(play.mirror.data), play.mirror.ended) == (4000, True)
    assert play.shadow.copied_bytes == 0
    play.answer_request()


async def test_a_mirror_that_is_too_slow_loses_its_copy() -> None:
    play = Mirrored()
    exchange = play.ask(b"POST", end=False)
    play.mirror.handler.on_writable(False)
    for _ in range(COPY_BYTES // 65536 + 1):
        exchange.on_data(bytes(65536), False)
    assert play.mirrored == counted("", "UO")
    assert play.mirror.resets == [ResetReason.CANCELLED]
    assert play.shadow.copied_bytes == play.shadow.copies == play.shadow.active == 0
    exchange.on_data(b"rest", True)
    play.answer_request()


async def test_all_copies_of_a_slow_mirror_together_are_kept_so_far() -> None:
    play = Mirrored()
    exchange = play.ask(b"POST", end=False)
    play.mirror.handler.on_writable(False)
    play.shadow.copied_bytes = SERVICE_BYTES - 1500  # of others
    exchange.on_data(bytes(1000), False)
    assert play.mirrored == {}
    exchange.on_data(bytes(1000), False)
    assert play.mirrored == counted("", "UO")
    assert play.shadow.copied_bytes == SERVICE_BYTES - 1500


async def test_trailers_come_after_what_a_slow_mirror_has_not_taken() -> None:
    play = Mirrored()
    exchange = play.ask(b"POST", end=False)
    play.mirror.handler.on_writable(False)
    exchange.on_data(bytes(1000), False)
    exchange.on_trailers([(b"x", b"y")])
    assert (play.mirror.data, play.mirror.trailers) == (b"", None)
    play.mirror.handler.on_writable(True)
    assert (len(play.mirror.data), play.mirror.trailers) == (1000, [(b"x", b"y")])


async def test_a_request_that_ends_without_another_byte_ends_its_slow_copy() -> None:
    play = Mirrored()
    exchange = play.ask(b"POST", end=False)
    exchange.on_data(b"all", False)
    play.mirror.handler.on_writable(False)
    exchange.on_data(b"", True)
    assert not play.mirror.ended
    play.mirror.handler.on_writable(True)
    assert (play.mirror.data, play.mirror.ended) == (b"all", True)


async def test_nobody_waits_to_be_told_to_send_a_copy() -> None:
    play = Mirrored()
    play.ask(b"POST", end=False, expect_continue=True)
    assert play.asked.asked[0][0].expect_continue
    assert not play.mirror.asked[0][0].expect_continue


async def test_half_a_copy_is_given_up_with_its_request() -> None:
    play = Mirrored()
    exchange = play.ask(b"POST", end=False)
    exchange.on_data(b"half", False)
    exchange.on_reset(ResetReason.CANCELLED)
    assert play.mirror.resets == [ResetReason.CANCELLED]
    assert play.mirrored == counted("", "DC")


async def test_a_whole_copy_outlives_its_request() -> None:
    play = Mirrored()
    exchange = play.ask()
    exchange.on_reset(ResetReason.CANCELLED)
    assert play.mirror.resets == []
    play.mirror.handler.on_head(OK, True)
    assert play.mirrored == counted("2xx", "")


async def test_there_are_only_so_many_at_once() -> None:
    play = Mirrored()
    play.shadow.copies = MAX_COPIES
    play.ask()
    assert play.mirror.asked == []
    assert play.mirrored == counted("", "UO")
    play.answer_request()


async def test_a_mirror_without_endpoints() -> None:
    play = Mirrored(known=False)
    play.ask()
    assert play.mirrored == counted("", "UH")
    play.answer_request()


async def test_a_copy_is_not_remembered_in_place_of_its_request() -> None:
    play = Mirrored()
    exchange = play.ask(request_id=b"told")
    play.mirror.handler.on_reset(ResetReason.PEER_RESET)
    assert exchange._proxy.recent.find("told") == []
    play.asked.handler.on_head(ResponseHead(500, []), True)
    (happened,) = exchange._proxy.recent.find("told")
    assert (happened.service, happened.status) == ("shop.default", 500)
