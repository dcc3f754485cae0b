"""Exchanges that may become tunnels: Upgrade, CONNECT, opaque TCP.

    head ─► decide ─► attempt ─► (retry …) ─► yes: counted, then bytes both ways until both have ended
                                          └─► any other answer: an exchange like others

Only these pay for what tunnels need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from remora.sidecar.exchange.attempt import Attempt
from remora.sidecar.exchange.decision import Decision
from remora.sidecar.exchange.exchange import Exchange
from remora.sidecar.exchange.passage import Passage
from remora.sidecar.policy.breaker import REFUSED
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.telemetry.tcp import TcpSeries, TunnelKind
from remora.sidecar.upstream.endpoint import UpstreamEndpoint
from remora.sidecar.upstream.pool import UpstreamProtocol
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead, opens_tunnel

if TYPE_CHECKING:
    from remora.sidecar.exchange.proxy import Proxy
    from remora.sidecar.wire.stream import ClientConnection, RequestStream

CONNECT_IDLE_S = 3600.0
"""Longest silence of a connection that nobody reads into (Envoy's tcp_proxy idle timeout). A service's own idle timeout
counts where it is longer, or off."""


class TunnelExchange(Exchange):
    """A request that asks for a tunnel."""

    __slots__ = ("_series", "_upstream_ended", "is_refused")

    def __init__(self, proxy: Proxy, downstream: RequestStream, head: RequestHead) -> None:
        super().__init__(proxy, downstream, head, False)
        self.is_refused = False
        """There is a final answer, and it opens no tunnel."""
        self._series: TcpSeries | None = None
        """Of the tunnel, once it is open."""
        self._upstream_ended = False

    @property
    def is_open(self) -> bool:
        """Whether bytes pass."""
        return self._series is not None

    @property
    def kind(self) -> TunnelKind:
        """How the tunnel was asked for."""
        if self.head.upgrade is not None:
            return "upgrade"
        if self._proxy.protocol != "tcp":
            return "connect"
        return "tls" if self.head.scheme == b"tls" else "tcp"

    @property
    def is_raw(self) -> bool:
        """Whether the upstream gets bytes only: CONNECT ends here, but for an app that is asked itself."""
        return self.head.upgrade is None and (
            self._proxy.protocol == "tcp" or self._proxy.router.direction == "outbound"
        )

    # ── deciding, and attempts ──

    def _begin(self, decision: Decision) -> None:
        if self.head.upgrade is None and decision.idle_timeout_s:
            decision = decision.with_idle_timeout(max(decision.idle_timeout_s, CONNECT_IDLE_S))
        self.decision = decision
        self._limit_time(decision)
        self._set_out()

    def _limit_time(self, decision: Decision) -> None:
        # What the downstream has to say comes later: the total counts from now on.
        self.limit_total(decision.request_timeout_s)

    def _mirror(self, passage: Passage) -> None:
        """What goes through tunnels is not copied."""

    @property
    def body_ended(self) -> bool:
        return self._request_ended or self.is_refused

    def _new_attempt(self, endpoint: UpstreamEndpoint) -> Attempt:
        return TunnelAttempt(self, endpoint)

    # ── the answer ──

    def open(self, head: ResponseHead) -> None:
        """The answer is yes. The request is counted now: the tunnel is another story."""
        decision = self.decision
        assert decision is not None, "only decided requests are answered"
        self._status = head.status
        self._commit()
        if self._passage is not None:
            self._passage.leave(Outcome.OK, self.started)
        proxy = self._proxy
        if proxy.protocol != "tcp":
            super()._count("", decision.cluster.name, decision.route)
        self._series = series = proxy.metrics.tcp_series((proxy.router.direction, decision.cluster.name, "", self.kind))
        series.opened += 1
        series.received_bytes += self._request_bytes
        self.limit_silence(decision.idle_timeout_s)
        if decision.edits_answer:
            self._edit_response(decision, head)
        self._downstream.send_head(head, False)

    def forward_data(self, data: bytes, end: bool) -> None:
        series = self._series
        if series is None:
            super().forward_data(data, end)
            return
        self.heard = True
        series.sent_bytes += len(data)
        self._downstream.send_data(data, end)
        if end:
            self._upstream_ended = True
            if self._request_ended:
                self._finish("")

    # ── what the downstream says ──

    def on_data(self, data: bytes, end: bool) -> None:
        if self._series is not None:
            self._series.received_bytes += len(data)
        super().on_data(data, end)
        if end and self._upstream_ended:
            self._finish("")

    def on_trailers(self, trailers: Fields) -> None:  # noqa: ARG002
        self.on_data(b"", True)

    # ── the end ──

    def _count(self, flag: str, service: str, route: str) -> None:
        series, proxy = self._series, self._proxy
        if series is None and proxy.protocol == "tcp":
            series = proxy.metrics.tcp_series((proxy.router.direction, service, "", self.kind))
            series.opened += 1
        if series is not None:
            series.close(flag)
        else:
            super()._count(flag, service, route)


class TunnelAttempt(Attempt):
    """One try of a request that asks for a tunnel."""

    __slots__ = ("_tunnel",)

    def __init__(self, exchange: TunnelExchange, endpoint: UpstreamEndpoint) -> None:
        super().__init__(exchange, endpoint)
        self._tunnel = exchange

    def start(self, downstream: UpstreamProtocol) -> None:
        super().start("tcp" if self._tunnel.is_raw else downstream)

    def on_connection(self, connection: ClientConnection) -> None:
        """The head never ends the request: that the downstream is done goes in the tunnel too."""
        self._pool = None
        tunnel = self._tunnel
        body, ended = tunnel.replay, tunnel.body_ended
        self._stream = stream = connection.open(tunnel.head, False, self)
        if self._paused:
            stream.pause()
        if body is not None:
            for piece in body.pieces:
                stream.send_data(piece, False)
        if ended:
            stream.send_data(b"", True)
        if body is not None:
            tunnel.on_attempt_sent()

    def give_up(self, outcome: Outcome) -> None:
        super().give_up(Outcome.OK if self._tunnel.is_open else outcome)

    def on_head(self, head: ResponseHead, end: bool) -> None:
        if not self._over and not end and opens_tunnel(self._tunnel.head, head.status):
            self._forwarding = True
            # How long it lasts, and how it ends, says nothing more about the endpoint.
            ticket, self._ticket = self._ticket, REFUSED
            self.endpoint.judge(ticket, Outcome.OK)
            self._tunnel.open(head)
        else:
            super().on_head(head, end)

    def _forward_head(self, head: ResponseHead, end: bool) -> None:
        self._tunnel.is_refused = True
        super()._forward_head(head, end)

    def on_data(self, data: bytes, end: bool) -> None:
        if self._over or not self._tunnel.is_open:
            super().on_data(data, end)
        else:
            # The attempt is over with the tunnel, not with this direction.
            self._tunnel.forward_data(data, end)
