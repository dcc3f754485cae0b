"""A reverse proxy of aiohttp's server and client on uvloop: `python -m bench.aiohttp_proxy PORT UPSTREAM`.

Routes by prefix, retries what is idempotent, times out, counts, streams both ways. One of the bench's contestants.
"""

from __future__ import annotations

import asyncio
import collections
import sys

import aiohttp
import uvloop
from aiohttp import web

from bench.backends import ROUTES, route_prefix
from bench.contestants import base
from bench.processes import HOST

_HOP_BY_HOP = frozenset(("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host"))
_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))


class Proxy:
    """Forwards each request to `upstream` (HOST:PORT)."""

    def __init__(self, upstream: str) -> None:
        self._upstream = f"http://{upstream}"
        self._routes = frozenset(route_prefix("http1", index) for index in range(ROUTES))
        self._counts: collections.Counter[tuple[str, int]] = collections.Counter()
        timeout = aiohttp.ClientTimeout(total=base.REQUEST_TIMEOUT_S, connect=base.CONNECT_TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=base.UPSTREAM_CONNECTIONS, force_close=False)
        self._client = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        route = "/" + request.path.split("/", 2)[1]
        if route not in self._routes:
            return web.Response(status=404)
        tries = base.RETRIES + 1 if request.method in _IDEMPOTENT and not request.can_read_body else 1
        for left in reversed(range(tries)):
            try:
                response = await self._forward(request)
            except aiohttp.ClientConnectionError:
                if not left:
                    return web.Response(status=502)
                continue
            self._counts[route, response.status] += 1
            return response
        raise AssertionError("the last try returns")

    async def _forward(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        body = request.content if request.can_read_body else None
        async with self._client.request(
            request.method, self._upstream + request.raw_path, headers=headers, data=body, allow_redirects=False
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    response.headers.add(name, value)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response


async def _serve(port: int, upstream: str) -> None:
    runner = web.ServerRunner(web.Server(Proxy(upstream).handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, HOST, port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
