"""One request's life: a downstream stream joined to one attempt after another upstream.

    head ─► decide ─► attempt ─► (retry ─► attempt …) ─► answer forwarded or made ─► counted

Until an answer is being forwarded the exchange keeps the request's body (`replay.py`), so that another attempt can be
made (`repeats.py`); from then on it only passes data on. Both sides' backpressure goes straight through.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, ClassVar

from remora.sidecar.exchange import failures
from remora.sidecar.exchange.attempt import Attempt
from remora.sidecar.exchange.clock import RequestClock
from remora.sidecar.exchange.decision import Decision, Discovery, LocalAnswer, Refusal
from remora.sidecar.exchange.failures import Failure
from remora.sidecar.exchange.gate import Asked, Delayed, Stopped
from remora.sidecar.exchange.repeats import MAX_RESENDS, Repeats
from remora.sidecar.exchange.replay import REPLAY_BYTES, Replay
from remora.sidecar.exchange.try_timer import TryTimer
from remora.sidecar.policy.outcome import FAILED_GRPC, Outcome
from remora.sidecar.policy.retry import AttemptFailure, backoff_s, is_safe, may_retry, wait_asked_for
from remora.sidecar.telemetry.grpc import CallCounter
from remora.sidecar.telemetry.metrics import REFUSED_FLAG, STATUS_CLASSES, grpc_status_name
from remora.sidecar.telemetry.trace import child_traceparent, new_request_id
from remora.sidecar.upstream.endpoint import UpstreamEndpoint
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead, field_value
from remora.sidecar.wire.stream import RequestStream, ResetReason

if TYPE_CHECKING:
    from remora.sidecar.exchange.proxy import Proxy

log = logging.getLogger(__name__)

_FLAG_OF_RESET = {
    ResetReason.PROTOCOL_ERROR: REFUSED_FLAG,
    ResetReason.BAD_ANSWER: failures.UPSTREAM_PROTOCOL.flag,
}
"""How a request counts that its downstream has ended; in any other way: DOWNSTREAM_GONE_FLAG."""

MAX_ASKED_WAIT_S = 60.0
"""An upstream that asks to wait longer before another try is taken at its word by its client, not by us."""

_NO_FIELDS: Fields = []

DISCOVERY_TIMEOUT_S = 2.0
"""How long a first request waits for control's word on its service."""


