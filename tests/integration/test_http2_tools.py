"""Other people's clients of HTTP/2 before a sidecar: curl, nghttp, h2load."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.support.h2_sidecar import between, echo, greet
from tests.support.process import Command, running_sidecar

MEBIBYTE = bytes(range(256)) * 4096


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode(errors="replace")
    return out.decode(errors="replace")


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


@needs("curl")
async def test_curl_uploads_and_downloads(tmp_path: Path) -> None:
    body, answer = tmp_path / "body", tmp_path / "answer"
    body.write_bytes(MEBIBYTE * 5)
    async with between(echo) as (_, _, sidecar):
        for args in (["--data-binary", f"@{body}"], ["-T", str(body)]):
            url = sidecar.url("inbound") + "/a?b"
            out = await run(
                "curl",
                "-sS",
                "--http2-prior-knowledge",
                *args,
                "-o",
                str(answer),
                "-w",
                "%{http_version} %{http_code}",
                url,
            )
            assert out == "2 200"
            assert answer.read_bytes() == MEBIBYTE * 5


@needs("nghttp")
async def test_nghttp_pads_and_continues(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(MEBIBYTE)
    async with between(echo) as (_, _, sidecar):
        url = sidecar.url("inbound") + "/"
        padded = await run("nghttp", "-nv", "--padding=200", "--continuation", f"--data={body}", url)
        assert ":status: 200" in padded
        assert "END_STREAM" in padded
        small = await run("nghttp", "-nv", "--window-bits=8", "--connection-window-bits=8", "-m", "20", url)
        assert small.count(":status: 200") == 20


@needs("h2load")
@pytest.mark.parametrize("protocol", ["h2", "http1"])
async def test_h2load_meets_no_failure(protocol: str) -> None:
    if protocol == "h2":
        async with between(greet) as (_, _, sidecar):
            await load(sidecar)
        return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with (
        server,
        running_sidecar(
            f"127.0.0.1:{server.sockets[0].getsockname()[1]}", "--protocol", "http1", "--health", "tcp"
        ) as sidecar,
    ):
        await load(sidecar)


async def load(sidecar: Command) -> None:
    out = await run("h2load", "-n2000", "-c4", "-m50", "-w10", "-W12", sidecar.url("inbound") + "/")
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in out
    assert "status codes: 2000 2xx" in out
