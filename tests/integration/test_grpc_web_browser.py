"""gRPC-Web and JSON from a page of another origin, in a real browser: preflights, fetch, what it sees of headers."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support import library
from tests.support.grpc_app import running_grpc
from tests.support.library import Library
from tests.support.process import running_sidecar

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PAGE = """<!doctype html><script type="module">
const KIND = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"};
const frame = (bytes) => new Uint8Array([0, 0, 0, 0, bytes.length, ...bytes]);
const call = (base, path, bytes) => fetch(base + path, {method: "POST", headers: KIND, body: frame(bytes)});

function read(buffer) {  // [[flag, text], …]
  const view = new DataView(buffer), found = [];
  for (let at = 0; at < view.byteLength;) {
    const length = view.getUint32(at + 1);
    found.push([view.getUint8(at), new TextDecoder().decode(buffer.slice(at + 5, at + 5 + length))]);
    at += 5 + length;
  }
  return found;
}

async function told() {
  const base = "SIDECAR", found = {};
  let answer = await call(base, "/library.v1.Messaging/GetMessage", [10, 2, 109, 49]);
  found.unary = [answer.status, answer.headers.get("x-library"), read(await answer.arrayBuffer())];
  answer = await call(base, "/library.v1.Library/ListBooks", [10, 1, 115, 16, 3]);
  let pieces = 0;
  for (const reader = answer.body.getReader(); !(await reader.read()).done;) pieces++;
  found.stream = pieces > 0;
  answer = await call(base, "/library.v1.Library/Fail", [8, 7, 18, 2, 110, 111]);
  found.failed = [answer.status, answer.headers.get("grpc-status"), answer.headers.get("grpc-message")];
  answer = await fetch(base + "/v1/messages/m2", {
    method: "PATCH", headers: {"content-type": "application/json"}, body: JSON.stringify({text: "Hi!"})});
  found.json = [answer.status, (await answer.json()).text];
  try { await call("OTHER", "/library.v1.Messaging/GetMessage", []); found.other = "answered"; }
  catch (error) { found.other = error.name; }
  return found;
}

const result = await told().catch((error) => ({error: String(error)}));
await fetch("/result", {method: "POST", body: JSON.stringify(result)});
</script>
"""


@asynccontextmanager
async def serving_page(result: asyncio.Future[dict[str, Any]]) -> AsyncIterator[tuple[str, list[str]]]:
    """(origin, what to replace in the page by what); `result` is what the page posts."""
    pages: list[str] = []

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=pages[0], content_type="text/html")

    async def take(request: web.Request) -> web.Response:
        result.set_result(json.loads(await request.text()))
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/", page), web.post("/result", take)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}", pages
    finally:
        await runner.cleanup()


@asynccontextmanager
async def browsing(url: str, folder: Path) -> AsyncIterator[None]:
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-proxy-server",
        f"--user-data-dir={folder}",
        "--remote-debugging-port=0",  # else it would end once the page is there
        url,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.skipif(CHROMIUM is None or sys.platform != "linux", reason="no Chromium on PATH")
async def test_a_page_calls_by_grpc_web_and_json(tmp_path: Path) -> None:
    result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    async with running_grpc(Library()) as app, serving_page(result) as (origin, pages):
        own = ("--protocol", "grpc", "--grpc-json", str(library.descriptor_set()))
        async with running_sidecar(app, *own, "--cors-origin", origin) as sidecar, running_sidecar(app, *own) as other:
            pages.append(PAGE.replace("SIDECAR", sidecar.url("inbound")).replace("OTHER", other.url("inbound")))
            async with browsing(origin, tmp_path), asyncio.timeout(60):
                found = await result
    assert "error" not in found, found
    status, shown, frames = found["unary"]
    assert (status, shown, frames[0]) == (200, "open", [0, "\x12\x02m1"])
    assert frames[1][0] == 0x80
    assert "grpc-status: 0\r\n" in frames[1][1]
    assert found["stream"] is True
    assert found["failed"] == [200, "7", "no"]
    assert found["json"] == [200, "Hi!"]
    assert found["other"] == "TypeError"
