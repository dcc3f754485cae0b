"""One control process, put together: store → catalog → push, statuses, metrics; and REST beside it.

Control is stateless: several may run on one store. Each serves the sidecars that connect to it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry

from remora.control.api import Documents, build_app
from remora.control.api.view import StatusView, status_view
from remora.control.compile import Catalog
from remora.control.compile.metrics import CompileMetrics
from remora.control.compile.status_writer import StatusWriter
from remora.control.push import PushServer
from remora.control.store.follow import FollowState, follow
from remora.control.store.interface import Store
from remora.control.store.keys import env_prefix
from remora.model.address import Address

log = logging.getLogger(__name__)

_DRAIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Where to listen; port 0 takes a free one."""

    grpc: Address
    http: Address


class ListenError(Exception):
    """A port could not be taken."""

    def __init__(self, address: Address, what: str, reason: OSError) -> None:
        """`what`: "grpc" or "http"."""
        super().__init__(str(reason))
        self.address = address
        self.what = what
        self.reason = reason


class ControlServer:
    """Lives on the event loop: `start`, then `run` until cancelled, then `stop`."""

    def __init__(self, store: Store, env: str, control_id: str) -> None:
        """The store is the caller's to close."""
        self._store = store
        self._env = env
        self._catalog = Catalog(env)
        self._registry = CollectorRegistry()
        self._metrics = CompileMetrics(self._registry)
        self._push = PushServer(self._catalog, store, self._registry, control_id=control_id, env=env)
        self._statuses = StatusWriter(store, self._catalog, env)
        self._store_state = FollowState(False, "the store has not answered yet")
        self._is_loaded = False
        documents = Documents(store, self._catalog, env)
        app = build_app(documents, self, self._registry, self._view)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_DRAIN_S)

    async def start(self, ports: Ports) -> Ports:
        """Listen; the addresses with the ports taken. Raises ListenError."""
        grpc, http = ports.grpc, ports.http
        await self._runner.setup()
        try:
            grpc_port = await self._push.start(grpc.host, grpc.port)
        except OSError as error:
            raise ListenError(grpc, "grpc", error) from error
        try:
            site = web.TCPSite(self._runner, http.host, http.port)
            await site.start()
        except OSError as error:
            raise ListenError(http, "http", error) from error
        http_port = _bound_port(self._runner)
        return Ports(Address(grpc.host, grpc_port), Address(http.host, http_port))

    async def run(self) -> None:
        """Follow the store for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._statuses.run())

    async def stop(self) -> None:
        """End streams and requests; idempotent."""
        await self._push.stop()
        await self._runner.cleanup()

    def missing(self) -> tuple[str, ...]:
        """What keeps this control from serving sidecars (readiness).

        With the store away after that, it serves what it has read: better than nothing, and as good as any replica.
        """
        if self._is_loaded:
            return ()
        return (f"the configuration has not been read yet: {self._store_state.error or 'it is being read'}",)

    async def _follow(self) -> None:
        async with aclosing(follow(self._store, env_prefix(self._env), on_state=self._on_state)) as updates:
            async for update in updates:
                changes = self._catalog.apply(update.events, update.revision)
                self._metrics.take(self._catalog, changes)
                self._statuses.take(update.events, changes)
                self._push.stored(update.events)
                self._push.changed(changes.services, changes.endpoint_sets)
                if not self._is_loaded:
                    self._is_loaded = True
                    self._push.mark_ready()
                    log.info("configuration read at revision %d", update.revision)

    def _on_state(self, state: FollowState) -> None:
        if state.connected:
            log.info("following the store")
        else:
            log.warning("the store is away, trying on: %s", state.error)
        self._store_state = state

    def _view(self) -> StatusView:
        return status_view(self._env, self._catalog, self._push, self._store_state.error)


def _bound_port(runner: web.AppRunner) -> int:
    address = runner.addresses[0]
    assert isinstance(address, tuple)
    return int(address[1])
