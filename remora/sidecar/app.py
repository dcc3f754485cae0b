"""One sidecar process, put together: which parts there are, and the order in which they start, change and stop.

source ─ snapshot ─► route table + clusters        app health ─► registrar ─► control
                           │
inbound listener ─► exchange ─► the app             the app ─► outbound listeners ─► exchange ─► other sidecars
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import signal
from pathlib import Path

from remora.model.address import Address
from remora.model.names import ServiceName, service_name
from remora.model.snapshot import Endpoint, Protocol, Snapshot, SnapshotError
from remora.sidecar.admin.site import AdminView, admin_site, probe_site
from remora.sidecar.exchange.decision import Router
from remora.sidecar.exchange.exchange import Proxy
from remora.sidecar.exchange.timers import TimerWheel
from remora.sidecar.listener.inbound import InboundRouter
from remora.sidecar.listener.listener import Listener
from remora.sidecar.listener.outbound import Mesh, OutboundPolicy, OutboundRouter
from remora.sidecar.routing.table import RouteTable
from remora.sidecar.source.app_health import AppHealth
from remora.sidecar.source.app_probe import Check
from remora.sidecar.source.control import ControlSource, Node
from remora.sidecar.source.last_known_good import LastKnownGood
from remora.sidecar.source.registration import Registrar, instance_id
from remora.sidecar.source.static import load_static
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import Clusters

log = logging.getLogger(__name__)

DEREGISTER_TIMEOUT_S = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Binding:
    """A local port that stands for one service."""

    service: ServiceName
    address: Address


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What the command line decides."""

    upstream: Address | None
    """None: there is only a caller beside us, no inbound traffic."""
    upstream_protocol: Protocol
    health: Check
    service: str
    namespace: str
    version: str
    zone: str
    weight: int
    advertise: Address
    control: tuple[Address, ...]
    config: Path | None
    state_dir: Path | None
    inbound: Address
    outbound: Address
    bindings: tuple[Binding, ...]
    admin: Address
    metrics: Address
    outbound_policy: OutboundPolicy
    drain_delay_s: float
    """How long new requests are still taken after deregistration: callers learn of it by push, but not at once."""
    drain_timeout_s: float
    """How long live requests may take to end."""
    sidecar_version: str


