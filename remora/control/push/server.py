"""The push server: control's gRPC port, put together."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Collection, Iterable
from weakref import WeakSet

from grpclib.config import Configuration
from grpclib.protocol import H2Protocol
from grpclib.server import Server
from prometheus_client import CollectorRegistry

from remora.control.push.connection import SessionView
from remora.control.push.debounce import MAX_DELAY_S, QUIET_S, Debounce
from remora.control.push.hub import Hub
from remora.control.push.metrics import PushMetrics
from remora.control.push.quota import Quotas
from remora.control.push.registration import Registrations
from remora.control.push.resources import PushCatalog
from remora.control.push.service import DiscoveryService
from remora.control.store.interface import Event, Store
from remora.model.names import ServiceName

log = logging.getLogger(__name__)

TTL_S = 15
SETTLE_S = 6.0
"""When there was no control for longer than a TTL, all instances are gone from the store though most are well. So a
control that has just started first lets sidecars come back, which takes them 5 s at most, and register again. Those
that have a configuration go on with it; others get what there is."""
_BACKLOG = 1024
"""All sidecars of a replica that went away come at once."""
_UNACKED_TIMEOUT_MS = 20_000

# A frozen sidecar answers no ping: its session ends after at most 10 + 10 s. Private names of grpclib, which is pinned.
_CONFIGURATION = Configuration(
    _keepalive_time=10.0,
    _keepalive_timeout=10.0,
    _keepalive_permit_without_calls=True,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=5.0,
)


class PushServer:
    """Pushes the catalog to sidecars, and puts their registrations into the store. Lives on the event loop."""

    def __init__(
        self,
        catalog: PushCatalog,
        store: Store,
        registry: CollectorRegistry,
        *,
        control_id: str,
        env: str,
        ttl_s: int = TTL_S,
        quiet_s: float = QUIET_S,
        max_delay_s: float = MAX_DELAY_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        """`ttl_s` is that of the leases of instances; `quiet_s` and `max_delay_s` say how changes are gathered."""
        self._settle_s = settle_s
        metrics = PushMetrics(registry)
        self._hub = Hub(catalog, metrics, Debounce(quiet_s, max_delay_s))
        registrations = Registrations(store, env, ttl_s, metrics, self._hub.wait_unused)
        self._quotas = Quotas(store, env, control_id, catalog.service)
        self._sharing: asyncio.Task[None] | None = None
        self._service = DiscoveryService(self._hub, registrations, self._quotas, control_id)
        self._server: _Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, a free one for 0. Raises OSError. Streams are refused until `mark_ready`."""
        listening = await _listen(host, port)
        self._server = _Server([self._service], config=_CONFIGURATION)
        await self._server.start(sock=listening, backlog=_BACKLOG)
        self._sharing = asyncio.get_running_loop().create_task(self._quotas.run(), name="quotas")
        return int(listening.getsockname()[1])

    def mark_ready(self) -> None:
        """The catalog has been read. Before, every service would look unknown to sidecars that know better."""
        if self._service.refusal:
            self._service.refusal = ""
            self._hub.settle(self._settle_s)
            self._quotas.settle(self._settle_s)

    def changed(self, services: Iterable[ServiceName], endpoint_sets: Iterable[ServiceName]) -> None:
        """The catalog has new parts of these. Called on the loop after each change."""
        self._hub.changed((*services, *endpoint_sets))

    def stored(self, events: Iterable[Event]) -> None:
        """The store has changed so: what other controls have written for us is taken in."""
        self._quotas.take(events)

    def sessions(self) -> list[SessionView]:
        """The connected sidecars, by node."""
        views = [connection.view() for connection in self._hub.connections]
        return sorted(views, key=lambda view: (view.node, view.connected_since))

    async def stop(self, timeout_s: float = 5.0) -> None:
        """End all streams cleanly, so that the sidecars go to another replica, and close."""
        self._service.refusal = "this control is stopping"
        self._hub.close()
        self._quotas.close()
        await self._stop_sharing()
        deadline = time.monotonic() + timeout_s
        for connection in self._hub.connections:
            connection.end()
        while self._hub.connections and time.monotonic() < deadline:
            await self._hub.wait_moved(deadline - time.monotonic())
        if self._server is None:
            return
        self._server.close()
        self._server.close_connections()
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0.1)):
                await self._server.wait_closed()
        except TimeoutError:
            log.warning("Some sidecars did not close their streams within %g s.", timeout_s)

    async def _stop_sharing(self) -> None:
        if self._sharing is None:
            return
        self._sharing.cancel()
        await asyncio.wait([self._sharing])


class _Server(Server):
    """Knows its connections: grpclib's own leaves those without a stream open when it closes."""

    def __init__(self, handlers: Collection[DiscoveryService], *, config: Configuration) -> None:
        super().__init__(handlers, config=config)
        self._protocols: WeakSet[H2Protocol] = WeakSet()

    def _protocol_factory(self) -> H2Protocol:
        protocol = super()._protocol_factory()
        self._protocols.add(protocol)
        return protocol

    def close_connections(self) -> None:
        """Close what is open, after what is written has been sent."""
        for protocol in tuple(self._protocols):
            if hasattr(protocol, "connection"):  # it has, once it is connected
                protocol.connection.close()


async def _listen(host: str, port: int) -> socket.socket:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it: what a frozen sidecar does not read must not be kept for ever.
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKED_TIMEOUT_MS)
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening
