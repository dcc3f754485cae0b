"""Where exchanges begin: what those of one listener share, and which kind a request is."""

from __future__ import annotations

from remora.sidecar.exchange.decision import MirrorTarget, Router
from remora.sidecar.exchange.exchange import Exchange
from remora.sidecar.exchange.mirror import mirror
from remora.sidecar.exchange.recent import Recent
from remora.sidecar.exchange.replay import Replay
from remora.sidecar.exchange.timers import TimerWheel
from remora.sidecar.exchange.tunnel import TunnelExchange
from remora.sidecar.telemetry.grpc import GrpcSeries
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.pool import UpstreamProtocol
from remora.sidecar.wire.heads import RequestHead
from remora.sidecar.wire.stream import RequestHandler, RequestStream


class Proxy:
    """What the exchanges of one listener and one downstream protocol share. Calling it starts an exchange: it is the
    codec's RequestHandlerFactory."""

    __slots__ = ("grpc", "metrics", "protocol", "recent", "router", "timers")

    def __init__(
        self,
        router: Router,
        protocol: UpstreamProtocol,
        timers: TimerWheel,
        metrics: Metrics,
        recent: Recent | None = None,
    ) -> None:
        """`recent`: where requests are remembered; None: in a memory of its own."""
        self.router = router
        self.protocol: UpstreamProtocol = protocol
        """What the downstream speaks."""
        self.timers = timers
        self.metrics = metrics
        self.recent = Recent(timers) if recent is None else recent
        self.grpc: dict[tuple[str, bytes], GrpcSeries] = {}
        """Series of gRPC's messages by service and path: short cuts to those of `metrics`."""

    def __call__(self, stream: RequestStream, head: RequestHead, end: bool) -> Exchange:
        if not end and head.asks_for_tunnel:
            exchange: Exchange = TunnelExchange(self, stream, head)
        else:
            exchange = Exchange(self, stream, head, end)
        exchange.start()
        return exchange

    def mirror(
        self, head: RequestHead, targets: tuple[MirrorTarget, ...], body: Replay | None, end: bool
    ) -> tuple[RequestHandler, ...]:
        """Begin copies of a request that has got as far as `body` and, maybe, its `end`; they hear how it goes on."""
        return mirror(self, head, targets, body, end)

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
