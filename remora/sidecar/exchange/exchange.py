"""One request's life: a downstream stream joined to one attempt after another upstream.

    head ─► decide ─► attempt ─► (retry ─► attempt …) ─► answer forwarded or made ─► counted

Until an answer is being forwarded the exchange keeps the request's body, up to REPLAY_BYTES, so that another attempt
can be made; from then on it only passes data on. Both sides' backpressure goes straight through.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import ClassVar

from remora.sidecar.exchange import failures
from remora.sidecar.exchange.attempt import Attempt
from remora.sidecar.exchange.decision import Decision, Discovery, Refusal, Router
from remora.sidecar.exchange.failures import Failure
from remora.sidecar.exchange.grpc_timeout import format_grpc_timeout, parse_grpc_timeout
from remora.sidecar.exchange.timers import TimerWheel
from remora.sidecar.policy.retry import AttemptFailure, backoff_s, is_safe, may_retry
from remora.sidecar.telemetry.grpc import PREFIX_BYTES, GrpcSeries, MessageScanner, length_of
from remora.sidecar.telemetry.metrics import REFUSED_FLAG, STATUS_CLASSES, Metrics, grpc_status_name
from remora.sidecar.telemetry.trace import child_traceparent, new_request_id
from remora.sidecar.upstream.endpoint import UpstreamEndpoint
from remora.sidecar.upstream.pool import UpstreamProtocol
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead, field_value
from remora.sidecar.wire.stream import RequestStream, ResetReason

log = logging.getLogger(__name__)

REPLAY_BYTES = 64 * 1024
"""Longest request body that is kept for another attempt; a longer one is streamed and not retried."""

_GONE = frozenset((failures.DOWNSTREAM_GONE_FLAG, REFUSED_FLAG))
"""With these the downstream's stream is over already."""

SMALL_BYTES = 2048
"""Pieces that are kept together are up to this large."""

MAX_RESENDS = 3
"""How often a request is sent again because the connection was closing. Each time on another, so once is the rule."""

DISCOVERY_TIMEOUT_S = 2.0
"""How long a first request waits for control's word on its service."""


class Proxy:
    """What the exchanges of one listener and one downstream protocol share. Calling it starts an exchange: it is the
    codec's RequestHandlerFactory."""

    __slots__ = ("grpc", "metrics", "protocol", "router", "timers")

    def __init__(self, router: Router, protocol: UpstreamProtocol, timers: TimerWheel, metrics: Metrics) -> None:
        self.router = router
        self.protocol: UpstreamProtocol = protocol
        """What the downstream speaks."""
        self.timers = timers
        self.metrics = metrics
        self.grpc: dict[tuple[str, bytes], GrpcSeries] = {}
        """Series of gRPC's messages by service and path: short cuts to those of `metrics`."""

    def __call__(self, stream: RequestStream, head: RequestHead, end: bool) -> Exchange:
        if not end and head.asks_for_tunnel:
            return self._start_tunnel(stream, head)
        exchange = Exchange(self, stream, head, end)
        exchange.start()
        return exchange

    def find_grpc_series(self, service: str, path: bytes) -> GrpcSeries:
        """Where the messages of a method are counted, if `grpc` has it not."""
        labels = (self.router.direction, service, path.decode("latin-1"))
        series = self.metrics.grpc.get(labels)
        if series is None:
            series = self.metrics.new_grpc_series(labels)
        if labels in self.metrics.grpc:
            # What is counted as `other` is not kept here: callers choose the paths.
            self.grpc[service, path] = series
        return series

    def _start_tunnel(self, stream: RequestStream, head: RequestHead) -> Exchange:
        from remora.sidecar.exchange.tunnel import TunnelExchange  # which builds on this module

        exchange = TunnelExchange(self, stream, head)
        exchange.start()
        return exchange


