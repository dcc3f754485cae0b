"""Any pairing: clients and apps of other makes, HTTP/1.0, 1.1 and 2, through two sidecars in a row that speak either.

Each cell of the table makes every kind of exchange, and says what came out otherwise than it should.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from pathlib import Path

import pytest

from tests.support import pairing
from tests.support.mesh import metric, running_row
from tests.support.pairing import Ask, Exchange

LARGE = 300_000
"""More than any window or buffer on the way."""

EXCHANGES = [
    Exchange(),
    Exchange(size=0),
    Exchange(size=LARGE),
    Exchange(size=LARGE, framing="pieces"),
    Exchange("HEAD"),
    Exchange("HEAD", framing="pieces"),
    Exchange(status=204),
    Exchange(status=304),
    Exchange(status=404),
    Exchange("DELETE", status=204),
    Exchange("POST", sent=1),
    Exchange("POST", sent=LARGE, size=LARGE),
    Exchange("POST", sent=LARGE, size=LARGE, framing="pieces"),
    Exchange("PUT", sent=LARGE, chunked=True, status=201),
    Exchange("PATCH", sent=5, chunked=True, size=LARGE, framing="pieces"),
]

APPS = {
    "aiohttp": (pairing.aiohttp_app, "http1"),
    "h11": (pairing.h11_app, "http1"),
    "h2": (pairing.h2_app, "h2"),
}

LIBRARIES = {"aiohttp": pairing.by_aiohttp, "h11": pairing.by_h11, "h2": pairing.by_h2}
CURL = {
    "curl 1.0": pairing.curl("--http1.0"),
    "curl 1.1": pairing.curl("--http1.1"),
    "curl 2": pairing.curl("--http2-prior-knowledge"),
}


def is_possible(client: str, exchange: Exchange) -> bool:
    """curl sends no chunks of unknown number over HTTP/2 by that flag, and HTTP/1.0 has none."""
    return not exchange.chunked or client not in ("curl 1.0", "curl 2")


@pytest.mark.parametrize("between", ["http1", "h2"])
@pytest.mark.parametrize("app", APPS)
async def test_libraries_make_every_exchange(tmp_path: Path, app: str, between: str) -> None:
    await every_exchange(LIBRARIES, tmp_path, app, between)


@pytest.mark.skipif(not pairing.has("curl"), reason="curl is not installed")
@pytest.mark.parametrize("between", ["http1", "h2"])
@pytest.mark.parametrize("app", APPS)
async def test_curl_makes_every_exchange(tmp_path: Path, app: str, between: str) -> None:
    await every_exchange(CURL, tmp_path, app, between)


async def every_exchange(clients: dict[str, Ask], tmp_path: Path, app: str, between: str) -> None:
    start, protocol = APPS[app]
    wrong: list[str] = []
    asked = 0
    async with start() as address, running_row(address, tmp_path, protocol, between=between) as row:
        for client, exchange in itertools.product(clients, EXCHANGES):
            if not is_possible(client, exchange):
                continue
            asked += 1
            try:
                async with asyncio.timeout(pairing.DEADLINE_S):
                    answer = await clients[client](row.port, exchange, tmp_path)
            except Exception as error:
                wrong.append(f"{client}, {exchange}: {error!r}")
                continue
            if answer != exchange.expected:
                wrong.append(f"{client}, {exchange}: {answer.status}, {answer.asked}, {len(answer.body)} bytes")
        assert wrong == []
        for sidecar, direction in ((row.caller, "outbound"), (row.callee, "inbound")):
            assert await metric(sidecar, "mesh_requests_total", direction=direction, flag="") == asked


@pytest.mark.skipif(not pairing.has("h2load"), reason="h2load (nghttp2-client) is not installed")
@pytest.mark.parametrize("between", ["http1", "h2"])
@pytest.mark.parametrize("version", ["--h1", "--no-tls-proto=h2c"])
async def test_h2load_loads_without_a_failure(tmp_path: Path, version: str, between: str) -> None:
    """HTTP/1.1 pipelined eight deep, and HTTP/2 with as many streams."""
    count = 2000
    body = tmp_path / "body"
    body.write_bytes(pairing.content(2000))
    async with pairing.aiohttp_app() as app, running_row(app, tmp_path, "http1", between=between) as row:
        for more in ([], [f"--data={body}"]):
            process = await asyncio.create_subprocess_exec(
                "h2load",
                version,
                f"--requests={count}",
                "--clients=8",
                "--max-concurrent-streams=8",
                *more,
                f"http://127.0.0.1:{row.port}/200/2000/pieces",
                stdout=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(pairing.DEADLINE_S):
                output = (await process.communicate())[0].decode()
            assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in output
            assert f"status codes: {count} 2xx" in output
            data = re.search(r"\((\d+)\) data", output)
            assert data is not None
            assert int(data[1]) >= count * 2000
