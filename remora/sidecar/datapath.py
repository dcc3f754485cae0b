"""What carries traffic: the listeners of inbound and outbound, and what they share.

inbound listener ─► exchange ─► the app          the app ─► outbound listeners ─► exchange ─► other sidecars

It has one of everything for each process. A sidecar without workers has one of these, and so has every worker.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from remora.model.address import Address
from remora.model.names import ServiceName, service_name
from remora.model.shares import QuotaKey
from remora.model.snapshot import Endpoint, Protocol, Service, Snapshot
from remora.sidecar.exchange.concurrency_gate import ConcurrencyGate
from remora.sidecar.exchange.decision import Router
from remora.sidecar.exchange.gate import Gate, Quota
from remora.sidecar.exchange.gate_makers import app_gates, backend_gates, service_gates
from remora.sidecar.exchange.proxy import Proxy
from remora.sidecar.exchange.recent import Recent
from remora.sidecar.exchange.timers import TimerWheel
from remora.sidecar.listener.forwarding import Forwarding
from remora.sidecar.listener.inbound import InboundRouter
from remora.sidecar.listener.listener import Listener
from remora.sidecar.listener.opaque import Expected, Opaque
from remora.sidecar.listener.outbound import Discoverer, Mesh, OutboundRouter, PassthroughClusters
from remora.sidecar.options import Options
from remora.sidecar.routing.table import RouteTable
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import Cluster, Clusters, policies_of
from remora.sidecar.upstream.health import HealthChecks

if TYPE_CHECKING:
    from remora.sidecar.translate.translator import Translation

INBOUND = "inbound"


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A port that carries traffic: its name, where it is, the flag that moves it, the service that it stands for."""

    name: str
    address: Address
    flag: str
    service: ServiceName | None = None


def places(options: Options) -> Iterator[Place]:
    """All ports that carry traffic, in the order in which they are opened."""
    if options.upstream is not None:
        yield Place(INBOUND, options.inbound, "--inbound")
    yield Place("outbound", options.outbound, "--outbound-listen")
    for binding in options.bindings:
        name = f"outbound:{binding.service.removesuffix('.' + options.namespace)}"
        yield Place(name, binding.address, "--outbound", binding.service)


