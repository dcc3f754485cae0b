"""This sidecar as a member of the mesh: the stream to control, the app's health, the registration.

app health ─► registrar ─► control ─► snapshots
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from remora.model.address import Address
from remora.model.shares import QuotaKey
from remora.model.snapshot import Endpoint, Snapshot
from remora.sidecar.options import Options

if TYPE_CHECKING:
    from remora.sidecar.source.app_health import AppHealth
    from remora.sidecar.source.control import ControlSource
    from remora.sidecar.source.quota import QuotaAgent
    from remora.sidecar.source.registration import Registrar

log = logging.getLogger(__name__)

DEREGISTER_TIMEOUT_S = 5.0
"""While control is connected."""
DEREGISTER_AWAY_TIMEOUT_S = 0.5
"""While it is not: it may be coming back right now, but nobody can be waited for who is not there."""


class SharedLimits(Protocol):
    """What carries the traffic, as far as it keeps to limits."""

    def take_wanted(self) -> Mapping[QuotaKey, int]: ...

    def lease(self, shares: Mapping[QuotaKey, float]) -> None: ...


class Membership:
    """Made once; `join` starts everything, `leave` takes the registration back, `stop` ends the rest."""

    def __init__(self, options: Options, sink: Callable[[Snapshot], None]) -> None:
        self._options = options
        self._sink = sink
        self.source: ControlSource | None = None
        """None: there is no control."""
        self.registrar: Registrar | None = None
        self._quotas: QuotaAgent | None = None
        self.health: AppHealth | None = None
        """None: there is no app, only a caller."""
        if options.upstream is not None:
            self.health = self._app_health(options.upstream)

    def join(self, initial: Snapshot, inbound_port: int | None, limits: SharedLimits) -> None:
        """Watch the app, and connect to control. `initial` is what is in use until it answers; `limits`: those of
        requests."""
        options = self._options
        if self.health is not None:
            self.health.start()
        if not options.control:
            return
        # Imported here: a sidecar without control never loads gRPC and protobuf, nor do workers.
        from remora.sidecar.source.control import ControlSource, Node
        from remora.sidecar.source.quota import QuotaAgent
        from remora.sidecar.source.registration import Registrar, instance_id

        node_id = instance_id(options.service or "client")
        if options.service:
            assert inbound_port is not None, "there is an app before which the inbound port is"
            self.registrar = Registrar(options.service, options.namespace, self._endpoint(node_id, inbound_port))
        self._quotas = QuotaAgent(limits.take_wanted, limits.lease)
        self.use(initial)
        node = Node(node_id, options.service, options.namespace, options.version, options.zone, options.sidecar_version)
        self.source = ControlSource(
            options.control,
            node,
            self._sink,
            services=[binding.service for binding in options.bindings],
            initial=initial,
            registrar=self.registrar,
            quotas=self._quotas,
        )
        self.source.start()

    def use(self, snapshot: Snapshot) -> None:
        """Share the limits that `snapshot` wants shared."""
        if self._quotas is None:
            return
        limits = snapshot.enforced_limits(self._options.own_service(snapshot))
        self._quotas.follow({key: limit.rate for key, limit in limits.items() if limit.scope == "service"})

    async def leave(self) -> None:
        """Take the registration back. Waits for control's answer only while there is a control to give one."""
        if self.registrar is None or self.source is None:
            return
        leaving = asyncio.get_running_loop().create_task(self.registrar.deregister(DEREGISTER_TIMEOUT_S))
        try:
            await asyncio.wait([leaving], timeout=DEREGISTER_AWAY_TIMEOUT_S)
            while not leaving.done() and self.source.state().connected:
                await asyncio.wait([leaving], timeout=DEREGISTER_AWAY_TIMEOUT_S)
            if not leaving.done():
                log.warning("Control is away and was not told that this instance stops; its lease will run out.")
        finally:
            leaving.cancel()
            await asyncio.wait([leaving])

    async def stop(self) -> None:
        """End the stream and ask the app no more."""
        if self.health is not None:
            await self.health.stop()
        if self._quotas is not None:
            self._quotas.stop()
        if self.source is not None:
            await self.source.stop()

    def _app_health(self, upstream: Address) -> AppHealth:
        from remora.sidecar.source.app_health import AppHealth

        return AppHealth(self._options.health, upstream.host, upstream.port, self._on_app_health)

    def _on_app_health(self, healthy: bool) -> None:
        if self.registrar is not None:
            self.registrar.set_health(healthy)

    def _endpoint(self, node_id: str, inbound_port: int) -> Endpoint:
        options = self._options
        return Endpoint(
            node_id,
            options.advertise.host,
            options.advertise.port or inbound_port,
            options.upstream_protocol,
            version=options.version,
            zone=options.zone,
            weight=options.weight,
        )
