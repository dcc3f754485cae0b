"""One request's life: a downstream stream joined to one attempt after another upstream.

    head ─► decide ─► gates ─► attempt ─► (retry ─► attempt …) ─► answer forwarded or made ─► counted

It is in layers, each a base of the next, so that a request is one object: time (`clock.py`), attempts (`tries.py`, and
`racing.py` for those beside each other), answers (`answering.py`), what takes their place (`falling_back.py`), and here
its way in, what the downstream says, and its end. Once an answer is being forwarded it only passes data on. Both sides'
backpressure goes straight through.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from remora.model.happened import Happened, Tried
from remora.sidecar.exchange import failures
from remora.sidecar.exchange.attempt import Attempt
from remora.sidecar.exchange.decision import Decision, Discovery, LocalAnswer, Refusal
from remora.sidecar.exchange.falling_back import FallingBack
from remora.sidecar.exchange.gate import Asked, Delayed, Gate, Granted, Stopped
from remora.sidecar.exchange.grpc_timeout import format_grpc_timeout, parse_grpc_timeout
from remora.sidecar.exchange.hedges import Hedges
from remora.sidecar.exchange.passage import Passage
from remora.sidecar.exchange.recent import MAX_TEXT
from remora.sidecar.exchange.replay import Replay
from remora.sidecar.exchange.story import tried
from remora.sidecar.policy.outcome import FAILED_GRPC, Outcome
from remora.sidecar.telemetry.grpc import CallCounter
from remora.sidecar.telemetry.metrics import REFUSED_FLAG, grpc_status_name
from remora.sidecar.telemetry.trace import child_traceparent, new_request_id
from remora.sidecar.upstream.endpoint import UpstreamEndpoint
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.stream import RequestStream, ResetReason

if TYPE_CHECKING:
    from remora.sidecar.exchange.proxy import Proxy

_FLAG_OF_RESET = {
    ResetReason.PROTOCOL_ERROR: REFUSED_FLAG,
    ResetReason.BAD_ANSWER: failures.UPSTREAM_PROTOCOL.flag,
}
"""How a request counts that its downstream has ended; in any other way: DOWNSTREAM_GONE_FLAG."""

_SAYS_NOTHING = failures.NOT_SENT | {failures.DOWNSTREAM_GONE_FLAG, REFUSED_FLAG}
"""Flags of requests whose end is no sign of how the service is."""

WORTH_KEEPING = frozenset((b"2", b"4", b"12", b"13", b"14", b"15"))
"""gRPC statuses that are failures of the server (OpenTelemetry's semantic conventions for gRPC)."""

DISCOVERY_TIMEOUT_S = 2.0
"""How long a first request waits for control's word on its service."""


LEAST_S = 0.001
"""A caller that does not wait at all is answered after this: a total of 0 is none."""


class Exchange(FallingBack):
    """One request: the downstream's RequestHandler, and what its attempts report to."""

    __slots__ = ("_asked_for", "_passage")

    def __init__(self, proxy: Proxy, downstream: RequestStream, head: RequestHead, end: bool) -> None:
        FallingBack.__init__(self, proxy, downstream, head, end)
        self._asked_for: tuple[bytes, bytes] | None = None
        """Authority and path as they came, where filters have edited them."""
        self._passage: Passage | None = None
        """Set if it has gates to pass, or mirrors."""

    # ── deciding ──

    def start(self) -> None:
        """Decide, and make the first attempt."""
        head = self.head
        head.trace_parent = child_traceparent(head.trace_parent)
        if head.request_id is None:
            head.request_id = new_request_id()
        self._decide(final=False)

    def _decide(self, *, final: bool) -> None:
        decision = self._proxy.router.decide(self.head, final=final)
        if isinstance(decision, Decision):
            if decision.gates or decision.mirrors:
                self._passage = Passage(decision.gates)
            elif decision.filters:
                self._edit_request(decision)
            self._per_try_s = decision.retry.per_try_s
            self._begin(decision)
        elif isinstance(decision, Refusal):
            self._refuse(decision.failure, decision.detail, decision.service, decision.route)
        elif isinstance(decision, LocalAnswer):
            self._answer(ResponseHead(decision.status, decision.fields), b"")
            self._finish("", decision.service, decision.route)
        else:
            asyncio.get_running_loop().create_task(self._discover(decision))

    def _edit_request(self, decision: Decision) -> None:
        if decision.filters:
            head = self.head
            self._asked_for = (head.authority, head.path)
            for filters in decision.filters:
                filters.edit_request(head)

    async def _discover(self, discovery: Discovery) -> None:
        await asyncio.wait((discovery.answer,), timeout=DISCOVERY_TIMEOUT_S)
        if not self.done:
            self._decide(final=True)

    def _begin(self, decision: Decision) -> None:
        self.decision = decision
        if self.is_grpc:
            self._begin_call(decision)
        retry = decision.retry
        if self.head.grpc_timeout is not None or retry.tells_timeout:
            self.decision = decision = self._take_timeout(decision, self.head.grpc_timeout)
        self._limit_time(decision)
        if retry.hedging is not None and decision.persistence is None:
            self.hedges = Hedges(retry.hedging, decision.cluster.budget, self.on_hedge_due)
        self._set_out()

    def _limit_time(self, decision: Decision) -> None:
        if self._request_ended:
            self.limit_total(decision.request_timeout_s)
        else:
            self.limit_silence(decision.idle_timeout_s)

    def _take_timeout(self, decision: Decision, grpc_timeout: bytes | None) -> Decision:
        """Go by how long the caller waits, and tell the next server (docs/decisions/0015).

        For gRPC that is a deadline for all of the call, and the caller's to set. Else it is a total like ours.
        """
        if self.is_grpc:
            if grpc_timeout is not None:
                self.take_deadline(grpc_timeout)
            return decision
        waits_s = parse_grpc_timeout(grpc_timeout) if grpc_timeout is not None else None
        total_s = decision.request_timeout_s
        if waits_s is not None and not 0.0 < total_s < waits_s:
            total_s = max(waits_s, LEAST_S)
        if total_s:
            self.head.grpc_timeout = format_grpc_timeout(total_s)
        return decision.with_request_timeout(total_s)

    def _begin_call(self, decision: Decision) -> None:
        head, service, proxy = self.head, decision.cluster.name, self._proxy
        self._counter = CallCounter(proxy.grpc.get((service, head.path)) or proxy.find_grpc_series(service, head.path))
        if self.replay is not None:
            for data in self.replay.pieces:
                self._counter.on_request(data)

    # ── gates ──

    def _set_out(self) -> None:
        """Pass the gates that are left, if there are any, then try."""
        passage = self._passage
        verdict = None if passage is None else passage.enter(self.head)
        if passage is None:
            self._try()
        elif isinstance(verdict, Stopped):
            self._stop(verdict)
        elif verdict is not None:
            self._hold(verdict, passage)
        else:
            self._mirror(passage)
            self._be_edited()
            self._try()

    def _mirror(self, passage: Passage) -> None:
        decision = self.decision
        if decision is not None and decision.mirrors:
            passage.copies = self._proxy.mirror(self.head, decision.mirrors, self.replay, self._request_ended)

    def _stop(self, stopped: Stopped) -> None:
        decision = self.decision
        assert decision is not None, "gates are those of a decision"
        fields = stopped.fields
        if stopped.wait_s:
            fields = [*failures.retry_after(self.head, stopped.wait_s), *fields]
        self._refuse(stopped.failure, stopped.detail, decision.service, decision.route, fields)

    def _hold(self, verdict: Delayed | Asked, passage: Passage) -> None:
        """Wait, as a gate says, before the next one."""
        if isinstance(verdict, Asked):
            passage.held = verdict.answer
            verdict.answer.add_done_callback(self._on_told)
        else:
            passage.flag = verdict.flag
            passage.held = asyncio.get_running_loop().call_later(verdict.seconds, self._go_on, passage, verdict.then)

    def _on_told(self, answer: asyncio.Future[Stopped | Granted | None]) -> None:
        passage = self._passage
        if passage is not None and passage.held is answer:  # its time is not over, and it goes nowhere else
            self._go_on(passage, answer.result())

    def _go_on(self, passage: Passage, verdict: Stopped | Granted | None) -> None:
        passage.held = None
        if isinstance(verdict, Stopped):
            self._stop(verdict)
            return
        if verdict is not None:
            self._grant(verdict)
        self._set_out()

    def _grant(self, granted: Granted) -> None:
        decision = self.decision
        assert decision is not None, "gates are those of a decision"
        self.head.fields = [*self.head.fields, *granted.request_fields]
        if granted.answer_fields:
            self.decision = decision.with_answer_fields(granted.answer_fields)

    def _new_attempt(self, endpoint: UpstreamEndpoint) -> Attempt:
        return Attempt(self, endpoint)

    # ── RequestHandler: what the downstream says ──

    def on_data(self, data: bytes, end: bool) -> None:
        if self.done:
            return
        self.heard = True
        self._request_bytes += len(data)
        if data and self._counter is not None:
            self._counter.on_request(data)
        if end:
            self._end_request()
        if self._passage is not None:
            for copy in self._passage.copies:
                copy.on_data(data, end)
        attempt = self._attempt
        sending = attempt is not None and attempt.is_sending
        if data and not self._committed:
            self._keep(data, sending)
        if sending and attempt is not None:
            attempt.send_data(data, end)

    def on_trailers(self, trailers: Fields) -> None:
        if self.done:
            return
        if not self._committed:
            if self.replay is None:
                self.replay = Replay()
            self.replay.trailers = trailers
        self._end_request()
        if self._passage is not None:
            for copy in self._passage.copies:
                copy.on_trailers(trailers)
        attempt = self._attempt
        if attempt is not None and attempt.is_sending:
            attempt.send_trailers(trailers)

    def _end_request(self) -> None:
        self._request_ended = True
        decision = self.decision
        if decision is not None and not self._status:
            # The total counts from the end of the request (Envoy's route timeout), while no answer has begun.
            self.limit_total(decision.request_timeout_s)
            if self._per_try_s and self._attempt is not None:
                self._time_try()
            if self.hedges is not None and self._attempt is not None:
                self._hedge_later(self.hedges)

    def on_reset(self, reason: ResetReason) -> None:
        self._request_ended = True
        self._finish(_FLAG_OF_RESET.get(reason, failures.DOWNSTREAM_GONE_FLAG))

    def on_writable(self, writable: bool) -> None:
        self._blocked = not writable
        attempt = self._attempt
        if attempt is None:
            return
        if self.hedges is not None:
            for rival in self.hedges.rivals:
                if writable:
                    rival.resume()
                else:
                    rival.pause()
        if writable:
            attempt.resume()
        else:
            attempt.pause()

    # ── the end ──

    def _finish(self, flag: str, service: str = "", route: str = "") -> None:
        if self.done:
            return
        self.done = True
        self.replay = None
        if self.timer is not None:
            self._proxy.timers.cancel(self)
        attempt = self._attempt
        self._end_tries(Outcome.FAILED if flag and flag == failures.TIMEOUT.flag else Outcome.UNKNOWN)
        if not self._request_ended:
            # Answered early: the rest of the request is of no use (RFC 9113 §8.1, RST_STREAM with NO_ERROR).
            self._downstream.reset(ResetReason.CANCELLED)
        if self._recording is not None and not flag:
            self._recording.keep()
        decision, fallen = self.decision, self._fallen
        if decision is not None:
            service, route = decision.cluster.name, decision.route
            passage = self._passage
            if passage is not None:
                passage.end(self._outcome(flag), self.started)
                flag = flag or passage.flag
        if fallen is not None:
            service, route, flag = fallen.service, fallen.route, flag or fallen.flag
        self._count(flag, service, route)
        recent = self._proxy.recent
        failed = flag != "" or self._status >= 500 or self.story is not None
        if self.is_grpc and self._grpc_status in WORTH_KEEPING:
            failed = True
        if failed or recent.open:
            self._remember(attempt, flag, service, route, failed=failed)

    def _remember(self, attempt: Attempt | None, flag: str, service: str, route: str, *, failed: bool) -> None:
        """For people who ask later what has become of it. Of what it has brought, only its way is kept: headers, body
        and query may be secrets."""
        head, grpc_status = self.head, self._grpc_status if self.is_grpc else None
        authority, path = self._asked_for or (head.authority, head.path)
        told = f"answered {self._status}" if grpc_status is None else f"gRPC {grpc_status_name(grpc_status)}"
        attempts: tuple[Tried, ...] = () if attempt is None else (tried(attempt, told),)
        if self.story is not None:
            attempts = self.story.with_last(attempt, told)
        happened = Happened(
            time.time(),
            time.monotonic() - self.started,
            self._proxy.router.direction,
            _text(head.method),
            _text(authority),
            _text(path.partition(b"?")[0]),
            service,
            route,
            self._status,
            _text(head.request_id or b""),
            _text((head.trace_parent or b"")[3:35]),
            grpc_status_name(grpc_status) if grpc_status is not None else "",
            flag,
            self._why[:MAX_TEXT],
            attempts,
        )
        self._proxy.recent.keep(happened, failed=failed)

    def _be_edited(self) -> None:
        passage, decision = self._passage, self.decision
        if passage is not None and decision is not None and not passage.is_edited:
            passage.is_edited = True
            self._edit_request(decision)

    def _leave_gates(self, flag: str) -> None:
        if self._passage is not None:
            self._passage.leave(Outcome.UNKNOWN if flag in _SAYS_NOTHING else Outcome.FAILED, self.started)

    def _pass(self, gates: tuple[Gate, ...]) -> None:
        before, self._passage = self._passage, None
        if before is not None or gates:
            self._passage = passage = Passage(gates, is_edited=True)
            passage.copies = () if before is None else before.copies
        self._set_out()

    def _outcome(self, flag: str) -> Outcome:
        if flag in _SAYS_NOTHING:
            return Outcome.UNKNOWN
        if flag or self._status >= 500 or (self.is_grpc and self._grpc_status in FAILED_GRPC):
            return Outcome.FAILED
        return Outcome.OK


def _text(value: bytes) -> str:
    return value[:MAX_TEXT].decode("latin-1")
