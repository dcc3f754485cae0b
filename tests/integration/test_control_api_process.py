"""`control` as people run it: processes, a real etcd, files."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from tests.support import waiting
from tests.support.etcd import EtcdServer
from tests.support.process import Command

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{kind: Service, group: "", name: reviews}]
  rules: [{backendRefs: [{name: reviews-v1, weight: 1}]}]
"""
FREE = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")


@asynccontextmanager
async def running_control(*arguments: str, wait: bool = True) -> AsyncIterator[Command]:
    command = await Command.start("control", "run", *FREE, *arguments)
    try:
        if wait:
            await command.wait_listening("grpc", "http")
        yield command
    finally:
        await command.stop(signal.SIGKILL)


async def control(command: Command | None, *arguments: str) -> tuple[int, str, str]:
    """Run a client command: (exit status, stdout, stderr)."""
    where = ("--control", command.url("http")) if command else ()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "remora.control.cli", *arguments, *where,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert "Traceback" not in err.decode()
    return process.returncode or 0, out.decode(), err.decode()


async def until(url: str, holds: Callable[[int, str], bool]) -> str:
    """The text of a GET once it is as wanted."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(20):
        while True:
            async with session.get(url) as response:
                text = await response.text()
                if holds(response.status, text):
                    return text
            await asyncio.sleep(0.02)


def write(path: Path, text: str) -> None:
    path.write_text(text)


def is_empty(folder: Path) -> bool:
    return not list(folder.iterdir())


@pytest.fixture
def route(tmp_path: Path) -> Path:
    path = tmp_path / "route.yaml"
    path.write_text(ROUTE)
    return path


async def test_a_laptop_needs_no_server(tmp_path: Path, route: Path) -> None:
    data = ("--data-dir", str(tmp_path / "data"))
    async with running_control(*data) as running:
        etcd = running.lines[0].split()
        assert etcd[:2] == ["etcd", "embedded"]
        children = psutil.Process(running.process.pid).children(recursive=True)
        assert children
        assert await control(running, "apply", "-f", str(route)) == (
            0,
            "HTTPRoute default/reviews created\n"
            "  note: spec.parentRefs[0]: no instance of reviews.default is known yet\n"
            "  note: spec.rules[0].backendRefs[0]: no instance of reviews-v1.default is known yet\n",
            "",
        )
        assert await running.stop() == 0
        assert not [child for child in children if child.is_running()]
    async with running_control(*data) as running:
        await until(f"{running.url('http')}/healthz/ready", lambda status, _: status == 200)
        status, out, _ = await control(running, "get", "httproutes", "-o", "json")
        assert (status, json.loads(out)["items"][0]["metadata"]["name"]) == (0, "reviews")
        status, out, _ = await control(running, "get", "httproute", "reviews")
        assert (status, "weight: 1" in out) == (0, True)
        write(route, ROUTE.replace("weight: 1", "weight: 2"))
        status, out, _ = await control(running, "diff", "-f", str(route))
        assert status == 1
        assert "-      weight: 1\n+      weight: 2\n" in out
        status, out, _ = await control(running, "check", "-f", str(route))
        assert (status, out.splitlines()[0]) == (0, "HTTPRoute default/reviews would be configured")
        assert (await control(running, "apply", "-f", str(route)))[0] == 0
        assert (await control(running, "diff", "-f", str(route)))[:2] == (0, "")
        assert (await control(running, "delete", "-f", str(route)))[1] == "HTTPRoute default/reviews deleted\n"
        status, _, err = await control(running, "delete", "httproute", "reviews")
        assert (status, err) == (1, "control: there is no HTTPRoute default/reviews\n")


async def test_a_bad_document_put_by_hand_is_refused_where_people_look(route: Path) -> None:
    async with EtcdServer.running() as etcd, running_control("--etcd", etcd.url) as running:
        assert (await control(running, "apply", "-f", str(route)))[0] == 0
        key = "default/reviews"
        await etcd.ctl("put", f"/mesh/dev/config/HTTPRoute/{key}", ROUTE.replace("weight", "weigth"))
        await until(f"{running.url('http')}/api/v1/status", lambda _, text: '"accepted":false' in text)
        status, out, _ = await control(running, "status")
        assert status == 0
        assert "REFUSED" in out
        assert "HTTPRoute default/reviews: spec.rules[0].backendRefs[0].weigth: unknown field 'weigth'" in out
        metrics = await until(f"{running.url('http')}/metrics", lambda status, _: status == 200)
        assert 'mesh_config_rejected_total{kind="HTTPRoute"} 1.0' in metrics
        async with asyncio.timeout(10):
            while '"accepted":false' not in (text := await etcd.ctl("get", f"/mesh/dev/status/HTTPRoute/{key}")):
                await asyncio.sleep(0.02)
        record: dict[str, Any] = json.loads(text[text.index("{") :])
        assert record["errors"][0]["path"] == "spec.rules[0].backendRefs[0].weigth"
        bad = route.with_name("bad.yaml")
        bad.write_text(ROUTE.replace("reviews-v1", "Reviews"))
        status, out, err = await control(running, "apply", "-f", str(bad))
        assert (status, out) == (2, "")
        assert f"{bad}: HTTPRoute default/reviews: spec.rules[0].backendRefs[0].name: 'Reviews' is not a name" in err


async def test_etcd_absent_at_start(tmp_path: Path) -> None:
    async with EtcdServer.running() as etcd:
        await etcd.stop()
        async with running_control("--etcd", etcd.url, "--data-dir", str(tmp_path)) as running:
            ready = f"{running.url('http')}/healthz/ready"
            text = await until(ready, lambda status, text: status == 503 and etcd.url in text)
            assert "the configuration has not been read yet" in text
            await etcd.start()
            await until(ready, lambda status, _: status == 200)
            await etcd.kill()
            assert (await control(running, "status"))[0] == 0
            assert await running.stop() == 0
        assert b"Traceback" not in running.errors
        assert is_empty(tmp_path)


async def test_two_replicas_serve_one_etcd(route: Path) -> None:
    async with (
        EtcdServer.running() as etcd,
        running_control("--etcd", etcd.url) as one,
        running_control("--etcd", etcd.url) as two,
    ):
        assert (await control(one, "apply", "-f", str(route)))[0] == 0
        text = await until(f"{two.url('http')}/api/v1/status", lambda _, text: '"accepted":true' in text)
        assert json.loads(text)["services"][0]["name"] == "reviews.default"


async def test_a_port_in_use_is_told_with_the_flag() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for flag in ("--grpc", "--http"):
            async with running_control("--etcd", "http://127.0.0.1:1", flag, address, wait=False) as running:
                assert await running.finish() == 2
                message = running.errors.decode().splitlines()[-1]
                assert message.startswith(f"control: cannot listen on {address}: address already in use; ")
                assert flag in message
                assert b"Traceback" not in running.errors


async def test_the_end_of_the_embedded_etcd_is_the_end(tmp_path: Path) -> None:
    async with running_control("--data-dir", str(tmp_path)) as running:
        for child in psutil.Process(running.process.pid).children(recursive=True):
            child.kill()
        assert await running.finish() == 1
        assert b"the embedded etcd ended" in running.errors
        assert b"Traceback" not in running.errors


async def test_sigint_while_etcd_is_starting_is_no_traceback(tmp_path: Path) -> None:
    async with running_control("--data-dir", str(tmp_path), wait=False) as running:
        await waiting.until((tmp_path / "etcd.log").exists)
        assert await running.stop(signal.SIGINT) == 0
        assert b"Traceback" not in running.errors
