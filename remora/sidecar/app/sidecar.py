"""One sidecar, put together: which parts there are, and the order in which they start, change and stop.

source ─ snapshot ─► data path (route table, clusters, listeners): in this process, or in each of its workers
membership ─► control            admin pages and metrics: always in this process
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from remora.model.address import Address
from remora.model.shares import QuotaKey
from remora.model.snapshot import Snapshot, SnapshotError
from remora.sidecar.admin.pages import Page
from remora.sidecar.admin.site import AdminView, admin_site, probe_site
from remora.sidecar.admin.views import cluster_views
from remora.sidecar.app.membership import Membership
from remora.sidecar.app.state_file import state_file
from remora.sidecar.datapath import INBOUND, DataPath, places
from remora.sidecar.exchange.exchange import DISCOVERY_TIMEOUT_S
from remora.sidecar.listener.listener import Listener
from remora.sidecar.listener.outbound import Discoverer
from remora.sidecar.options import Options
from remora.sidecar.source.last_known_good import LastKnownGood
from remora.sidecar.source.static import load_static
from remora.sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from remora.sidecar.workers.pool import WorkerPool

log = logging.getLogger(__name__)


class WorkersLostError(Exception):
    """Workers that end cannot be replaced any more; the sidecar has drained."""


class Plane(Protocol):
    """What carries the traffic: a DataPath, or workers with one each. Its methods mean what DataPath's do."""

    def discover_by(self, discoverer: Discoverer) -> None: ...

    async def start(self) -> Mapping[str, int]: ...

    def use(self, snapshot: Snapshot) -> None: ...

    def take_wanted(self) -> Mapping[QuotaKey, int]: ...

    def lease(self, shares: Mapping[QuotaKey, float]) -> None: ...

    def drain(self) -> None: ...

    async def finish(self) -> bool: ...

    async def close(self) -> None: ...