class Sidecar:
    """The process. `run` is its whole life."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._metrics = Metrics()
        self._timers = TimerWheel()
        self._clusters = Clusters()
        self._own_ports: set[int] = set()
        self._mesh = Mesh(
            RouteTable(Snapshot(), options.namespace),
            self._clusters,
            options.namespace,
            options.outbound_policy,
            self._own_ports,
        )
        self._source: ControlSource | None = None
        self._registrar: Registrar | None = None
        self._last_known_good: LastKnownGood | None = None
        self._view = AdminView(self._metrics, self._clusters)
        self._health: AppHealth | None = None
        self._inbound: Listener | None = None
        if options.upstream is not None:
            self._make_inbound(options.upstream)
        self._outbound_listeners: list[Listener] = []
        self._admin_listeners: list[Listener] = []
        self._stop = asyncio.Event()

    def _make_inbound(self, upstream: Address) -> None:
        options = self._options
        app = Endpoint("app", upstream.host, upstream.port, options.upstream_protocol)
        router = InboundRouter(_counted_as(options), app)
        self._inbound = self._proxy_listener("inbound", router)
        self._health = AppHealth(options.health, upstream.host, upstream.port, self._on_app_health)
        self._view.app = router.cluster
        self._view.health = self._health.state

    # ── life ──

    async def run(self) -> None:
        """Start, serve until SIGTERM or SIGINT, drain. Raises ListenError and SnapshotError while starting."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        initial = self._initial_snapshot()
        self._use(initial)
        try:
            await self._listen()
            self._join(initial)
            await self._stop.wait()
            await self._drain()
        finally:
            await self._close()

    async def _listen(self) -> None:
        options = self._options
        if self._inbound is not None:
            await self._open(self._inbound, options.inbound, "--inbound")
        await self._open_outbound("outbound", OutboundRouter(self._mesh), options.outbound, "--outbound-listen")
        for binding in options.bindings:
            name = f"outbound:{binding.service.removesuffix('.' + options.namespace)}"
            router = OutboundRouter(self._mesh, binding.service)
            await self._open_outbound(name, router, binding.address, "--outbound")
        for name, site, address in (
            ("admin", admin_site(self._view), options.admin),
            ("metrics", probe_site(self._view), options.metrics),
        ):
            listener = Listener(name, site, site, self._metrics)
            self._admin_listeners.append(listener)
            await self._open(listener, address, f"--{name}")

    async def _open_outbound(self, name: str, router: Router, address: Address, flag: str) -> None:
        listener = self._proxy_listener(name, router)
        self._outbound_listeners.append(listener)
        await self._open(listener, address, flag)

    async def _open(self, listener: Listener, address: Address, flag: str) -> None:
        port = await listener.start(address.host, address.port, flag)
        self._own_ports.add(port)
        bound = Address(address.host or "0.0.0.0", port)  # noqa: S104 - what is listened on, for people to read
        self._view.listeners[listener.name] = str(bound)
        print(f"listening {listener.name} {bound}", flush=True)  # noqa: T201 - programs wait for these lines

    def _proxy_listener(self, name: str, router: Router) -> Listener:
        http1 = Proxy(router, "http1", self._timers, self._metrics)
        http2 = Proxy(router, "h2", self._timers, self._metrics)
        return Listener(name, http1, http2, self._metrics)

    async def _drain(self) -> None:
        """Deregister, fail readiness, let callers go elsewhere, finish what is live. Outbound works until the end."""
        options = self._options
        log.info("draining")
        self._view.draining = True
        if self._registrar is not None:
            await self._registrar.deregister(DEREGISTER_TIMEOUT_S)
        finished = self._inbound is None or await self._drain_inbound(self._inbound)
        for listener in self._outbound_listeners:
            listener.drain()
        for listener in self._outbound_listeners:
            finished = await listener.close(0 if listener.live_requests == 0 else options.drain_timeout_s) and finished
        if not finished:
            log.warning("requests were still live after %g s and are cut off", options.drain_timeout_s)

    async def _drain_inbound(self, inbound: Listener) -> bool:
        options = self._options
        inbound.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped_again(), options.drain_delay_s)
        return await inbound.close(options.drain_timeout_s)

    async def _stopped_again(self) -> None:
        """A second signal shortens the wait."""
        self._stop.clear()
        await self._stop.wait()

    async def _close(self) -> None:
        if self._health is not None:
            await self._health.stop()
        if self._source is not None:
            await self._source.stop()
        if self._last_known_good is not None:
            await self._last_known_good.close()
        inbound = () if self._inbound is None else (self._inbound,)
        for listener in (*inbound, *self._outbound_listeners, *self._admin_listeners):
            listener.abort()
            await listener.close(0)
        self._clusters.abort()
        if self._view.app is not None:
            self._view.app.abort()
        self._mesh.passthrough.abort()

    # ── configuration ──

    def _initial_snapshot(self) -> Snapshot:
        """What to serve with before control has said anything: the last known good, else the file, else nothing."""
        options = self._options
        if options.control and options.state_dir is not None:
            owner = f"{options.service or 'client'}.{options.namespace}"
            self._last_known_good = LastKnownGood(options.state_dir / f"{owner}.snapshot.json")
            known = self._last_known_good.load()
            if known is not None:
                self._view.snapshot_from = "last known good"
                return known
        if options.config is not None:
            self._view.snapshot_from = "file"
            return load_static(options.config)
        return Snapshot()

    def _use(self, snapshot: Snapshot) -> None:
        """Swap in a snapshot; one that does not compile changes nothing. A request keeps the one it started with."""
        table = RouteTable(snapshot, self._options.namespace)
        self._clusters.update(snapshot)
        self._mesh.table = table
        self._view.snapshot = snapshot

    def _on_pushed(self, snapshot: Snapshot) -> None:
        try:
            self._use(snapshot)
        except SnapshotError:
            self._metrics.config_rejected += 1
            raise
        self._view.snapshot_from = "control"
        if self._last_known_good is not None:
            self._last_known_good.save(snapshot)

    def _reload(self) -> None:
        """SIGHUP: read the file again."""
        config = self._options.config
        if config is None or self._options.control:
            log.warning("nothing to reload: only --config without --control is read again")
            return
        try:
            self._use(load_static(config))
        except SnapshotError as error:
            self._metrics.config_rejected += 1
            log.error("%s was not taken, what was in use stays: %s", config, error)
        else:
            log.info("%s is in use", config)

    # ── the mesh ──

    def _join(self, initial: Snapshot) -> None:
        options = self._options
        if self._health is not None:
            self._health.start()
        if not options.control:
            return
        node_id = instance_id(options.service or "client")
        if options.service:
            self._registrar = Registrar(options.service, options.namespace, self._own_endpoint(node_id))
        node = Node(node_id, options.service, options.namespace, options.version, options.zone, options.sidecar_version)
        self._source = ControlSource(
            options.control,
            node,
            self._on_pushed,
            services=[binding.service for binding in options.bindings],
            initial=initial,
            registrar=self._registrar,
        )
        self._mesh.discoverer = self._source
        self._view.source = self._source
        self._view.registrar = self._registrar
        self._source.start()

    def _own_endpoint(self, node_id: str) -> Endpoint:
        options = self._options
        port = options.advertise.port or Address("", int(self._view.listeners["inbound"].rpartition(":")[2])).port
        return Endpoint(
            node_id,
            options.advertise.host,
            port,
            options.upstream_protocol,
            version=options.version,
            zone=options.zone,
            weight=options.weight,
        )

    def _on_app_health(self, healthy: bool) -> None:
        if self._registrar is not None:
            self._registrar.set_health(healthy)


def _counted_as(options: Options) -> str:
    return service_name(options.service, options.namespace) if options.service else "app"
