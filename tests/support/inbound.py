"""The inbound half of a sidecar in this process: quick to start, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from remora.model.snapshot import Endpoint, Protocol
from remora.sidecar.exchange.proxy import Proxy
from remora.sidecar.exchange.timers import TimerWheel
from remora.sidecar.listener.forwarding import Forwarding
from remora.sidecar.listener.inbound import InboundRouter
from remora.sidecar.listener.listener import Listener
from remora.sidecar.listener.opaque import Opaque
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.wire.limits import RequestLimits

DEADLINE_S = 20


@dataclasses.dataclass
class Inbound:
    """A listener before an app, and what it has counted."""

    port: int
    listener: Listener
    metrics: Metrics

    def counted(self, flag: str) -> int:
        """Requests of that flag."""
        return sum(series.count for labels, series in self.metrics.requests.items() if labels[6] == flag)

    async def ask(self, data: bytes, *, eof: bool = False, until: bytes | None = None) -> bytes:
        """What comes back for `data`, to the end of the connection or of the first answer that holds `until`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = b""
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            if eof:
                writer.write_eof()
            async with asyncio.timeout(DEADLINE_S):
                while (until is None or until not in answer) and (piece := await reader.read(65536)):
                    answer += piece
        writer.transport.abort()
        return answer


@asynccontextmanager
async def running_inbound(
    app_port: int,
    protocol: Protocol = "http1",
    limits: RequestLimits | None = None,
    forwarding: Forwarding | None = None,
    *,
    is_opaque: bool = False,
) -> AsyncIterator[Inbound]:
    """An inbound listener before the app on `app_port`; `is_opaque`: all that comes is TCP."""
    metrics, timers = Metrics(), TimerWheel()
    router = InboundRouter("app", Endpoint("app", "127.0.0.1", app_port, protocol), 60.0, Metrics())
    http1, http2 = Proxy(router, "http1", timers, metrics), Proxy(router, "h2", timers, metrics)
    opaque = Opaque(Proxy(router, "tcp", timers, metrics), lambda: "tcp") if is_opaque else None
    listener = Listener("inbound", http1, http2, metrics, limits, opaque, forwarding)
    try:
        yield Inbound(await listener.start("127.0.0.1", 0, ""), listener, metrics)
    finally:
        listener.abort()
        await listener.close(1)
        router.cluster.abort()
        await asyncio.sleep(0)


Converse = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawApp:
    """An app of which each test says every byte; keeps the heads that it got."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[bytes] = []


@asynccontextmanager
async def raw_app(answer: bytes | Converse) -> AsyncIterator[RawApp]:
    """Answers each head with `answer`, or lets it talk. Requests with a body need the latter."""
    app = RawApp()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                app.heads.append(head)
                if isinstance(answer, bytes):
                    writer.write(answer)
                else:
                    await answer(head, reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    app.port = server.sockets[0].getsockname()[1]
    try:
        yield app
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