class Exchange(RequestClock):
    """One request: the downstream's RequestHandler, and what its attempts report to."""

    __slots__ = (
        "_attempt",
        "_blocked",
        "_committed",
        "_counter",
        "_downstream",
        "_entered",
        "_grpc_status",
        "_per_try_s",
        "_proxy",
        "_request_bytes",
        "_request_ended",
        "_response_bytes",
        "_status",
        "_try_timer",
        "decision",
        "done",
        "head",
        "is_grpc",
        "repeats",
        "replay",
    )

    attempt_type: ClassVar[type[Attempt]] = Attempt

    def __init__(self, proxy: Proxy, downstream: RequestStream, head: RequestHead, end: bool) -> None:
        RequestClock.__init__(self, proxy.timers)
        self._proxy = proxy
        self._downstream = downstream
        self.head = head
        self._request_ended = end
        self.decision: Decision | None = None
        self.done = False
        """The downstream has its answer, or is gone."""
        self._entered = 0
        """How many of the decision's gates have let it go on."""
        self._attempt: Attempt | None = None
        self._blocked = False
        """The downstream is slow: attempts must not read on."""
        self._committed = False
        """There will be no other attempt: an answer is being forwarded, or the body is too long to be kept."""
        self.replay: Replay | None = None
        """The body so far, unless there is none or it is no longer kept."""
        self.repeats: Repeats | None = None
        """What attempts have come to nothing, if any."""
        self._status = 0
        self._grpc_status: bytes | None = None
        self._request_bytes = 0
        self._response_bytes = 0
        self.is_grpc = head.content_type is not None and head.is_grpc
        self._per_try_s = 0.0
        """Limit of one try; 0: none."""
        self._try_timer: TryTimer | None = None
        self._counter: CallCounter | None = None
        """Of this call's messages, from when it is decided where it goes."""

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
            for filters in decision.filters:
                filters.edit_request(self.head)
            self._per_try_s = decision.retry.per_try_s
            self._begin(decision)
        elif isinstance(decision, Refusal):
            self._refuse(decision.failure, decision.detail, decision.service, decision.route)
        elif isinstance(decision, LocalAnswer):
            self._answer(ResponseHead(decision.status, decision.fields), b"")
            self._finish("", decision.service, decision.route)
        else:
            asyncio.get_running_loop().create_task(self._discover(decision))

    async def _discover(self, discovery: Discovery) -> None:
        await asyncio.wait((discovery.answer,), timeout=DISCOVERY_TIMEOUT_S)
        if not self.done:
            self._decide(final=True)

    def _begin(self, decision: Decision) -> None:
        self.decision = decision
        if self.is_grpc:
            self._begin_call(decision)
        if self.head.grpc_timeout is not None:
            self.take_deadline(self.head.grpc_timeout)
        if self._request_ended:
            self.limit_total(decision.request_timeout_s)
        else:
            self.limit_silence(decision.idle_timeout_s)
        if decision.gates:
            self._enter()
        else:
            self._try()

    def _enter(self) -> None:
        """Pass the gates that are left, then try."""
        decision = self.decision
        assert decision is not None, "gates are those of a decision"
        gates = decision.gates
        while self._entered < len(gates):
            verdict = gates[self._entered].enter(self.head, time.monotonic(), random.random())
            if isinstance(verdict, Stopped):
                self._stop(verdict)
                return
            self._entered += 1
            if verdict is not None:
                self._hold(verdict)
                return
        self._try()

    def _stop(self, stopped: Stopped) -> None:
        decision = self.decision
        assert decision is not None, "gates are those of a decision"
        self._refuse(stopped.failure, stopped.detail, decision.service, decision.route, stopped.fields)

    def _hold(self, verdict: Delayed | Asked) -> None:
        """Wait, as a gate says, before the next one."""
        if isinstance(verdict, Asked):
            asyncio.get_running_loop().create_task(self._wait_for(verdict))
        else:
            asyncio.get_running_loop().call_later(verdict.seconds, self._go_on, verdict.then)

    async def _wait_for(self, asked: Asked) -> None:
        self._go_on(await asked.answer)

    def _go_on(self, stopped: Stopped | None) -> None:
        if self.done:
            return
        if stopped is not None:
            self._stop(stopped)
        else:
            self._enter()

    def _begin_call(self, decision: Decision) -> None:
        head, service, proxy = self.head, decision.cluster.name, self._proxy
        self._counter = CallCounter(proxy.grpc.get((service, head.path)) or proxy.find_grpc_series(service, head.path))
        if self.replay is not None:
            for data in self.replay.pieces:
                self._counter.on_request(data)

    # ── attempts ──

    def _try(self) -> None:
        decision, repeats = self.decision, self.repeats
        assert decision is not None, "attempts are made once decided"
        endpoint = decision.cluster.pick(() if repeats is None else repeats.tried)
        if endpoint is None:
            self.fail(failures.NO_ENDPOINT, service=decision.cluster.name)
            return
        self._attempt_at(endpoint)

    def _attempt_at(self, endpoint: UpstreamEndpoint) -> None:
        head = self.head
        if head.grpc_timeout is not None:
            head.grpc_timeout = self.grpc_timeout_left(head.grpc_timeout)
        self._attempt = attempt = self.attempt_type(self, endpoint)
        if self._blocked:
            attempt.pause()
        if self._per_try_s:
            self._time_try()
        attempt.start(self._proxy.protocol)

    def _time_try(self) -> None:
        """The time of one try counts from the end of the request on."""
        if not self._request_ended:
            return
        if self._try_timer is None:
            self._try_timer = TryTimer(self.on_try_timeout)
        self._proxy.timers.start(self._try_timer, self._per_try_s)

    def on_try_timeout(self) -> None:
        """The attempt has had its time."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.give_up(Outcome.FAILED)
            self.on_attempt_failed(attempt.endpoint, AttemptFailure.TIMEOUT, AttemptFailure.TIMEOUT.value)

    @property
    def body_ended(self) -> bool:
        """Whether the downstream has sent all of the request."""
        return self._request_ended

    def on_attempt_sent(self) -> None:
        """The attempt has caught up with the request."""
        if self.replay is not None and self.replay.size > REPLAY_BYTES:
            self._commit()
            self._downstream.resume()

    def _commit(self) -> None:
        self._committed = True
        self.replay = None

    @property
    def is_safe(self) -> bool:
        """Whether executing the request twice does no harm."""
        decision = self.decision
        head = self.head
        return decision is not None and is_safe(decision.retry, head.method, head.path, head.fields)

    def retries_status(self, head: ResponseHead) -> bool:
        """Whether an answer of HTTP is given up for another attempt."""
        decision = self.decision
        return decision is not None and head.status in decision.retry.codes and self._retries_answer(head.fields)

    def retries_grpc_status(self, status: bytes, fields: Fields) -> bool:
        """Whether an answer of gRPC `status` is given up for another attempt; `fields` are its last ones."""
        decision = self.decision
        if decision is None or not status.isdigit() or int(status) not in decision.retry.grpc_statuses:
            return False
        return self._retries_answer(fields)

    def _retries_answer(self, fields: Fields) -> bool:
        """Whether the policy, the budget and the server let an answer with these fields be tried again."""
        if not self._can_retry(AttemptFailure.STATUS):
            return False
        wait_s = wait_asked_for(fields, time.time())
        return wait_s is None or 0.0 <= wait_s < min(self.time_left(), MAX_ASKED_WAIT_S)

    def _can_retry(self, failure: AttemptFailure) -> bool:
        decision, repeats = self.decision, self.repeats
        if decision is None or self._committed or self.done:
            return False
        if not may_retry(decision.retry, failure, 0 if repeats is None else repeats.retries, self.is_safe):
            return False
        cluster = decision.cluster
        # While an answer is being judged, its attempt is not over yet.
        others = cluster.active - (failure is AttemptFailure.STATUS)
        if (repeats is not None and repeats.has_place) or cluster.budget.has_room(others):
            return True
        self._proxy.metrics.count_retry_denied(decision.service)
        return False

    def retry(self, endpoint: UpstreamEndpoint, failure: AttemptFailure, fields: Fields = _NO_FIELDS) -> None:
        """Make another attempt, after a backoff or as long as the answer's `fields` ask for, elsewhere than at
        `endpoint` if there is elsewhere."""
        decision = self.decision
        assert decision is not None, "only decided requests are retried"
        self._attempt = None
        repeats = self._repeat()
        repeats.tried = (*repeats.tried, endpoint)
        wait_s = wait_asked_for(fields, time.time()) if fields else None
        if wait_s is None:
            wait_s = backoff_s(decision.retry, repeats.retries, random.random())
        self._proxy.metrics.count_retry(decision.service, failure.value)
        repeats.wait(decision.cluster.budget, wait_s, self._try_again)

    def _repeat(self) -> Repeats:
        """Be ready for another attempt, which takes the body anew."""
        self._downstream.resume()
        if self.repeats is None:
            self.repeats = Repeats()
        return self.repeats

    def _try_again(self) -> None:
        if not self.done:
            self._try()

    def resend(self, endpoint: UpstreamEndpoint) -> None:
        """The attempt met a connection that was closing, and nothing of it arrived: that is no try, so another is made
        at once."""
        decision, repeats = self.decision, self.repeats
        assert decision is not None, "only decided requests are attempted"
        self._attempt = None
        if self.done:
            return
        if self._committed or (repeats is not None and repeats.resends >= MAX_RESENDS):
            self.on_attempt_failed(endpoint, AttemptFailure.REFUSED, ResetReason.STALE.value)
            return
        self._repeat().resends += 1
        self._proxy.metrics.count_retry(decision.service, ResetReason.STALE.value)
        self._attempt_at(endpoint)

    def on_attempt_failed(self, endpoint: UpstreamEndpoint, failure: AttemptFailure, reason: str) -> None:
        """The attempt came to nothing before an answer; `reason` says how."""
        if self._can_retry(failure):
            self.retry(endpoint, failure)
        elif failure is AttemptFailure.CONNECT:
            self.fail(failures.CONNECT_FAILURE, reason=reason)
        elif failure is AttemptFailure.TIMEOUT:
            self.fail(failures.TIMEOUT, seconds=self._per_try_s)
        else:
            self.fail(failures.UPSTREAM_RESET, reason=reason)

    # ── the answer ──

    def forward_head(self, head: ResponseHead, end: bool) -> None:
        """Pass on an attempt's answer: from here on there is no other attempt."""
        if head.status < 200:
            self._downstream.send_head(head, False)
            return
        self._status = head.status
        self._committed = True
        self.replay = None
        if self._try_timer is not None:
            self._proxy.timers.cancel(self._try_timer)
        decision = self.decision
        if head.content_length is None and not end and decision is not None:
            # Nobody knows how long this goes on: a streaming answer, limited by silence.
            self.limit_silence(decision.idle_timeout_s)
        if decision is not None and decision.filters:
            self._edit_response(decision, head)
        self._downstream.send_head(head, end)
        if end:
            self._grpc_status = field_value(head.fields, b"grpc-status") if self.is_grpc else None
            self._finish("")

    def _edit_response(self, decision: Decision, head: ResponseHead) -> None:
        # The backend's first: they are nearer to it.
        for filters in reversed(decision.filters):
            filters.edit_response(self.head, head)

    def forward_data(self, data: bytes, end: bool) -> None:
        self.heard = True
        self._response_bytes += len(data)
        if data and self._counter is not None:
            self._counter.on_response(data)
        self._downstream.send_data(data, end)
        if end:
            self._finish("")

    def forward_trailers(self, trailers: Fields, grpc_status: bytes | None) -> None:
        self._downstream.send_trailers(trailers)
        self._grpc_status = grpc_status
        self._finish("")

    def break_off(self, failure: Failure) -> None:
        """The answer ended in the middle: the downstream must see that it is not whole."""
        self._end_early(failure, ResetReason.INTERNAL, "its upstream ended in the middle of the answer")

    def _end_early(self, failure: Failure, reason: ResetReason, why: str) -> None:
        """End an answer that has begun: by a status where there is one, as in gRPC, else by a reset."""
        if self.is_grpc:
            service = self.decision.service if self.decision is not None else ""
            self._grpc_status = b"%d" % failure.grpc_status
            self._downstream.send_trailers(failures.grpc_trailers(failure, f"{service}: {why}"))
        else:
            self._downstream.reset(reason)
        self._finish(failure.flag)

    def pause_downstream(self) -> None:
        self._downstream.pause()

    def resume_downstream(self) -> None:
        self._downstream.resume()

    def fail(self, failure: Failure, **details: object) -> None:
        """Answer with `failure`, in place of an answer from upstream."""
        decision = self.decision
        service = decision.service if decision is not None else self.head.authority.decode("latin-1")
        detail = failure.sentence.format(**{"service": service, **details})
        self._refuse(failure, detail, service, decision.route if decision is not None else "")

    def _refuse(self, failure: Failure, detail: str, service: str, route: str, fields: Fields = _NO_FIELDS) -> None:
        if self.done:
            return
        head, body = failures.answer(failure, self.head, detail)
        head.fields += fields
        log.debug("%s %s%s: %s", failure.flag, service, self.head.path.decode("latin-1"), detail)
        self._grpc_status = b"%d" % failure.grpc_status
        self._answer(head, body)
        self._finish(failure.flag, service, route)

    def _answer(self, head: ResponseHead, body: bytes) -> None:
        """Send an answer of our own."""
        if self.head.method == b"HEAD":
            body = b""
        self._status = head.status
        self._response_bytes += len(body)
        if self.decision is not None:
            self._edit_response(self.decision, head)
        self._downstream.send_head(head, not body)
        if body:
            self._downstream.send_data(body, True)

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
        attempt = self._attempt
        sending = attempt is not None and attempt.is_sending
        if data and not self._committed:
            self._keep(data, sending)
        if sending and attempt is not None:
            attempt.send_data(data, end)

    def _keep(self, data: bytes, sending: bool) -> None:
        replay = self.replay
        if replay is None:
            self.replay = replay = Replay()
        replay.keep(data)
        if replay.size > REPLAY_BYTES:
            if sending:
                self._commit()
            else:
                self._downstream.pause()

    def on_trailers(self, trailers: Fields) -> None:
        if self.done:
            return
        if not self._committed:
            if self.replay is None:
                self.replay = Replay()
            self.replay.trailers = trailers
        self._end_request()
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

    def on_reset(self, reason: ResetReason) -> None:
        self._request_ended = True
        self._finish(_FLAG_OF_RESET.get(reason, failures.DOWNSTREAM_GONE_FLAG))

    def on_writable(self, writable: bool) -> None:
        self._blocked = not writable
        attempt = self._attempt
        if attempt is None:
            return
        if writable:
            attempt.resume()
        else:
            attempt.pause()

    # ── time ──

    def on_timeout(self, failure: Failure, seconds: float, *, past_deadline: bool) -> None:
        if self.done:
            return
        if self._status:
            why = "the deadline passed" if past_deadline else f"nothing was said for {seconds:g} s"
            self._end_early(failure, ResetReason.CANCELLED, why)
        else:
            self.fail(failure, seconds=seconds)

    # ── the end ──

    def _finish(self, flag: str, service: str = "", route: str = "") -> None:
        if self.done:
            return
        self.done = True
        self.replay = None
        if self.timer is not None:
            self._proxy.timers.cancel(self)
        if self._try_timer is not None:
            self._proxy.timers.cancel(self._try_timer)
        repeats = self.repeats
        if repeats is not None:
            repeats.end()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.give_up(Outcome.FAILED if flag == failures.TIMEOUT.flag else Outcome.UNKNOWN)
        if not self._request_ended:
            # Answered early: the rest of the request is of no use (RFC 9113 §8.1, RST_STREAM with NO_ERROR).
            self._downstream.reset(ResetReason.CANCELLED)
        decision = self.decision
        if decision is not None:
            service, route = decision.cluster.name, decision.route
            if self._entered:
                self._leave(decision, flag)
        self._count(flag, service, route)

    def _leave(self, decision: Decision, flag: str) -> None:
        """Tell the gates that it has passed how it went."""
        outcome = Outcome.OK
        if flag == failures.DOWNSTREAM_GONE_FLAG:
            outcome = Outcome.UNKNOWN
        elif flag or self._status >= 500 or (self.is_grpc and self._grpc_status in FAILED_GRPC):
            outcome = Outcome.FAILED
        now = time.monotonic()
        for gate in decision.gates[: self._entered]:
            gate.leave(outcome, now, now - self.started)

    def _count(self, flag: str, service: str, route: str) -> None:
        head, metrics = self.head, self._proxy.metrics
        if self.is_grpc:
            # gRPC paths are known from routes or bounded by the cap on series.
            method, status = head.path.decode("latin-1"), grpc_status_name(self._grpc_status)
        else:
            method, status = head.method.decode("latin-1"), STATUS_CLASSES[self._status // 100]
        labels = (self._proxy.router.direction, service, "", route, method, status, flag)
        series = metrics.requests.get(labels) or metrics.new_series(labels)
        series.observe(time.monotonic() - self.started, self._request_bytes, self._response_bytes)
