"""What an exchange is of answers: one is forwarded from an attempt, or made here when there is none."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from typing import TYPE_CHECKING

from remora.sidecar.exchange import failures
from remora.sidecar.exchange.failures import Failure
from remora.sidecar.exchange.racing import Racing
from remora.sidecar.exchange.unprocessed import telling
from remora.sidecar.telemetry.grpc import CallCounter
from remora.sidecar.telemetry.metrics import STATUS_CLASSES, grpc_status_name
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead, field_value
from remora.sidecar.wire.stream import RequestStream, ResetReason

if TYPE_CHECKING:
    from remora.sidecar.exchange.decision import Decision
    from remora.sidecar.exchange.fallback import Recording
    from remora.sidecar.exchange.proxy import Proxy

log = logging.getLogger(__name__)

_NO_FIELDS: Fields = []

_TOO_LATE = {
    failures.TIMEOUT.flag: "it had not ended within {seconds:g} s",
    failures.IDLE_TIMEOUT.flag: "nothing was said for {seconds:g} s",
}
"""Why an answer is cut off, by flag."""


class Answering(Racing):
    """The answer of one request, and how it is counted."""

    __slots__ = (
        "_came_in",
        "_counter",
        "_grpc_status",
        "_recording",
        "_request_bytes",
        "_response_bytes",
        "_status",
        "_why",
    )

    def __init__(self, proxy: Proxy, downstream: RequestStream, head: RequestHead, end: bool) -> None:
        Racing.__init__(self, proxy, downstream, head, end)
        self._came_in = head.trace_parent
        self._status = 0
        self._grpc_status: bytes | None = None
        self._request_bytes = 0
        self._response_bytes = 0
        self._why = ""
        """What was said where the mesh ended it itself."""
        self._counter: CallCounter | None = None
        """Of this call's messages, from when it is decided where it goes."""
        self._recording: Recording | None = None
        """Of the answer that is forwarded, if it may serve as a fallback later."""

    @abstractmethod
    def _finish(self, flag: str, service: str = "", route: str = "") -> None:
        """The request is over; `flag` says how it failed. `service` and `route` are for one that was not decided."""

    @abstractmethod
    def _replaced(self, failure: Failure) -> bool:
        """Whether something else takes the place of `failure`; it is under way, then."""

    @abstractmethod
    def gives_way(self) -> bool:
        """Whether something else takes the place of a failure that an attempt's answer tells; the attempt has been
        given up, then."""

    @property
    def _is_bare(self) -> bool:
        """Whether the request is nothing but a head."""
        return self._request_ended and not self._request_bytes

    # ── forwarded ──

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
        if self.hedges is not None:
            self._settle(self.hedges)
        decision = self.decision
        if head.content_length is None and not end and decision is not None:
            # Nobody knows how long this goes on: a streaming answer, limited by silence.
            self.limit_silence(decision.idle_timeout_s)
        if decision is not None:
            if decision.fallback is not None:
                self._recording = decision.fallback.record(decision, self.head, head, bare=self._is_bare)
            if decision.edits_answer:
                self._edit_response(decision, head)
        self._downstream.send_head(head, end)
        if end:
            self._grpc_status = field_value(head.fields, b"grpc-status") if self.is_grpc else None
            self._finish("")

    def _edit_response(self, decision: Decision, head: ResponseHead) -> None:
        # The backend's first: they are nearer to it.
        for filters in reversed(decision.filters):
            filters.edit_response(head, decision.origin)
        if decision.answer_fields:
            head.fields = [*head.fields, *decision.answer_fields]
        persistence, attempt = decision.persistence, self._attempt
        if persistence is not None and attempt is not None and attempt.is_forwarding:
            persistence.tell(decision.cluster.name, attempt.endpoint, head)

    def forward_data(self, data: bytes, end: bool) -> None:
        self.heard = True
        self._response_bytes += len(data)
        if data and self._counter is not None:
            self._counter.on_response(data)
        if self._recording is not None and not self._recording.add(data):
            self._recording = None
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
        self._why = why
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

    # ── made here ──

    def fail(self, failure: Failure, fields: Fields = _NO_FIELDS, **details: object) -> None:
        """Answer with `failure`, in place of an answer from upstream; `details` are those of its sentence."""
        decision = self.decision
        service = decision.service if decision is not None else self.head.authority.decode("latin-1")
        detail = failure.sentence.format(**{"service": service, **details})
        self._refuse(failure, detail, service, decision.route if decision is not None else "", fields)

    def _refuse(self, failure: Failure, detail: str, service: str, route: str, fields: Fields = _NO_FIELDS) -> None:
        if self.done or self._replaced(failure):
            return
        head, body = failures.answer(failure, self.head, detail)
        head.fields += fields
        if failure.flag in failures.NOT_EXECUTED and self._is_unprocessed:
            head.fields += telling(self._came_in)
        log.debug("%s %s%s: %s", failure.flag, service, self.head.path.partition(b"?")[0].decode("latin-1"), detail)
        self._why = detail
        self._grpc_status = b"%d" % failure.grpc_status
        self._answer(head, body)
        self._finish(failure.flag, service, route)

    @property
    def _is_unprocessed(self) -> bool:
        """Whether no attempt can have been executed, apart from the last one."""
        return self.hedges is None and (self.repeats is None or not self.repeats.may_be_executed)

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

    # ── time ──

    def on_timeout(self, failure: Failure, seconds: float, *, past_deadline: bool) -> None:
        if self.done:
            return
        if self._status:
            why = "the deadline passed" if past_deadline else _TOO_LATE[failure.flag].format(seconds=seconds)
            self._end_early(failure, ResetReason.CANCELLED, why)
        else:
            self.fail(failure, seconds=seconds)

    # ── counting ──

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