class Exchange:
    """One request: the downstream's RequestHandler, and what its attempts report to."""

    __slots__ = (
        "_attempt",
        "_blocked",
        "_body",
        "_body_bytes",
        "_deadline",
        "_downstream",
        "_heard",
        "_is_grpc",
        "_messages",
        "_on_total",
        "_proxy",
        "_request_bytes",
        "_request_ended",
        "_request_scanner",
        "_resends",
        "_response_bytes",
        "_response_scanner",
        "_retries",
        "_retry_handle",
        "_started",
        "_status",
        "_timeout_s",
        "_trailers",
        "_tried",
        "decision",
        "done",
        "grpc_status",
        "head",
        "is_again",
        "timer",
    )

    attempt_type: ClassVar[type[Attempt]] = Attempt

    def __init__(self, proxy: Proxy, downstream: RequestStream, head: RequestHead, end: bool) -> None:
        self._proxy = proxy
        self._downstream = downstream
        self.head = head
        self._request_ended = end
        self.decision: Decision | None = None
        self.done = False
        """The downstream has its answer, or is gone."""
        self._attempt: Attempt | None = None
        self._blocked = False
        """The downstream is slow: attempts must not read on."""
        self._tried: tuple[UpstreamEndpoint, ...] = ()
        self._retries = 0
        self._resends = 0
        self.is_again = False
        """An attempt was made before."""
        self._retry_handle: asyncio.TimerHandle | None = None
        self._body: list[bytes] | None = []
        """What came of the request's body, kept for another attempt; None: no longer."""
        self._body_bytes = 0
        self._trailers: Fields | None = None
        self._started = time.perf_counter()
        self._deadline: float | None = None
        """When the caller's grpc-timeout runs out, on the clock of `_started`."""
        self._timeout_s = 0.0
        self._on_total = False
        """What the running timer stands for: the request's total, or the longest silence."""
        self._heard = False
        """Whether anything was said on a streaming call since its timer was last set."""
        self._status = 0
        self.grpc_status: bytes | None = None
        self._request_bytes = 0
        self._response_bytes = 0
        self._is_grpc = head.content_type is not None and head.is_grpc
        self._messages: GrpcSeries | None = None
        """Where this call's messages are counted, from when it is decided where it goes."""
        # Nearly all messages of unary calls come in one piece, and need no scanner.
        self._request_scanner: MessageScanner | None = None
        self._response_scanner: MessageScanner | None = None
        self.timer: int | asyncio.TimerHandle | None = None

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
            self._begin(decision)
        elif isinstance(decision, Refusal):
            self._refuse(decision.failure, decision.detail, decision.service, decision.route)
        else:
            asyncio.get_running_loop().create_task(self._discover(decision))

    async def _discover(self, discovery: Discovery) -> None:
        await asyncio.wait((discovery.answer,), timeout=DISCOVERY_TIMEOUT_S)
        if not self.done:
            self._decide(final=True)

    def _begin(self, decision: Decision) -> None:
        self.decision = decision
        if self._is_grpc:
            path, service, proxy = self.head.path, decision.cluster.name, self._proxy
            messages = proxy.grpc.get((service, path)) or proxy.find_grpc_series(service, path)
            messages.streams += 1
            self._messages = messages
            if self._body:
                for data in self._body:
                    self._scan_request(messages, data)
        if self.head.grpc_timeout is not None:
            self._take_grpc_deadline(self.head.grpc_timeout)
        if self._request_ended:
            self._limit_total()
        else:
            self._limit_silence()
        self._try()

    # ── attempts ──

    def _try(self) -> None:
        decision = self.decision
        assert decision is not None, "attempts are made once decided"
        endpoint = decision.cluster.pick(self._tried)
        if endpoint is None:
            self.fail(failures.NO_ENDPOINT, service=decision.cluster.name)
            return
        self._attempt_at(endpoint)

    def _attempt_at(self, endpoint: UpstreamEndpoint) -> None:
        if self._deadline is not None:
            self.head.grpc_timeout = format_grpc_timeout(self._deadline - time.perf_counter())
        self._attempt = attempt = self.attempt_type(self, endpoint)
        if self._blocked:
            attempt.pause()
        attempt.start(self._proxy.protocol)

    def body_so_far(self) -> tuple[list[bytes], Fields | None, bool]:
        """(data, trailers, ended) of the request, for an attempt that has got its connection."""
        return self._body or [], self._trailers, self._request_ended

    @property
    def body_ended(self) -> bool:
        """Whether the downstream has sent all of the request."""
        return self._request_ended

    def on_attempt_sent(self) -> None:
        """The attempt has caught up with the request."""
        if self._body_bytes > REPLAY_BYTES:
            self._body = None
            self._downstream.resume()

    @property
    def is_safe(self) -> bool:
        """Whether executing the request twice does no harm."""
        decision = self.decision
        return decision is not None and is_safe(decision.retry, self.head.method, self.head.path)

    def retries_status(self, status: int) -> bool:
        """Whether an answer of HTTP `status` is given up for another attempt."""
        decision = self.decision
        return decision is not None and status in decision.retry.codes and self._can_retry(AttemptFailure.STATUS)

    def retries_grpc_status(self, status: bytes) -> bool:
        """Whether an answer of gRPC `status` is given up for another attempt."""
        decision = self.decision
        if decision is None or not status.isdigit() or int(status) not in decision.retry.grpc_statuses:
            return False
        return self._can_retry(AttemptFailure.STATUS)

    def _can_retry(self, failure: AttemptFailure) -> bool:
        decision = self.decision
        if decision is None or self._body is None or self.done:
            return False
        return may_retry(decision.retry, failure, self._retries, self.is_safe)

    def retry(self, endpoint: UpstreamEndpoint, failure: AttemptFailure) -> None:
        """Make another attempt, after a backoff, elsewhere than at `endpoint` if there is elsewhere."""
        decision = self.decision
        assert decision is not None, "only decided requests are retried"
        self._attempt = None
        self.is_again = True
        self._tried = (*self._tried, endpoint)
        self._downstream.resume()
        delay = backoff_s(self._retries, random.random())
        self._retries += 1
        self._proxy.metrics.count_retry(decision.service, failure.value)
        self._retry_handle = asyncio.get_running_loop().call_later(delay, self._retry_now)

    def _retry_now(self) -> None:
        self._retry_handle = None
        if not self.done:
            self._try()

    def resend(self, endpoint: UpstreamEndpoint) -> None:
        """The attempt met a connection that was closing, and nothing of it arrived: that is no try, so another is made
        at once."""
        decision = self.decision
        assert decision is not None, "only decided requests are attempted"
        self._attempt = None
        if self.done:
            return
        if self._body is None or self._resends >= MAX_RESENDS:
            self.on_attempt_failed(endpoint, AttemptFailure.REFUSED, ResetReason.STALE.value)
            return
        self.is_again = True
        self._resends += 1
        self._downstream.resume()
        self._proxy.metrics.count_retry(decision.service, ResetReason.STALE.value)
        self._attempt_at(endpoint)

    def on_attempt_failed(self, endpoint: UpstreamEndpoint, failure: AttemptFailure, reason: str) -> None:
        """The attempt came to nothing before an answer; `reason` says how."""
        if self._can_retry(failure):
            self.retry(endpoint, failure)
        elif failure is AttemptFailure.CONNECT:
            self.fail(failures.CONNECT_FAILURE, reason=reason)
        else:
            self.fail(failures.UPSTREAM_RESET, reason=reason)

    # ── the answer ──

    def forward_head(self, head: ResponseHead, end: bool) -> None:
        """Pass on an attempt's answer: from here on there is no other attempt."""
        if head.status < 200:
            self._downstream.send_head(head, False)
            return
        self._status = head.status
        self._body = None
        if head.content_length is None and not end:
            # Nobody knows how long this goes on: a streaming answer, limited by silence.
            self._limit_silence()
        self._downstream.send_head(head, end)
        if end:
            self.grpc_status = field_value(head.fields, b"grpc-status") if self._is_grpc else None
            self._finish("")

    def forward_data(self, data: bytes, end: bool) -> None:
        self._heard = True
        size = len(data)
        self._response_bytes += size
        messages = self._messages
        if messages is not None and size:
            if self._response_scanner is None and size >= PREFIX_BYTES and length_of(data)[0] == size - PREFIX_BYTES:
                messages.response_messages += 1
            else:
                self._scan_response(messages, data)
        self._downstream.send_data(data, end)
        if end:
            self._finish("")

    def forward_trailers(self, trailers: Fields) -> None:
        self._downstream.send_trailers(trailers)
        if self._is_grpc:
            self.grpc_status = field_value(trailers, b"grpc-status")
        self._finish("")

    def break_off(self, failure: Failure) -> None:
        """The answer ended in the middle: the downstream must see that it is not whole."""
        self._end_early(failure, ResetReason.INTERNAL, "its upstream ended in the middle of the answer")

    def _end_early(self, failure: Failure, reason: ResetReason, why: str) -> None:
        """End an answer that has begun: by a status where there is one, as in gRPC, else by a reset."""
        if self.head.is_grpc:
            service = self.decision.service if self.decision is not None else ""
            self.grpc_status = b"%d" % failure.grpc_status
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

    def _refuse(self, failure: Failure, detail: str, service: str, route: str) -> None:
        if self.done:
            return
        head, body = failures.answer(failure, self.head, detail)
        log.debug("%s %s%s: %s", failure.flag, service, self.head.path.decode("latin-1"), detail)
        if self.head.method == b"HEAD":
            body = b""
        self._status = failure.status
        self.grpc_status = b"%d" % failure.grpc_status
        self._response_bytes += len(body)
        self._downstream.send_head(head, not body)
        if body:
            self._downstream.send_data(body, True)
        self._finish(failure.flag, service, route)

    # ── RequestHandler: what the downstream says ──

    def on_data(self, data: bytes, end: bool) -> None:
        if self.done:
            return
        self._heard = True
        size = len(data)
        self._request_bytes += size
        messages = self._messages
        if messages is not None and size:
            if self._request_scanner is None and size >= PREFIX_BYTES and length_of(data)[0] == size - PREFIX_BYTES:
                messages.request_messages += 1
            else:
                self._scan_request(messages, data)
        if end:
            self._end_request()
        attempt = self._attempt
        sending = attempt is not None and attempt.is_sending
        if self._body is not None:
            self._keep(data, sending)
        if sending and attempt is not None:
            attempt.send_data(data, end)

    def _keep(self, data: bytes, sending: bool) -> None:
        assert self._body is not None, "only kept while another attempt may follow"
        self._body_bytes += len(data)
        if sending and self._body_bytes > REPLAY_BYTES:
            self._body = None
            return
        if data and self._body and len(data) + len(self._body[-1]) < SMALL_BYTES:
            # Kept in pieces of a byte or two it would weigh many times its size.
            self._body[-1] += data
        elif data:
            self._body.append(data)
        if self._body_bytes > REPLAY_BYTES:
            self._downstream.pause()

    def on_trailers(self, trailers: Fields) -> None:
        if self.done:
            return
        self._trailers = trailers
        self._end_request()
        attempt = self._attempt
        if attempt is not None and attempt.is_sending:
            attempt.send_trailers(trailers)

    def _end_request(self) -> None:
        self._request_ended = True
        if not self._status:
            # The total counts from the end of the request (Envoy's route timeout), while no answer has begun.
            self._limit_total()

    def on_reset(self, reason: ResetReason) -> None:
        broken = reason is ResetReason.PROTOCOL_ERROR
        self._finish(REFUSED_FLAG if broken else failures.DOWNSTREAM_GONE_FLAG)

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

    def _take_grpc_deadline(self, value: bytes) -> None:
        timeout = parse_grpc_timeout(value)
        if timeout is not None:
            self._deadline = self._started + timeout

    def _limit_total(self) -> None:
        decision = self.decision
        if decision is None:
            return
        self._on_total = True
        self._start_timer(decision.request_timeout_s)

    def _limit_silence(self) -> None:
        decision = self.decision
        if decision is None:
            return
        self._heard = self._on_total = False
        self._start_timer(decision.idle_timeout_s)

    def _start_timer(self, seconds: float) -> None:
        if self._deadline is not None:
            left = self._deadline - time.perf_counter()
            seconds = min(seconds, left) if seconds else left
            seconds = max(seconds, 0.001)
        self._timeout_s = seconds
        if seconds:
            self._proxy.timers.start(self, seconds)
        else:
            self._proxy.timers.cancel(self)

    def on_timer(self) -> None:
        """The request's total, its caller's deadline, or the longest silence has passed."""
        if self.done:
            return
        past_deadline = self._deadline is not None and time.perf_counter() >= self._deadline
        if self._heard and not self._on_total and not past_deadline:
            self._limit_silence()
            return
        failure = failures.TIMEOUT if self._on_total or past_deadline else failures.IDLE_TIMEOUT
        if self._status:
            why = "the deadline passed" if past_deadline else f"nothing was said for {self._timeout_s:g} s"
            self._end_early(failure, ResetReason.CANCELLED, why)
        else:
            self.fail(failure, seconds=time.perf_counter() - self._started if past_deadline else self._timeout_s)

    # ── the end ──

    def _finish(self, flag: str, service: str = "", route: str = "") -> None:
        if self.done:
            return
        self.done = True
        self._body = None
        if self.timer is not None:
            self._proxy.timers.cancel(self)
        if self._retry_handle is not None:
            self._retry_handle.cancel()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.give_up()
        if not self._request_ended and flag not in _GONE:
            # Answered early: the rest of the request is of no use (RFC 9113 §8.1, RST_STREAM with NO_ERROR).
            self._downstream.reset(ResetReason.CANCELLED)
        decision = self.decision
        if decision is not None:
            service, route = decision.cluster.name, decision.route
        self._count(flag, service, route)

    def _count(self, flag: str, service: str, route: str) -> None:
        head, metrics = self.head, self._proxy.metrics
        if self._is_grpc:
            # gRPC paths are known from routes or bounded by the cap on series.
            method, status = head.path.decode("latin-1"), grpc_status_name(self.grpc_status)
        else:
            method, status = head.method.decode("latin-1"), STATUS_CLASSES[self._status // 100]
        labels = (self._proxy.router.direction, service, "", route, method, status, flag)
        series = metrics.requests.get(labels) or metrics.new_series(labels)
        series.observe(time.perf_counter() - self._started, self._request_bytes, self._response_bytes)

    # ── gRPC's messages ──

    def _scan_request(self, messages: GrpcSeries, data: bytes) -> None:
        if self._request_scanner is None:
            self._request_scanner = MessageScanner()
        messages.request_messages += self._request_scanner.feed(data)

    def _scan_response(self, messages: GrpcSeries, data: bytes) -> None:
        if self._response_scanner is None:
            self._response_scanner = MessageScanner()
        messages.response_messages += self._response_scanner.feed(data)
