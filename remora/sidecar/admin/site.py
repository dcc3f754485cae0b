"""The pages of the admin port (loopback) and of the port for scrapers and probes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Protocol, get_args

import msgspec

from remora import __version__
from remora.model.snapshot import Snapshot
from remora.sidecar.admin.exposition import Counter, Gauge, SidecarCollector, metrics_page
from remora.sidecar.admin.pages import Page, PageMaker, Question, Site
from remora.sidecar.admin.views import BREAKER_STATES, ClusterView, EndpointState, EndpointView, WorkerView
from remora.sidecar.build import build
from remora.sidecar.listener.opaque import SILENCE_S
from remora.sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from remora.sidecar.source.app_health import HealthView
    from remora.sidecar.source.control import ControlSource
    from remora.sidecar.source.registration import Registrar


Explainer = Callable[[str], Page | Awaitable[Page]]
"""Answers the query of /explain."""


class WorkersView(Protocol):
    """What the pages ask of the workers, where there are any."""

    async def refresh(self) -> None:
        """Have `metrics` and clusters be what the workers say now; soon, even when one does not answer."""

    def views(self) -> list[WorkerView]: ...

    def missing(self) -> list[str]:
        """What keeps them from being ready, a sentence each."""


@dataclasses.dataclass(slots=True)
class AdminView:
    """What the pages look at. The app keeps it up to date; nothing here is decided by it."""

    metrics: Metrics
    clusters: Callable[[], list[ClusterView]]
    workers: WorkersView | None = None
    """None: this process carries the traffic itself."""
    explain: Explainer | None = None
    """Says what would happen to a request, and what has happened to one."""
    health: Callable[[], HealthView] | None = None
    """None: the sidecar only calls."""
    draining: bool = False
    snapshot: Snapshot = dataclasses.field(default_factory=Snapshot)
    snapshot_from: str = "none"
    source: ControlSource | None = None
    registrar: Registrar | None = None
    listeners: dict[str, str] = dataclasses.field(default_factory=dict)


def admin_site(view: AdminView) -> Site:
    """Everything there is to see."""
    pages: dict[tuple[str, str], PageMaker] = {
        ("GET", "/"): lambda _: _index(pages),
        ("GET", "/status"): _fresh(view, lambda _: _json(status(view))),
        ("GET", "/config"): lambda _: _json(view.snapshot),
        ("GET", "/clusters"): _fresh(view, lambda _: _json([_cluster(cluster) for cluster in view.clusters()])),
        **_explain_pages(view),
        ("GET", "/detection"): _fresh(view, lambda _: _json(_detection(view.metrics))),
        **_probe_pages(view),
    }
    return Site(pages)


def _explain_pages(view: AdminView) -> dict[tuple[str, str], PageMaker]:
    explain = view.explain
    return {} if explain is None else {("GET", "/explain"): lambda question: explain(question.query)}


def probe_site(view: AdminView) -> Site:
    """Metrics and probes: what others than this machine may see."""
    return Site(_probe_pages(view))


def _probe_pages(view: AdminView) -> dict[tuple[str, str], PageMaker]:
    return {
        ("GET", "/metrics"): _fresh(view, metrics_page(SidecarCollector(view.metrics, lambda: _gauges(view)))),
        ("GET", "/healthz/live"): lambda _: _json({"live": True}),
        ("GET", "/healthz/ready"): lambda _: _ready(view),
    }


def _fresh(view: AdminView, make: Callable[[Question], Page]) -> PageMaker:
    """`make`, after the workers have said how they are."""
    workers = view.workers
    if workers is None:
        return make

    async def page(question: Question) -> Page:
        await workers.refresh()
        return make(question)

    return page


def missing(view: AdminView) -> list[str]:
    """What keeps the sidecar from being ready, a sentence each; empty when it is."""
    found = ["the sidecar is draining: it is about to stop"] if view.draining else []
    if view.workers is not None and not view.draining:
        found += view.workers.missing()
    health = view.health() if view.health is not None else None
    if health is not None and health.state != "healthy":
        found.append(f"the app is {health.state}: {health.reason or 'not checked yet'}")
    source = view.source
    if source is not None and not source.synced and view.snapshot_from == "none":
        state = source.state()
        reason = state.last_error or "not connected yet"
        found.append(
            f"no configuration: control {state.control} has sent none, and no last known good is there ({reason})"
        )
    registration = view.registrar.state() if view.registrar is not None else None
    if registration is not None and registration.lease_id == 0 and not view.draining:
        reason = registration.last_error or "control has not confirmed it yet"
        found.append(f"{registration.service} is not registered: callers do not know this instance ({reason})")
    return found


def _ready(view: AdminView) -> Page:
    reasons = missing(view)
    body = msgspec.json.encode({"ready": not reasons, "missing": reasons})
    return Page(body, status=503 if reasons else 200)


def status(view: AdminView) -> dict[str, object]:
    """The sidecar at one glance, for people and `sidecar status`."""
    reasons = missing(view)
    workers = {} if view.workers is None else {"workers": view.workers.views()}
    return {
        "ready": not reasons,
        "missing": reasons,
        "version": __version__,
        "build": build(),
        "listeners": view.listeners,
        "app": view.health() if view.health is not None else None,
        "snapshot": {
            "from": view.snapshot_from,
            "revision": view.snapshot.revision,
            "services": sorted(view.snapshot.services),
        },
        "control": view.source.state() if view.source is not None else None,
        "registration": view.registrar.state() if view.registrar is not None else None,
        "connections": view.metrics.connections,
        **workers,
    }


def _cluster(cluster: ClusterView) -> dict[str, object]:
    return {
        "name": cluster.name,
        "balancer": cluster.balancer,
        "breaker": cluster.breaker or None,
        "connections": cluster.room.connections,
        "pending": cluster.room.pending,
        "requests": cluster.room.requests,
        "limits": msgspec.structs.asdict(cluster.room.limits),
        "levels": cluster.levels,
        "concurrency": {"limit": cluster.limit, "in_flight": cluster.in_flight} if cluster.limit else None,
        "endpoints": [_endpoint(endpoint) for endpoint in cluster.endpoints],
    }


def _endpoint(view: EndpointView) -> dict[str, object]:
    shown = {
        **msgspec.to_builtins(view.endpoint),
        "state": view.state,
        "breaker": view.breaker or None,
        "check_fault": view.check_fault or None,
        "active": view.active,
        "connections": view.connections,
        "share": round(view.share, 4),
    }
    for name, value in (("score", view.score), ("latency_s", view.latency_s)):
        if value is not None:
            shown[name] = round(value, 6)
    return {**shown, "workers": view.shares} if view.shares else shown


def _detection(metrics: Metrics) -> dict[str, object]:
    """By port: what was learnt, what connections turned out to be, whom TLS asks for."""
    found: dict[str, dict[str, int]] = {}
    for (listener, protocol, by), count in metrics.detected.items():
        found.setdefault(listener, {})[f"{protocol}, {by}"] = count
    return {
        listener: {
            **_learnt(counts),
            "connections": counts,
            "server_names": {name: count for (port, name), count in metrics.server_names.items() if port == listener},
        }
        for listener, counts in found.items()
    }


def _learnt(counts: dict[str, int]) -> dict[str, object]:
    """Who speaks first on a port, and how long a silent connection waits until it is joined to the server; None: until
    its client speaks."""
    if "tcp, server first" in counts:
        return {"speaks_first": "server", "silence_s": 0.0}
    if "tcp, declared" in counts:
        return {"speaks_first": None, "silence_s": 0.0}
    if counts.keys() & {"http1, first bytes", "h2, first bytes"}:
        return {"speaks_first": "client", "silence_s": None}
    return {"speaks_first": None, "silence_s": SILENCE_S}


def _gauges(view: AdminView) -> Iterator[Gauge]:
    for cluster in view.clusters():
        where = {"direction": "inbound" if cluster.inbound else "outbound", "service": cluster.name}
        open_ones = sum(endpoint.connections for endpoint in cluster.endpoints)
        live = sum(endpoint.active for endpoint in cluster.endpoints)
        yield Gauge("mesh_upstream_connections", "Open upstream connections.", open_ones, **where)
        yield Gauge("mesh_upstream_requests", "Requests in flight upstream.", live, **where)
        if cluster.limit:
            limit, in_flight = cluster.limit, cluster.in_flight
            yield Gauge(
                "mesh_concurrency_limit", "Requests that may be in flight to the app.", limit, service=cluster.name
            )
            yield Gauge("mesh_concurrency_in_flight", "Requests in flight to the app.", in_flight, service=cluster.name)
        if cluster.inbound:
            continue
        panic = int(any(level.panic and level.share > 0.0 for level in cluster.levels))
        yield Gauge("mesh_panic", "1 when health is not believed: too few are usable.", panic, service=cluster.name)
        counts = dict.fromkeys(get_args(EndpointState), 0)
        for endpoint in cluster.endpoints:
            counts[endpoint.state] += 1
        for state, count in counts.items():
            yield Gauge("mesh_endpoints", "Endpoints of a service.", count, service=cluster.name, state=state)
        yield from _breaker_gauges(cluster)
    for listener, count in view.metrics.connections.items():
        yield Gauge("mesh_connections", "Open downstream connections.", count, listener=listener)
    yield Gauge("mesh_asyncio_tasks", "Tasks on the event loop.", len(asyncio.all_tasks()))
    yield Gauge("mesh_config_revision", "etcd revision of the configuration in use.", view.snapshot.revision)
    yield Gauge("mesh_ready", "1 when the sidecar is ready.", 0 if missing(view) else 1)
    for worker in view.workers.views() if view.workers is not None else ():
        number, up = str(worker.worker), int(worker.state == "up")
        yield Gauge("mesh_worker_up", "1 when the worker carries traffic.", up, worker=number)
        yield Counter("mesh_worker_restarts", "Workers that ended and were replaced.", worker.restarts, worker=number)


def _breaker_gauges(cluster: ClusterView) -> Iterator[Gauge]:
    """One for the cluster (without an endpoint), or for each endpoint, where there are breakers."""
    states = {"": cluster.breaker} | {endpoint.endpoint.id: endpoint.breaker for endpoint in cluster.endpoints}
    for endpoint, state in states.items():
        if state:
            value = BREAKER_STATES.index(state) - 1
            where = {"service": cluster.name, "endpoint": endpoint}
            yield Gauge("mesh_breaker_state", "0: closed, 1: half open, 2: open.", value, **where)


def _index(pages: dict[tuple[str, str], PageMaker]) -> Page:
    lines = [f"{method} {path}" for method, path in sorted(pages, key=lambda page: page[1])]
    return Page(("\n".join(lines) + "\n").encode(), "text/plain; charset=utf-8")


def _json(value: object) -> Page:
    return Page(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
