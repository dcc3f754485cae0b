"""What the command line decides, as values."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from remora.model.address import Address
from remora.model.names import ServiceName, service_name
from remora.model.snapshot import Protocol, Service, Snapshot
from remora.sidecar.listener.forwarding import PRIVATE_NETWORKS, Network
from remora.sidecar.listener.outbound import OutboundPolicy
from remora.sidecar.probe.probes import Check


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
    grpc_json: tuple[Path, ...] = ()
    """Descriptor sets of the app, whose annotated methods are called by JSON too."""
    cors_origins: frozenset[str] = frozenset()
    """Whose pages may call by gRPC-Web and JSON."""
    trust_forwarded: tuple[Network, ...] = PRIVATE_NETWORKS
    """Callers whose word on the callers before them is taken."""
    via: str | None = None
    """What the sidecar is called in Via; None: it adds none."""
    keep_alive_s: float = 60.0
    """For how long idle connections to the app are kept, at most; 0: as long as it keeps them."""
    faults: bool = True
    """Whether FaultPolicies have an effect here."""
    workers: int = 1
    """Processes that carry traffic. 1: this one, which then does all."""

    def own_service(self, snapshot: Snapshot) -> Service | None:
        """What holds for requests to the app; None: nothing is said of it."""
        if not self.service:
            return None
        return snapshot.inbound(service_name(self.service, self.namespace), self.version)
