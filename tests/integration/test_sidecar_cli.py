"""Bad input to `sidecar run`: one sentence on what and where, status 2, never a traceback."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

from remora.sidecar.build import version
from tests.support.backend import running_raw_server
from tests.support.process import Command, refused, running_sidecar


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "COMMAND"),
        (("run",), "--upstream"),
        (("run", "--service", "orders", "--control", "127.0.0.1:1"), "--upstream"),
        (("run", "--upstream", "app"), "--upstream: 'app' has no port"),
        (("run", "--upstream", ":0"), "--upstream: port 0"),
        (("run", "--upstream", ":99999"), "--upstream: '99999' is not a port"),
        (("run", "--upstream", ":8080", "--service", "My Service"), "--service: 'My Service' is not a name"),
        (("run", "--upstream", ":8080", "--protocol", "smtp"), "--protocol: 'smtp' is not one of"),
        (("run", "--upstream", ":8080", "--health", "ping"), "--health: 'ping' is not a health check"),
        (("run", "--upstream", ":8080", "--outbound", "orders"), "--outbound: 'orders' is not NAME=ADDR:PORT"),
        (("run", "--upstream", ":8080", "--outbound", "10.0.0.1=:1"), "--outbound: '10.0.0.1' names no service"),
        (("run", "--upstream", ":8080", "--control", "http://x"), "--control: "),
        (("run", "--upstream", ":8080", "--config", "/no/such.yaml"), "--config: there is no file '/no/such.yaml'"),
        (("run", "--upstream", ":8080", "--drain-timeout", "5"), "--drain-timeout: '5' is not a duration"),
        (("run", "--upstream", ":8080", "--frobnicate"), "--frobnicate"),
    ],
)
async def test_a_malformed_flag(arguments: tuple[str, ...], expected: str) -> None:
    assert expected in await refused(*arguments)


async def test_a_malformed_variable_is_named() -> None:
    said = await refused("run", "--upstream", ":8080", environ={"SIDECAR_INBOUND": "fifteen"})
    assert "SIDECAR_INBOUND" in said
    assert "'fifteen'" in said


async def test_a_malformed_file_names_document_and_path(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(
        "apiVersion: mesh.remora.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: orders}\n"
        "spec:\n  targetRefs: [{group: '', kind: Service, name: orders}]\n  balancer: {type: Rownd}\n"
    )
    said = await refused("run", "--upstream", ":8080", "--config", str(file))
    for part in ("TrafficPolicy", "orders", "spec.balancer.type", "Rownd", "RoundRobin"):
        assert part in said
    file.write_text("a: [1\n")
    assert "line" in await refused("run", "--upstream", ":8080", "--config", str(file))


async def test_a_port_in_use_is_named_with_the_flag_that_changes_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        free = ("--inbound", ":0", "--outbound-listen", ":0", "--admin", ":0", "--metrics", ":0")
        for flag in ("--inbound", "--outbound-listen", "--admin", "--metrics"):
            said = await refused("run", "--upstream", ":8080", *free, flag, f"127.0.0.1:{port}")
            assert f"127.0.0.1:{port}" in said
            assert flag in said
        said = await refused("run", "--upstream", ":8080", *free, "--outbound", f"orders=127.0.0.1:{port}")
        assert "--outbound" in said


async def test_without_control_the_app_is_served_and_readiness_says_what_is_missing(tmp_path: Path) -> None:
    async def answer(reader, writer) -> None:  # type: ignore[no-untyped-def]
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        control = f"127.0.0.1:{nobody.getsockname()[1]}"
        flags = ("--service", "orders", "--control", control, "--state-dir", str(tmp_path))
        async with running_raw_server(answer) as port, running_sidecar(f"127.0.0.1:{port}", *flags) as sidecar:
            async with aiohttp.ClientSession() as client:
                async with client.get(sidecar.url("inbound")) as response:
                    assert (response.status, await response.text()) == (200, "ok")
                async with client.get(sidecar.url("metrics") + "/healthz/ready") as response:
                    said = await response.json()
                    assert (response.status, said["ready"]) == (503, False)
                assert any(control in reason for reason in said["missing"])
                async with client.get(sidecar.url("metrics") + "/healthz/live") as response:
                    assert response.status == 200
            assert await sidecar.stop() == 0
            assert b"Traceback" not in sidecar.errors


async def test_status_shows_a_running_sidecar_and_its_exit_status_whether_it_is_ready() -> None:
    async def hang(reader, writer) -> None:  # type: ignore[no-untyped-def]
        await reader.read()

    async with running_raw_server(hang) as port, running_sidecar(f"127.0.0.1:{port}") as sidecar:
        async with aiohttp.ClientSession() as client, asyncio.timeout(20):
            while True:
                async with client.get(sidecar.url("metrics") + "/healthz/ready") as response:
                    if response.status == 200:
                        break
        shown = await Command.start("sidecar", "status", "--admin", sidecar.address("admin"))
        assert await shown.finish() == 0
        text = "\n".join(shown.lines)
        assert "ready" in text
        assert version() in text
        assert sidecar.address("inbound") in text
    assert "no sidecar's admin port at" in await refused("status", "--admin", sidecar.address("admin"))


async def test_what_runs_has_loaded_nothing_that_weighs_and_is_not_used() -> None:
    """Idle memory: http.client and email, shutil and its compressions, aiohttp and grpc."""
    code = """
import os, sys
from remora.cli.flags import Flags
from remora.sidecar.cli import make_parser, options
options(make_parser(Flags("SIDECAR", {})).parse_args(["run", "--upstream", ":8080"]))
import remora.sidecar.app.sidecar
print(*sys.modules)
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    loaded = (await process.communicate())[0].decode().split()
    assert "remora.sidecar.wire.http1.server" in loaded
    assert not {"http.client", "email", "shutil", "aiohttp", "grpclib", "grpc", "yaml"} & set(loaded)
