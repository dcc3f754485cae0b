"""All clients at once, each in a loop of its own with random numbers of its own, until they are told to end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random

from soak import http1, tcp, websocket
from soak.calls import Calls
from soak.http2 import Http2
from soak.ledger import GRPC, HTTP, TCP, ClientFailure, Ledger, WrongByteError

PAUSE_S = (0.0, 0.03)
"""Between a client's conversations, at random."""
CONVERSATION_S = 70.0
"""Longest that any takes, its own limits included."""
COUNTS = {
    "keep-alive": 4,
    "close": 1,
    "pipelined": 1,
    "half-closed": 1,
    "slow": 2,
    "aborting": 2,
    "HTTP/2": 2,
    "gRPC": 1,
    "TCP": 1,
}
"""Clients of each kind."""
WEBSOCKETS = 2

Once = Callable[[], Awaitable[int]]


class Load:
    """`ports`: the caller's, of each service. `proxy`: the one for all. `name` and `seed` choose the random numbers."""

    def __init__(self, ledger: Ledger, ports: Mapping[str, int], proxy: int, name: str, seed: int) -> None:
        self._ledger = ledger
        self._web, self._calls, self._bytes = (ports[service] for service in (HTTP, GRPC, TCP))
        self._proxy = proxy
        self._name, self._seed = name, seed
        self._ending = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        web, proxy, count = self._web, self._proxy, COUNTS
        self._many("HTTP/1 keep-alive", count["keep-alive"], self._keep_alive)
        self._many("HTTP/1 close", count["close"], self._closing)
        self._simple("HTTP/1 pipelined", count["pipelined"], lambda rnd: http1.pipelined(rnd, web))
        self._simple("HTTP/1 half-closed", count["half-closed"], lambda rnd: http1.half_closed(rnd, web))
        self._simple("HTTP/1 slow writer", count["slow"], lambda rnd: http1.slow_writer(rnd, web))
        self._simple("HTTP/1 slow reader", count["slow"], lambda rnd: http1.slow_reader(rnd, web))
        self._simple("HTTP/1 aborted", count["aborting"], lambda rnd: http1.aborting(rnd, web))
        self._many("HTTP/2", count["HTTP/2"], self._http2)
        for method in ("unary", "client_stream", "server_stream", "bidirectional"):
            self._many(f"gRPC {method.replace('_', ' ')}", count["gRPC"], self._grpc(method))
        self._simple("WebSocket", WEBSOCKETS, lambda rnd: websocket.converse(rnd, web))
        self._simple("TCP", count["TCP"], lambda rnd: tcp.opaque(rnd, self._bytes))
        self._simple("TCP by CONNECT", count["TCP"], lambda rnd: tcp.by_connect(rnd, proxy))
        self._simple("TCP by server name", count["TCP"], lambda rnd: tcp.by_server_name(rnd, proxy))

    async def stop(self) -> None:
        """Let every conversation come to its end. Raises TimeoutError when one does not."""
        self._ending.set()
        try:
            async with asyncio.timeout(CONVERSATION_S):
                await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _many(self, kind: str, count: int, client: Callable[[str, Random], Awaitable[None]]) -> None:
        for number in range(count):
            rnd = Random(f"{self._seed} {self._name} {kind} {number}")
            self._tasks.append(asyncio.create_task(self._guarded(kind, client(kind, rnd)), name=f"{kind} {number}"))

    async def _guarded(self, kind: str, client: Awaitable[None]) -> None:
        try:
            await client
        except Exception as error:
            # A client that cannot go on is a finding as well, not an end of the soak.
            self._ledger.broken(kind, error)

    def _simple(self, kind: str, count: int, once: Callable[[Random], Awaitable[int]]) -> None:
        """A client that keeps nothing from one conversation to the next."""

        async def client(kind: str, rnd: Random) -> None:
            async for _ in self._turns(rnd):
                await self._note(kind, once(rnd))

        self._many(kind, count, client)

    async def _turns(self, rnd: Random) -> AsyncIterator[None]:
        while not self._ending.is_set():
            yield
            await asyncio.sleep(rnd.uniform(*PAUSE_S))

    async def _note(self, kind: str, conversation: Awaitable[int]) -> None:
        began = time.monotonic()
        try:
            self._ledger.succeeded(kind, await conversation)
        except ClientFailure as failure:
            self._ledger.failed(kind, failure, began)
        except (WrongByteError, OSError) as error:
            # OSError: no connection to the caller's sidecar, which nobody ends.
            self._ledger.broken(kind, error)

    async def _keep_alive(self, kind: str, rnd: Random) -> None:
        await self._http(kind, rnd, close=False)

    async def _closing(self, kind: str, rnd: Random) -> None:
        await self._http(kind, rnd, close=True)

    async def _http(self, kind: str, rnd: Random, *, close: bool) -> None:
        client = http1.KeepAlive(rnd, self._web, close=close)
        async with _stopping(client.stop):
            async for _ in self._turns(rnd):
                await self._note(kind, client.once())

    async def _http2(self, kind: str, rnd: Random) -> None:
        """Some rounds on a connection, then another one."""
        async for _ in self._turns(rnd):
            client = await Http2.open(rnd, self._web)
            async with _stopping(client.close):
                for _ in range(rnd.randint(1, 20)):
                    await client.round(lambda work: self._note(kind, work))
                    if client.lost or self._ending.is_set():
                        break
                    await asyncio.sleep(rnd.uniform(*PAUSE_S))

    def _grpc(self, method: str) -> Callable[[str, Random], Awaitable[None]]:
        async def client(kind: str, rnd: Random) -> None:
            calls = Calls(rnd, self._calls)
            once: Once = getattr(calls, method)
            async with _stopping(calls.stop):
                async for _ in self._turns(rnd):
                    await self._note(kind, once())

        return client


@asynccontextmanager
async def _stopping(stop: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await stop()
