"""What rules are explained about: a request, and the way that was chosen for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol

from remora.model.names import ServiceName
from remora.model.policies import ServicePolicy
from remora.model.snapshot import Service
from remora.sidecar.exchange.gate import Gate
from remora.sidecar.listener.outbound import Mesh, OutboundPolicy
from remora.sidecar.routing.table import CompiledRoute, RouteTable
from remora.sidecar.upstream.cluster import Cluster
from remora.sidecar.wire.heads import RequestHead

if TYPE_CHECKING:
    # Most apps speak for themselves.
    from remora.sidecar.translate.refusal import Refusal
    from remora.sidecar.translate.translator import Translation


@dataclasses.dataclass(frozen=True, slots=True)
class App:
    """What is behind the inbound port."""

    name: str
    """The service that its requests count as."""
    cluster: Cluster
    gates: tuple[Gate, ...]
    call_of: Callable[[RequestHead], bytes | Refusal | None] = lambda _: None
    """The gRPC method that a request is made a call of, or what it is told instead; None: it stays as it is."""


class Path(Protocol):
    """A DataPath."""

    @property
    def app(self) -> Cluster | None: ...

    @property
    def translation(self) -> Translation | None: ...

    @property
    def app_gates(self) -> tuple[Gate, ...]: ...


def app_of(path: Path) -> App | None:
    """Behind a data path's inbound port."""
    if path.app is None:
        return None
    app = App(path.app.name, path.app, path.app_gates)
    return app if path.translation is None else dataclasses.replace(app, call_of=path.translation.call_of)


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """What explanations look at: a live sidecar, or a file that one would run on."""

    table: RouteTable
    config: str
    """Where the configuration comes from, for people."""
    namespace: str
    outbound_policy: OutboundPolicy
    cluster: Callable[[ServiceName], Cluster | None]
    """None of any service: it is a file that is asked."""
    gates: Callable[[ServiceName, ServiceName], tuple[Gate, ...]]
    """By the service that is asked for, and the one that the route chose."""
    known: Callable[[ServiceName], bool | None] | None = None
    """What control says of a service that is not in the table. None: there is no control to ask."""
    faults: bool = True
    own_ports: Collection[int] = ()
    app: App | None = None
    """None: there is none beside it."""
    live: bool = True

    @classmethod
    def of(cls, mesh: Mesh, config: str, *, faults: bool, app: App | None = None) -> View:
        """A live sidecar's."""
        known = None if mesh.discoverer is None else mesh.discoverer.known
        return cls(
            mesh.table,
            config,
            mesh.namespace,
            mesh.policy,
            mesh.clusters.get,
            mesh.gates,
            known,
            faults,
            mesh.own_ports,
            app,
        )

    @property
    def knows_endpoints(self) -> bool:
        """Else it is a file of policies alone, about which instances nobody can tell."""
        return self.live or bool(self.table.snapshot.endpoints)


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """A request that has a route, and one of the services that it may go to."""

    head: RequestHead
    service: Service
    route: CompiledRoute
    backend: ServiceName
    policy: ServicePolicy
    """Of the backend: how its endpoints are reached."""
    cluster: Cluster | None
    gates: tuple[Gate, ...]
    faults: bool
    """Whether this sidecar lets faults have an effect."""
    live: bool
