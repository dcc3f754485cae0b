"""Mirrors: copies of requests that go to another service too. Nobody waits for them, and nothing fails because of them.

    exchange ── head, data, trailers ──► Copy ──► CopiedExchange ──► the mirrored service
                                          └── whatever is answered is read and dropped

A copy is an exchange of its own with nobody before it, so it has pools, balancers, deadlines and backpressure like any
other; it is not retried. What a slow mirror has not taken is kept up to COPY_BYTES, then the copy is given up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from remora.model.policies import RetryPolicy
from remora.sidecar.exchange import failures
from remora.sidecar.exchange.attempt import Attempt
from remora.sidecar.exchange.decision import Decision, MirrorTarget
from remora.sidecar.exchange.exchange import Exchange
from remora.sidecar.exchange.replay import Replay
from remora.sidecar.telemetry.metrics import STATUS_CLASSES, grpc_status_name
from remora.sidecar.telemetry.trace import child_traceparent
from remora.sidecar.upstream.cluster import Cluster
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.stream import RequestHandler, ResetReason

if TYPE_CHECKING:
    from remora.sidecar.exchange.proxy import Proxy

MAX_COPIES = 128
"""Under way at once to one service; what comes on top is not made."""

COPY_BYTES = 1 << 20
"""Kept of a body that its mirror is too slow for."""

SERVICE_BYTES = 8 << 20
"""Kept for one service, of all copies together."""

LIMIT_S = 15.0
"""How long a copy takes at most after the request's end, where the mirrored service's request timeout is off."""

_NO_RETRIES = RetryPolicy(attempts=0)


def mirror(
    proxy: Proxy, head: RequestHead, targets: tuple[MirrorTarget, ...], body: Replay | None, end: bool
) -> tuple[RequestHandler, ...]:
    """The copies of a request that has got as far as `body` and, maybe, its `end`. They want to hear how it goes on."""
    copies: list[RequestHandler] = []
    for target in targets:
        cluster = target.cluster
        if cluster is None:
            proxy.metrics.count_mirrored(target.service, "", failures.NO_ENDPOINT.flag)
        elif cluster.copies >= MAX_COPIES:
            proxy.metrics.count_mirrored(target.service, "", failures.OVERFLOW_FLAG)
        else:
            copy = Copy(proxy, cluster, _copied(head, target), end and body is None)
            copy.start(body, end)
            copies.append(copy)
    return tuple(copies)


def _copied(head: RequestHead, target: MirrorTarget) -> RequestHead:
    copied = head.copy()
    # The client has been told to go on, or will be, by others.
    copied.expect_continue = False
    copied.trace_parent = child_traceparent(head.trace_parent)
    for filters in target.filters:
        filters.edit_request(copied)
    return copied


class Copy:
    """One copy: it hears what the exchange hears, and is the downstream of an exchange of its own."""

    __slots__ = ("_cluster", "_ended", "_exchange", "_kept", "_paused")

    def __init__(self, proxy: Proxy, cluster: Cluster, head: RequestHead, end: bool) -> None:
        self._exchange = CopiedExchange(proxy, self, head, end, cluster)
        self._cluster = cluster
        self._paused = False
        """The mirror is slow."""
        self._kept: Replay | None = None
        """What it has not taken."""
        self._ended = end
        """The request has."""

    def start(self, body: Replay | None, end: bool) -> None:
        """Send it, with what there is of the body."""
        self._exchange.start()
        if body is None:
            return
        for index, piece in enumerate(body.pieces):
            self.on_data(piece, end and body.trailers is None and index == len(body.pieces) - 1)
        if body.trailers is not None:
            self.on_trailers(body.trailers)

    # ── what the exchange hears ──

    def on_data(self, data: bytes, end: bool) -> None:
        if self._exchange.done:
            return
        self._ended = end
        kept = self._kept
        if kept is None and not self._paused:
            self._exchange.on_data(data, end)
            return
        if kept is None:
            self._kept = kept = Replay()
        kept.keep(data)
        cluster = self._cluster
        cluster.copied_bytes += len(data)
        if kept.size > COPY_BYTES or cluster.copied_bytes > SERVICE_BYTES:
            self._exchange.drop(failures.OVERFLOW_FLAG)

    def on_trailers(self, trailers: Fields) -> None:
        if self._exchange.done:
            return
        self._ended = True
        if self._kept is None and not self._paused:
            self._exchange.on_trailers(trailers)
            return
        if self._kept is None:
            self._kept = Replay()
        self._kept.trailers = trailers

    def on_reset(self, reason: ResetReason) -> None:  # noqa: ARG002
        """There will be no more of the request: half a copy is none."""
        if not self._ended:
            self._exchange.drop(failures.DOWNSTREAM_GONE_FLAG)

    def on_writable(self, writable: bool) -> None:
        """It is the request's own downstream that is slow: no matter."""

    # ── what its exchange says ──

    def let_go(self) -> Replay | None:
        """Keep nothing any more; what was kept."""
        kept, self._kept = self._kept, None
        if kept is not None:
            self._cluster.copied_bytes -= kept.size
        return kept

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        kept = self.let_go()
        if kept is None or self._exchange.done:
            return
        pieces, trailers = kept.pieces, kept.trailers
        for index, piece in enumerate(pieces):
            # If it stops again, that is what its transport takes at once and a little more.
            self._exchange.on_data(piece, self._ended and trailers is None and index == len(pieces) - 1)
        if trailers is not None:
            self._exchange.on_trailers(trailers)
        elif self._ended and not pieces:
            self._exchange.on_data(b"", True)

    def send_head(self, head: ResponseHead, end: bool) -> None:
        """Nobody wants it."""

    def send_data(self, data: bytes, end: bool) -> None: ...

    def send_trailers(self, trailers: Fields) -> None: ...

    def reset(self, reason: ResetReason) -> None: ...


class CopiedExchange(Exchange):
    """A request with nobody before it, decided already."""

    __slots__ = ("_cluster", "_copy")

    def __init__(self, proxy: Proxy, copy: Copy, head: RequestHead, end: bool, cluster: Cluster) -> None:
        super().__init__(proxy, copy, head, end)
        self._copy = copy
        self._cluster = cluster
        cluster.copies += 1

    def start(self) -> None:
        cluster = self._cluster
        timeouts = cluster.policy.timeouts
        limit_s = timeouts.request_s or LIMIT_S
        idle_s = timeouts.idle_s
        self._begin(Decision(cluster.name, "", cluster, _NO_RETRIES, limit_s, idle_s))

    def drop(self, flag: str) -> None:
        """Give it up."""
        self._finish(flag)

    def _begin_call(self, decision: Decision) -> None:
        """Messages of copies are not counted: they are nobody's."""

    def forward_head(self, head: ResponseHead, end: bool) -> None:
        super().forward_head(head, end)
        if not self.done and head.status >= 200 and self._request_ended and self.decision is not None:
            # An answer that goes on and on is not read for ever.
            self.limit_total(self.decision.request_timeout_s)

    def _remember(self, attempt: Attempt | None, flag: str, service: str, route: str, *, failed: bool) -> None:
        """Who asks by the request's id wants to hear of the request."""

    def _count(self, flag: str, service: str, route: str) -> None:  # noqa: ARG002
        self._cluster.copies -= 1
        self._copy.let_go()
        status = STATUS_CLASSES[self._status // 100]
        if self.is_grpc and self._status:
            status = grpc_status_name(self._grpc_status)
        self._proxy.metrics.count_mirrored(service, status if not flag else "", flag)