class Sidecar:
    """The process. `run` is its whole life."""

    def __init__(self, options: Options, metrics: Metrics | None = None, workers: WorkerPool | None = None) -> None:
        """`workers`: who carries the traffic and counts it in `metrics`; None: this process itself."""
        self._options = options
        self._metrics = metrics or Metrics()
        self._plane: Plane
        if workers is None:
            path = DataPath(options, self._metrics)
            self._plane, self._own_ports = path, path.own_ports
            self._view = AdminView(self._metrics, lambda: cluster_views(path.app, path.clusters, path.app_limit))
            self._view.explain = lambda query: self._explained(query, lambda: self._explain(path, query))
        else:
            self._plane, self._own_ports = workers, workers.own_ports
            workers.on_lost = self._on_lost
            self._view = AdminView(self._metrics, workers.clusters, workers)
            self._view.explain = lambda query: self._explained(
                query, lambda: workers.explain(query, self._view.snapshot_from)
            )
        self._membership = Membership(options, self._on_pushed)
        if self._membership.health is not None:
            self._view.health = self._membership.health.state
        self._last_known_good: LastKnownGood | None = None
        self._admin_listeners: list[Listener] = []
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._lost = False

    async def _explained(self, query: str, answer: Callable[[], Page | Awaitable[Page]]) -> Page:
        """The answer, after control has been asked for a service that nobody has used yet: as by a request."""
        # Loaded by the first question: most sidecars are never asked.
        from remora.sidecar.explain.page import service_asked

        source, service = self._membership.source, service_asked(query, self._options.namespace)
        if source is not None and service is not None and source.known(service) is None:
            await asyncio.wait((source.subscribe(service),), timeout=DISCOVERY_TIMEOUT_S)
        page = answer()
        return page if isinstance(page, Page) else await page

    def _explain(self, path: DataPath, query: str) -> Page:
        from remora.sidecar.explain.page import explain_page
        from remora.sidecar.explain.subject import View, app_of

        view = View.of(path.mesh, self._view.snapshot_from, faults=self._options.faults, app=app_of(path))
        return explain_page(query, view, path.recent)

    # ── life ──

    async def run(self) -> None:
        """Start, serve until SIGTERM or SIGINT, drain.

        Raises ListenError and SnapshotError while starting, and WorkersLostError when it had to stop by itself.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        initial = self._initial_snapshot()
        self._use(initial)
        try:
            ports = await self._listen()
            self._join(initial, ports.get(INBOUND))
            await self._stop.wait()
            if not await self._unless_hurried(self._drain()):
                log.warning("told to stop a second time: what is live is cut off")
        finally:
            await self._close()
        if self._lost:
            raise WorkersLostError("workers that end could not be replaced any more: start this sidecar anew")

    def _on_lost(self) -> None:
        self._lost = True
        self._stop.set()

    def _on_signal(self) -> None:
        """The first asks for an orderly end, the second for one at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _unless_hurried(self, work: Awaitable[None]) -> bool:
        """Do `work`, unless a second signal comes; whether it was done."""
        doing = asyncio.ensure_future(work)
        hurry = asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait((doing, hurry), return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
            return doing.done()
        finally:
            for task in (doing, hurry):
                task.cancel()
            await asyncio.wait((doing, hurry))

    async def _listen(self) -> Mapping[str, int]:
        options = self._options
        # Before workers, so that they can be told these ports; and who waits for one to be up can see it.
        for name, site, address in (
            ("admin", admin_site(self._view), options.admin),
            ("metrics", probe_site(self._view), options.metrics),
        ):
            listener = Listener(name, site, site, self._metrics)
            self._admin_listeners.append(listener)
            port = await listener.start(address.host, address.port, f"--{name}")
            self._own_ports.add(port)
            self._opened(name, address, port)
        ports = await self._plane.start()
        for place in places(options):
            self._opened(place.name, place.address, ports[place.name])
        for listener in self._admin_listeners:  # shown last
            self._view.listeners[listener.name] = self._view.listeners.pop(listener.name)
        return ports

    def _opened(self, name: str, address: Address, port: int) -> None:
        bound = Address(address.host or "0.0.0.0", port)  # noqa: S104 - what is listened on, for people to read
        self._view.listeners[name] = str(bound)
        print(f"listening {name} {bound}", flush=True)  # noqa: T201 - programs wait for these lines

    async def _drain(self) -> None:
        """Deregister, fail readiness, let callers go elsewhere, finish what is live."""
        options = self._options
        log.info("draining")
        self._view.draining = True
        await self._membership.leave()
        self._plane.drain()
        if options.upstream is not None:
            await asyncio.sleep(options.drain_delay_s)
        if not await self._plane.finish():
            log.warning("requests were still live after %g s and are cut off", options.drain_timeout_s)

    async def _close(self) -> None:
        await self._membership.stop()
        if self._last_known_good is not None:
            await self._last_known_good.close()
        await self._plane.close()
        for listener in self._admin_listeners:
            listener.abort()
            await listener.close(0)

    # ── configuration ──

    def _initial_snapshot(self) -> Snapshot:
        """What to serve with before control has said anything: the last known good, else the file, else nothing."""
        options = self._options
        if options.control and options.state_dir is not None:
            self._last_known_good = LastKnownGood(state_file(options, options.state_dir))
            known = self._last_known_good.load()
            if known is not None:
                self._view.snapshot_from = "last known good"
                return known
        if options.config is not None:
            self._view.snapshot_from = "file"
            return load_static(options.config)
        return Snapshot()

    def _use(self, snapshot: Snapshot) -> None:
        self._plane.use(snapshot)
        self._membership.use(snapshot)
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

    def _join(self, initial: Snapshot, inbound_port: int | None) -> None:
        membership = self._membership
        membership.join(initial, inbound_port, self._plane)
        self._view.source, self._view.registrar = membership.source, membership.registrar
        if membership.source is not None:
            self._plane.discover_by(membership.source)
