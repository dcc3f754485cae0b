"""Serves gRPC handlers, with the standard health and reflection services, until the process is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from typing import TYPE_CHECKING

from grpclib.health.service import Health
from grpclib.reflection.service import ServerReflection
from grpclib.server import Server

from examples.common.process import listen, until_stopped
from examples.common.settings import Settings

if TYPE_CHECKING:
    from grpclib._typing import IServable

STOP_S = 5.0
"""Longest wait for connections to close after SIGTERM."""


async def serve_grpc(handlers: Collection[IServable], settings: Settings) -> None:
    """Listens as `settings` say and returns after a clean stop."""
    services = ServerReflection.extend([*handlers, Health()])
    server = Server(services)
    await server.start(sock=listen(settings.host, settings.port))
    await until_stopped()
    server.close()
    # From Python 3.12 on this also waits for idle connections, which only their clients close.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.wait_closed(), STOP_S)
