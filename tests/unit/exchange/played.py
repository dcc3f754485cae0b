"""An exchange, played: a downstream that asks, upstreams that answer as the test says, no sockets."""

from __future__ import annotations

from typing import Any

from remora.model.policies import Balancer, ServicePolicy
from remora.model.snapshot import Endpoint
from remora.sidecar.exchange.decision import Decision, Discovery, Refusal
from remora.sidecar.exchange.exchange import Exchange
from remora.sidecar.exchange.proxy import Proxy
from remora.sidecar.exchange.recent import Recent
from remora.sidecar.exchange.timers import TimerWheel
from remora.sidecar.telemetry.metrics import Metrics, RequestLabels
from remora.sidecar.upstream.cluster import Cluster
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.stream import ResetReason
from tests.support.waiting import until


class Recorder:
    """A stream that writes down what is sent to it."""

    def __init__(self) -> None:
        self.data = b""
        self.trailers: Fields | None = None
        self.ended = False
        self.resets: list[ResetReason] = []
        self.paused = False

    def send_data(self, data: bytes, end: bool) -> None:
        self.data += data
        self.ended = end

    def send_trailers(self, trailers: Fields) -> None:
        self.trailers = trailers
        self.ended = True

    def reset(self, reason: ResetReason) -> None:
        self.resets.append(reason)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Downstream(Recorder):
    """Who asks."""

    def __init__(self) -> None:
        super().__init__()
        self.heads: list[ResponseHead] = []

    def send_head(self, head: ResponseHead, end: bool) -> None:
        self.heads.append(head)
        self.ended = end


class Upstream(Recorder):
    """An endpoint's connection, which is also each request's stream."""

    live_streams = 1

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[RequestHead, bool]] = []
        self.handler: Any = None
        self.connected = True

    @property
    def free_slots(self) -> int:
        return 2 if self.connected else 0

    def drain(self) -> None: ...

    def abort(self) -> None: ...

    def open(self, head: RequestHead, end: bool, handler: Any) -> Upstream:
        self.asked.append((head, end))
        self.handler = handler
        self.data, self.ended = b"", end
        return self


class Play:
    """One request through an exchange, with two endpoints behind it."""

    direction = "outbound"

    def __init__(self, policy: ServicePolicy | None = None) -> None:
        self.policy = policy or ServicePolicy(balancer=Balancer("round_robin"))
        self.cluster = Cluster("shop.default", self.policy, Metrics())
        self.cluster.update((Endpoint("a", "127.0.0.1", 1), Endpoint("b", "127.0.0.1", 2)), self.policy)
        self.upstreams = [Upstream(), Upstream()]
        for endpoint, upstream in zip(self.cluster.endpoints, self.upstreams, strict=True):
            endpoint.pool("http1").on_connection_free(upstream)
        timeouts = self.policy.timeouts
        self.answer: Decision | Refusal | Discovery = Decision(
            "shop.default", "default", self.cluster, self.policy.retry, timeouts.request_s, timeouts.idle_s
        )
        self.metrics = Metrics()
        self.timers = TimerWheel()
        self.recent = Recent(self.timers)
        self.downstream = Downstream()

    def decide(self, head: RequestHead, *, final: bool) -> Decision | Refusal | Discovery:
        return self.answer

    def ask(
        self, method: bytes = b"GET", end: bool = True, path: bytes = b"/x", fields: Fields | None = None, **slots: Any
    ) -> Exchange:
        proxy = Proxy(self, "http1", self.timers, self.metrics, self.recent)  # type: ignore[arg-type]
        return proxy(self.downstream, RequestHead(method, path, b"shop", fields or [], **slots), end)

    @property
    def asked(self) -> Upstream:
        """The upstream of the newest attempt."""
        return next(
            upstream for upstream in self.upstreams if upstream.handler is not None and self._is_current(upstream)
        )

    def _is_current(self, upstream: Upstream) -> bool:
        return not upstream.handler._over

    @property
    def attempts(self) -> int:
        return sum(len(upstream.asked) for upstream in self.upstreams)

    @property
    def counted(self) -> list[RequestLabels]:
        return [RequestLabels(*labels) for labels in self.metrics.requests]

    @property
    def active(self) -> int:
        return sum(endpoint.active for endpoint in self.cluster.endpoints)

    async def attempt(self, number: int) -> Upstream:
        """The upstream of the attempt of this number, once it has been made."""
        await until(lambda: self.attempts >= number)
        return self.asked

    async def done(self, exchange: Exchange) -> None:
        """The request is over."""
        await until(lambda: exchange.done)
