"""Control's push side in the test's own process: a store, a plain catalog that follows it, and a push server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import msgspec
from prometheus_client import CollectorRegistry

from remora.control.push import PushServer
from remora.control.store.follow import Update, follow
from remora.control.store.interface import EventKind, Store
from remora.control.store.keys import InstanceKey, instances_prefix, parse_key
from remora.model.address import Address
from remora.model.base import Origin
from remora.model.names import ServiceName
from remora.model.routes import Backend, Route, RouteMatch
from remora.model.snapshot import Endpoint, EndpointSet, Service, Snapshot
from remora.sidecar.source.control import ControlSource, Node

ENV = "test"
DEADLINE_S = 30.0


def name(text: str) -> ServiceName:
    """`orders` → `orders.default`."""
    return ServiceName(text if "." in text else f"{text}.default")


def endpoint(instance: str, port: int = 8080) -> Endpoint:
    return Endpoint(instance, "127.0.0.1", port)


def endpoints_of(service: str, *instances: str) -> EndpointSet:
    return EndpointSet(name(service), tuple(endpoint(instance) for instance in sorted(instances)))


def routed(service: str, *backends: str, route: str = "canary") -> Service:
    """A service with one route, to these backends."""
    origin = Origin("HTTPRoute", "default", route)
    targets = tuple(Backend(name(backend)) for backend in backends)
    return Service(name(service), (Route(route, origin, RouteMatch(), targets),))


class PlainCatalog:
    """Services and endpoint sets as the test puts them."""

    def __init__(self) -> None:
        self.revision = 1
        self.services: dict[ServiceName, Service] = {}
        self.endpoint_sets: dict[ServiceName, EndpointSet] = {}

    def service(self, name: ServiceName) -> Service | None:
        known = self.services.get(name)
        return known or (Service(name) if name in self.endpoint_sets else None)

    def endpoints(self, name: ServiceName) -> EndpointSet | None:
        return self.endpoint_sets.get(name)

    def referenced(self, name: ServiceName) -> frozenset[ServiceName]:
        service = self.services.get(name)
        routes = service.routes if service is not None else ()
        return frozenset(service for route in routes for service in route.services())

    def put(self, *parts: Service | EndpointSet) -> set[ServiceName]:
        """Returns the names, for `changed`."""
        self.revision += 1
        for part in parts:
            if isinstance(part, Service):
                self.services[part.name] = part
            else:
                self.endpoint_sets[part.service] = part
        return {part.name if isinstance(part, Service) else part.service for part in parts}

    def follow(self, update: Update) -> set[ServiceName]:
        """Take in the instances of an update of the store."""
        changed: set[ServiceName] = set()
        for event in update.events:
            key = parse_key(event.key)
            assert isinstance(key, InstanceKey)
            changed.add(key.service)
            before = self.endpoint_sets.get(key.service, EndpointSet(key.service)).endpoints
            after = {known.id: known for known in before}
            if event.kind is EventKind.PUT:
                after[key.instance] = msgspec.json.decode(event.value, type=Endpoint)
            else:
                after.pop(key.instance, None)
            ordered = tuple(after[instance] for instance in sorted(after))
            if ordered:
                self.endpoint_sets[key.service] = EndpointSet(key.service, ordered)
            else:
                self.endpoint_sets.pop(key.service, None)
        self.revision = update.revision
        return changed


class PushControl:
    """A control that can be stopped and started again on the same port."""

    def __init__(
        self, store: Store, catalog: PlainCatalog | None = None, *, ttl_s: int = 15, settle_s: float = 0.0
    ) -> None:
        self.store = store
        self.catalog = catalog or PlainCatalog()
        self.ttl_s = ttl_s
        self.settle_s = settle_s
        self.port = 0
        self.registry = CollectorRegistry()
        self.server: PushServer | None = None
        self._follower: asyncio.Task[None] | None = None
        self._listed = asyncio.Event()

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port)

    @property
    def push(self) -> PushServer:
        assert self.server is not None
        return self.server

    async def start(self, *, ready: bool = True) -> None:
        self.registry = CollectorRegistry()
        self.server = PushServer(
            self.catalog,
            self.store,
            self.registry,
            control_id="control-1",
            env=ENV,
            ttl_s=self.ttl_s,
            settle_s=self.settle_s,
        )
        self.port = await self.server.start("127.0.0.1", self.port)
        self._listed.clear()
        self._follower = asyncio.create_task(self._follow())
        await self._listed.wait()
        if ready:
            self.server.mark_ready()

    async def stop(self) -> None:
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait([self._follower])
            self._follower = None
        if self.server is not None:
            await self.server.stop()
            self.server = None

    def put(self, *parts: Service | EndpointSet) -> None:
        changed = self.catalog.put(*parts)
        self.push.changed(changed, changed)

    def metric(self, sample: str, **labels: str) -> float:
        return self.registry.get_sample_value(sample, labels) or 0.0

    async def _follow(self) -> None:
        async with aclosing(follow(self.store, instances_prefix(ENV))) as updates:
            async for update in updates:
                changed = self.catalog.follow(update)
                self.push.changed((), changed)
                self._listed.set()


@asynccontextmanager
async def push_control(store: Store, *, ttl_s: int = 15) -> AsyncIterator[PushControl]:
    control = PushControl(store, ttl_s=ttl_s)
    await control.start()
    try:
        yield control
    finally:
        await control.stop()


class Taken:
    """A sink that keeps what it was given, and may refuse."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.check: Callable[[Snapshot], None] = lambda snapshot: None

    def __call__(self, snapshot: Snapshot) -> None:
        self.check(snapshot)
        self.snapshots.append(snapshot)

    @property
    def last(self) -> Snapshot:
        return self.snapshots[-1]


def source(*controls: PushControl, sink: Taken, node: str = "caller-1", **more: object) -> ControlSource:
    addresses = [control.address for control in controls]
    return ControlSource(addresses, Node(node), sink, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def running(source: ControlSource) -> AsyncIterator[ControlSource]:
    source.start()
    try:
        yield source
    finally:
        await source.stop()
