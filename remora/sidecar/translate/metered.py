"""Exchanges that count gRPC's messages on their way through."""

from __future__ import annotations

from remora.sidecar.exchange.exchange import Exchange, Proxy
from remora.sidecar.telemetry.grpc import GrpcSeries, MessageScanner
from remora.sidecar.wire.heads import RequestHead
from remora.sidecar.wire.stream import RequestStream

_GRPC = b"application/grpc"
_GRPC_WEB = b"application/grpc-web"


class MeteredProxy(Proxy):
    """A Proxy whose gRPC calls are counted by message; all else is as it was."""

    __slots__ = ()

    def __call__(self, stream: RequestStream, head: RequestHead, end: bool) -> Exchange:
        kind = head.content_type
        if kind is None or not kind.startswith(_GRPC) or kind.startswith(_GRPC_WEB):
            return super().__call__(stream, head, end)
        exchange = MeteredExchange(self, stream, head, end)
        exchange.start()
        return exchange


class MeteredExchange(Exchange):
    """An Exchange that reads the prefixes of messages both ways. Calls that are refused undecided are not counted."""

    __slots__ = ("_asked", "_request_scanner", "_response_scanner", "_series")

    def __init__(self, proxy: Proxy, downstream: RequestStream, head: RequestHead, end: bool) -> None:
        super().__init__(proxy, downstream, head, end)
        self._request_scanner = MessageScanner()
        self._response_scanner = MessageScanner()
        self._series: GrpcSeries | None = None
        self._asked = 0
        """Messages of the request that came before it was decided where it goes."""

    def _found_series(self) -> GrpcSeries | None:
        decision = self.decision
        if decision is None:
            return None
        metrics = self._proxy.metrics
        labels = (self._proxy.router.direction, decision.cluster.name, self.head.path.decode("latin-1"))
        series = self._series = metrics.grpc.get(labels) or metrics.new_grpc_series(labels)
        series.streams += 1
        series.request_messages += self._asked
        return series

    def on_data(self, data: bytes, end: bool) -> None:
        series = self._series or self._found_series()
        if data:
            if series is None:
                self._asked += self._request_scanner.feed(data)
            else:
                series.request_messages += self._request_scanner.feed(data)
        super().on_data(data, end)

    def forward_data(self, data: bytes, end: bool) -> None:
        series = self._series or self._found_series()
        if series is not None:
            series.response_messages += self._response_scanner.feed(data)
        super().forward_data(data, end)
