"""One try of a request at one endpoint: waits for a connection, sends the request, judges the answer's beginning."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from remora.sidecar.exchange import failures
from remora.sidecar.exchange.unprocessed import is_busy, told_by
from remora.sidecar.policy.breaker import REFUSED
from remora.sidecar.policy.outcome import FAILED_GRPC, TURNED_AWAY_GRPC, Outcome
from remora.sidecar.policy.retry import AttemptFailure
from remora.sidecar.telemetry.metrics import grpc_status_name
from remora.sidecar.upstream.endpoint import UpstreamEndpoint
from remora.sidecar.upstream.pool import Pool, UpstreamProtocol
from remora.sidecar.wire.heads import Fields, ResponseHead, field_value
from remora.sidecar.wire.stream import ClientConnection, ResetReason, ResponseStream

if TYPE_CHECKING:
    from remora.sidecar.exchange.answering import Answering


_NOT_ITS_FAULT = frozenset((ResetReason.STALE, ResetReason.REFUSED))


class Attempt:
    """The upstream's ResponseHandler, and the pool's Waiter."""

    __slots__ = (
        "_begun",
        "_exchange",
        "_forwarding",
        "_held_head",
        "_over",
        "_paused",
        "_pool",
        "_stream",
        "_ticket",
        "_verdict",
        "began",
        "endpoint",
    )

    def __init__(self, exchange: Answering, endpoint: UpstreamEndpoint) -> None:
        self._exchange = exchange
        self.endpoint = endpoint
        self.began = exchange.started
        """Of the first attempt, the request's own beginning."""
        self._pool: Pool | None = None
        """Set while waiting for a connection."""
        self._stream: ResponseStream | None = None
        self._forwarding = False
        """The final head has been passed on."""
        self._held_head: ResponseHead | None = None
        """A gRPC answer's head, until it shows whether trailers follow at once."""
        self._over = False
        self._paused = False
        self._verdict: Outcome | None = None
        """What has come of the answer says of the endpoint; None: nothing bad."""
        self._ticket = REFUSED
        """Of the endpoint's breaker, which has not heard yet how it goes."""
        self._begun = 0.0
        """When, where latency counts."""

    # ── sending ──

    @property
    def is_sending(self) -> bool:
        """Whether the request's data can be passed to it."""
        return self._stream is not None

    @property
    def is_over(self) -> bool:
        return self._over

    @property
    def is_forwarding(self) -> bool:
        """Whether its answer is the one that is passed on."""
        return self._forwarding

    def start(self, downstream: UpstreamProtocol) -> None:
        """Send the request on a free connection, or on the next that there is; the caller speaks `downstream`."""
        self._ticket = self.endpoint.begin()
        if self.endpoint.ewma is not None:
            self._begun = time.monotonic()
        pool = self.endpoint.pool(downstream)
        repeats = self._exchange.repeats
        connection = pool.take(self) if repeats is None or not repeats.resends else pool.take_anew()
        if connection is not None:
            self.on_connection(connection)
        else:
            self._pool = pool
            limit = pool.wait(self)
            if limit is not None:
                self._pool = None
                self._end(Outcome.UNKNOWN)
                self._exchange.note(self, "no room to wait for a connection")
                self._exchange.on_no_room(limit)

    @property
    def is_repeatable(self) -> bool:
        """Whether the request could be sent again, should the connection close under it."""
        exchange = self._exchange
        return exchange.body_ended and exchange.is_safe

    def on_connection(self, connection: ClientConnection) -> None:
        self._pool = None
        exchange = self._exchange
        body, ended = exchange.replay, exchange.body_ended
        stream = connection.open(exchange.head, ended and body is None, self)
        self._stream = stream
        if self._paused:
            stream.pause()
        if body is None:
            return
        pieces, trailers = body.pieces, body.trailers
        for index, piece in enumerate(pieces):
            stream.send_data(piece, ended and trailers is None and index == len(pieces) - 1)
        if trailers is not None:
            stream.send_trailers(trailers)
        exchange.on_attempt_sent()

    def on_connect_failure(self, reason: str) -> None:
        self._pool = None
        if self._over:
            return
        self._end(Outcome.FAILED)
        self._exchange.note(self, reason)
        self._exchange.on_attempt_failed(self.endpoint, AttemptFailure.CONNECT, reason)

    def send_data(self, data: bytes, end: bool) -> None:
        if self._stream is not None:
            self._stream.send_data(data, end)

    def send_trailers(self, trailers: Fields) -> None:
        if self._stream is not None:
            self._stream.send_trailers(trailers)

    def pause(self) -> None:
        """The downstream is slow."""
        self._paused = True
        if self._stream is not None:
            self._stream.pause()

    def resume(self) -> None:
        self._paused = False
        if self._stream is not None:
            self._stream.resume()

    def give_up(self, outcome: Outcome) -> None:
        """Nobody wants the answer any more. After a complete one this does nothing upstream."""
        if self._over:
            return
        self._end(outcome)
        if self._begun:
            self._note_silence()
        self._exchange.note(self, "no answer in time" if outcome is Outcome.FAILED else "given up")
        if self._pool is not None:
            self._pool.forget(self)
        elif self._stream is not None:
            self._stream.reset(ResetReason.CANCELLED)

    def _end(self, outcome: Outcome) -> None:
        self._over = True
        self.endpoint.end(self._ticket, outcome)

    def _on_failure_seen(self, fields: Fields) -> AttemptFailure | None:
        """An answer with these fields is a failure. The breaker hears of it before it is decided whether there is
        another attempt. Gives how the attempt has failed if the request provably has not been processed."""
        told = told_by(fields, self._exchange.head.trace_parent)
        self._verdict = Outcome.FAILED
        if told is not None and is_busy(fields):
            self._verdict = Outcome.UNKNOWN
            self.endpoint.on_busy()
        if self._ticket != REFUSED:
            ticket, self._ticket = self._ticket, REFUSED
            self.endpoint.judge(ticket, self._verdict)
        return told

    # ── ResponseHandler ──

    def on_head(self, head: ResponseHead, end: bool) -> None:
        exchange = self._exchange
        if self._over:
            return
        if head.status < 200:
            exchange.forward_head(head, False)
            return
        told = self._on_failure_seen(head.fields) if head.status >= 500 else None
        if self._begun:
            self._note_latency(turned_away=self._verdict is not None or head.status == 429)
        if exchange.is_grpc:
            self._on_grpc_head(head, end, told)
            return
        failure = exchange.retries_status(head, told)
        if failure is not None:
            self._retry(failure, head.fields, end, f"answered {head.status}")
        elif self._verdict is None or not self._gives_way(end):
            self._forward_head(head, end)

    def _on_grpc_head(self, head: ResponseHead, end: bool, told: AttemptFailure | None) -> None:
        exchange = self._exchange
        status = field_value(head.fields, b"grpc-status") if end else None
        if status in FAILED_GRPC:
            told = self._on_failure_seen(head.fields)
        elif self._begun and status == TURNED_AWAY_GRPC:
            self._note_latency(turned_away=True)
        failure = None
        if status is not None:
            failure = exchange.retries_grpc_status(status, head.fields, told)
        if failure is None and head.status != 200:
            failure = exchange.retries_status(head, told)
        if failure is not None:
            result = f"answered {head.status}" if status is None else f"gRPC {grpc_status_name(status)}"
            self._retry(failure, head.fields, end, result)
        elif self._verdict is not None and self._gives_way(end):
            return
        elif end or not exchange.is_safe or not exchange.body_ended:
            self._forward_head(head, end)
        else:
            self._held_head = head

    def on_data(self, data: bytes, end: bool) -> None:
        if self._over:
            return
        self._release_head()
        if end:
            self._end_stream()
        elif self._ticket != REFUSED:
            self._ticket = self.endpoint.on_answering(self._ticket)
        self._exchange.forward_data(data, end)

    def on_trailers(self, trailers: Fields) -> None:
        if self._over:
            return
        exchange = self._exchange
        status = field_value(trailers, b"grpc-status") if exchange.is_grpc else None
        if status in FAILED_GRPC:
            self._on_failure_seen(trailers)
        elif self._begun and status == TURNED_AWAY_GRPC:
            self._note_latency(turned_away=True)
        if self._held_head is not None:
            failure = None if status is None else exchange.retries_grpc_status(status, trailers, None)
            if failure is not None:
                self._retry(failure, trailers, True, f"gRPC {grpc_status_name(status)}")
                return
            if self._verdict is not None and self._gives_way(ended=True):
                return
            self._release_head()
        self._end_stream()
        exchange.forward_trailers(trailers, status)

    def on_reset(self, reason: ResetReason) -> None:
        if self._over:
            return
        exchange = self._exchange
        is_proven = reason is not ResetReason.CLOSING
        if not is_proven:
            reason = ResetReason.STALE if exchange.is_safe else ResetReason.PEER_RESET
        self._end(Outcome.UNKNOWN if reason in _NOT_ITS_FAULT else Outcome.FAILED)
        exchange.note(self, reason.value)
        if self._forwarding:
            exchange.break_off(failures.UPSTREAM_RESET)
        elif reason is ResetReason.STALE:
            exchange.resend(self.endpoint, may_be_executed=not is_proven)
        elif reason is ResetReason.REFUSED:
            exchange.on_attempt_failed(self.endpoint, AttemptFailure.REFUSED, reason.value)
        elif reason is ResetReason.PROTOCOL_ERROR:
            exchange.on_broken_protocol()
        else:
            exchange.on_attempt_failed(self.endpoint, AttemptFailure.RESET, reason.value)

    def on_writable(self, writable: bool) -> None:
        if self._over:
            return
        if writable:
            self._exchange.resume_downstream()
        else:
            self._exchange.pause_downstream()

    # ── judging ──

    def _note_latency(self, *, turned_away: bool) -> None:
        ewma, now = self.endpoint.ewma, time.monotonic()
        if ewma is not None and turned_away:
            ewma.observe_failure(now)
        elif ewma is not None:
            ewma.observe(now, now - self._begun)

    def _note_silence(self) -> None:
        """Nobody waits for the answer any more, if it has not begun."""
        ewma, now = self.endpoint.ewma, time.monotonic()
        if ewma is not None and not self._forwarding and self._held_head is None:
            ewma.observe_at_least(now, now - self._begun)

    def _forward_head(self, head: ResponseHead, end: bool) -> None:
        self._forwarding = True
        if end:
            self._end_stream()
        self._exchange.forward_head(head, end)

    def _gives_way(self, ended: bool) -> bool:
        """Whether something else is answered than this failure, which is given up then."""
        stream = self._stream
        if ended:
            self._stream = None  # there is nothing to reset
        if self._exchange.gives_way():
            return True
        self._stream = stream
        return False

    def _release_head(self) -> None:
        head, self._held_head = self._held_head, None
        if head is not None:
            self._forward_head(head, False)

    def _end_stream(self) -> None:
        """The answer is complete; an upstream that answered early need not get the rest of the request."""
        self._over = True
        if self._verdict is None:
            self.endpoint.end_well(self._ticket)
        else:
            self.endpoint.end(self._ticket, self._verdict)
        if self._stream is not None and not self._exchange.body_ended:
            self._stream.reset(ResetReason.CANCELLED)

    def _retry(self, failure: AttemptFailure, fields: Fields, ended: bool, result: str) -> None:
        self._exchange.note(self, result)
        self._end(Outcome.OK if self._verdict is None else self._verdict)
        if not ended and self._stream is not None:
            self._stream.reset(ResetReason.CANCELLED)
        self._exchange.retry(self.endpoint, failure, fields)