class DataPath:
    """The data path of one process. `start`, `use` a snapshot at any time, then `drain`, `finish` and `close`."""

    def __init__(self, options: Options, metrics: Metrics, *, checks: bool = True) -> None:
        """`checks`: whether it checks the health of endpoints itself, or is told of it (`clusters.check`)."""
        self._options = options
        self._metrics = metrics
        self._timers = TimerWheel()
        self.recent = Recent(self._timers)
        """What has become of requests lately."""
        self.clusters = Clusters(metrics, options.zone)
        self._checks = HealthChecks(self.clusters.check, metrics) if checks else None
        self.own_ports: set[int] = set()
        """Ports of this sidecar. Traffic for them would go round in circles; whoever opens one adds it."""
        self.app: Cluster | None = None
        """None: the sidecar only calls."""
        self.translation: Translation | None = None
        """What stands before the app, if anything."""
        table = RouteTable(Snapshot(), options.namespace)
        self._mesh = Mesh(
            table,
            self.clusters,
            PassthroughClusters(metrics),
            options.namespace,
            options.outbound_policy,
            self.own_ports,
            service_gates(metrics, faults=options.faults, workers=options.workers),
            backend_gates(metrics),
        )
        self._router: InboundRouter | None = None
        self._app_gates = app_gates(metrics, workers=options.workers)
        self._quotas: tuple[Quota, ...] = ()
        self._shares: dict[QuotaKey, float] = {}
        """What was leased last. Limits that a document makes anew, or brings back, begin with it."""
        self._inbound: Listener | None = None
        self._outbound: list[Listener] = []

    @property
    def live_requests(self) -> int:
        """Requests that are being answered."""
        return sum(listener.live_requests for listener in self._listeners())

    @property
    def mesh(self) -> Mesh:
        """The outbound side's view of the mesh."""
        return self._mesh

    @property
    def app_gates(self) -> tuple[Gate, ...]:
        """What requests to the app pass."""
        options = self._options
        return self._app_gates.of(service_name(options.service, options.namespace))

    @property
    def app_limit(self) -> ConcurrencyGate | None:
        """The bound on requests in flight to the app, if there is one."""
        return next((gate for gate in self.app_gates if isinstance(gate, ConcurrencyGate)), None)

    def discover_by(self, discoverer: Discoverer) -> None:
        """Ask `discoverer` for services that the snapshot does not have."""
        self._mesh.discoverer = discoverer

    async def start(self, *, reuse_port: bool = False) -> Mapping[str, int]:
        """Listen; gives the port of each name. Raises ListenError. `reuse_port`: others listen there too."""
        opened: dict[str, int] = {}
        for place in places(self._options):
            listener = self._listener(place)
            host, port = place.address.host, place.address.port
            opened[place.name] = await listener.start(host, port, place.flag, reuse_port=reuse_port)
            self.own_ports.add(opened[place.name])
        return opened

    def use(self, snapshot: Snapshot) -> None:
        """Swap in a snapshot; one that does not compile changes nothing. A request keeps the one it started with."""
        table = RouteTable(snapshot, self._options.namespace)
        mesh, policies = self._mesh, policies_of(snapshot)
        self.clusters.update(snapshot)
        mesh.fallbacks.update(snapshot.services)
        if self._checks is not None:
            self._checks.update(snapshot)
        mesh.service_gates.update(snapshot.services)
        mesh.backend_gates.update({name: Service(name, policy=policy) for name, policy in policies.items()})
        mesh.use(table)
        self._use_inbound(snapshot)
        self._find_quotas()

    def take_wanted(self) -> dict[QuotaKey, int]:
        """Requests since the last call, by the limit that they count for, of limits that are shared."""
        return {quota.key: quota.limit.take_wanted() for quota in self._quotas}

    def lease(self, shares: Mapping[QuotaKey, float]) -> None:
        """From now on these parts of shared limits are ours."""
        self._shares |= shares
        self._use_shares()

    def _find_quotas(self) -> None:
        gates = (*self._mesh.service_gates, *self._app_gates)
        self._quotas = tuple(quota for gate in gates for quota in gate.quotas())
        self._use_shares()

    def _use_shares(self) -> None:
        now = time.monotonic()
        for quota in self._quotas:
            share = self._shares.get(quota.key, quota.limit.share)
            if share != quota.limit.share:
                quota.limit.lease(share, now)

    def _use_inbound(self, snapshot: Snapshot) -> None:
        """What the app's own service says of requests to it."""
        options, router = self._options, self._router
        if router is None or not options.service:
            return
        service = service_name(options.service, options.namespace)
        own = options.own_service(snapshot)
        self._app_gates.update({} if own is None else {service: own})
        router.use(self._app_gates.of(service))

    def drain(self) -> None:
        """Answer what comes inbound, and tell callers to go elsewhere. Outbound works until the end."""
        if self._inbound is not None:
            self._inbound.drain()

    async def finish(self) -> bool:
        """Take no more connections and let live requests end, outbound last. Whether all did in time."""
        timeout_s = self._options.drain_timeout_s
        finished = self._inbound is None or await self._inbound.close(timeout_s)
        for listener in self._outbound:
            listener.drain()
        for listener in self._outbound:
            finished = await listener.close(0 if listener.live_requests == 0 else timeout_s) and finished
        return finished

    async def close(self) -> None:
        """End everything at once."""
        for listener in self._listeners():
            listener.abort()
            await listener.close(0)
        if self._checks is not None:
            self._checks.close()
        self.clusters.abort()
        if self.app is not None:
            self.app.abort()
        self._mesh.passthrough.abort()
        for gate in (*self._mesh.service_gates, *self._app_gates):
            gate.close()

    def _listeners(self) -> Iterator[Listener]:
        if self._inbound is not None:
            yield self._inbound
        yield from self._outbound

    def _listener(self, place: Place) -> Listener:
        if place.name == INBOUND:
            inbound = self._inbound_router()
            opaque = Opaque(self._tcp(inbound), self._expected_by_app)
            listener = self._inbound = self._proxy_listener(place.name, inbound, opaque)
            return listener
        router = OutboundRouter(self._mesh, place.service)
        opaque = Opaque(self._tcp(router), lambda: self._expected(place.service), by_name=place.service is None)
        listener = self._proxy_listener(place.name, router, opaque)
        self._outbound.append(listener)
        return listener

    def _inbound_router(self) -> InboundRouter:
        options = self._options
        assert options.upstream is not None, "there is an inbound port only before an app"
        service = service_name(options.service, options.namespace) if options.service else "app"
        upstream = options.upstream
        app = Endpoint("app", upstream.host, upstream.port, options.upstream_protocol)
        self._router = router = InboundRouter(service, app, options.keep_alive_s, self._metrics)
        self.app = router.cluster
        self._use_inbound(self._mesh.table.snapshot)
        self._find_quotas()
        return router

    def _translation(self) -> Translation | None:
        options = self._options
        grpc_only = options.upstream_protocol == "grpc"
        if not grpc_only and not options.grpc_json:
            return None
        from remora.sidecar.translate.translator import before_app  # what weighs is loaded only when asked for

        assert self.app is not None, "there is an inbound port only before an app"
        return before_app(
            grpc_only=grpc_only,
            json_files=options.grpc_json,
            origins=options.cors_origins,
            metrics=self._metrics,
            service=self.app.name,
        )

    def _tcp(self, router: Router) -> Proxy:
        return Proxy(router, "tcp", self._timers, self._metrics, self.recent)

    def _expected_by_app(self) -> Expected:
        options = self._options
        return "http" if options.grpc_json else _expected(options.upstream_protocol)

    def _expected(self, service: ServiceName | None) -> Expected:
        """What is spoken on the port of `service`; on that of all services TLS names the one that is meant."""
        cluster = self.clusters.get(service) if service is not None else None
        return "auto" if cluster is None else _expected(cluster.declared)

    def _proxy_listener(self, name: str, router: Router, opaque: Opaque) -> Listener:
        http1 = Proxy(router, "http1", self._timers, self._metrics, self.recent)
        http2 = Proxy(router, "h2", self._timers, self._metrics, self.recent)
        if name != INBOUND:
            rule = Forwarding(None, self._options.via)
            return Listener(name, http1, http2, self._metrics, opaque=opaque, forwarding=rule)
        rule = Forwarding(self._options.trust_forwarded, self._options.via)
        translated = self.translation = self._translation()
        one, two = (translated.before(http1, http2), translated.before(http2, http2)) if translated else (http1, http2)
        return Listener(name, one, two, self._metrics, opaque=opaque, forwarding=rule)


def _expected(declared: Protocol) -> Expected:
    if declared in ("auto", "tcp"):
        return "tcp" if declared == "tcp" else "auto"
    return "http"
