"""`sidecar run --workers`: several processes on the same ports that are one sidecar to everybody else."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc.aio
import pytest
from aiohttp import web

from remora.control.store.memory import MemoryStore
from remora.model.snapshot import EndpointSet
from tests.support import documents
from tests.support.backend import Backend, running_backend
from tests.support.grpc_app import Echo, running_grpc
from tests.support.mesh import metric, samples
from tests.support.ports import free_port
from tests.support.process import Command, refused, running_sidecar
from tests.support.push import endpoint, endpoints_of, name, push_control
from tests.support.workers import gone, kill_and_wait, processes, status, workers, workers_when

CONNECTIONS = 32
"""That all of them come to one of two workers has a chance of 2 to the power of -31."""
TIMEOUT_S = 30


class Answers:
    """An app that says `text`, to /slow when it is let."""

    def __init__(self, text: str = "ok") -> None:
        self.text = text
        self.let = asyncio.Event()
        self.slow = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/slow":
            self.slow += 1
            await self.let.wait()
        return web.Response(text=self.text)


class Connection:
    """One kept connection to a port, one request after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def get(self, path: str = "/", host: str = "app") -> str:
        """The body of the answer, which has a length."""
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].split()[0])
        return (await self.reader.readexactly(length)).decode()


@asynccontextmanager
async def connections(port: int, count: int = CONNECTIONS) -> AsyncIterator[list[Connection]]:
    """`count` connections to `port`."""
    opened = [Connection(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(count)]
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield opened
    finally:
        for connection in opened:
            connection.writer.close()
        for connection in opened:
            with contextlib.suppress(ConnectionError):
                await connection.writer.wait_closed()


@asynccontextmanager
async def sidecar_before(app: Answers, *flags: str, count: int = 2) -> AsyncIterator[tuple[Backend, Command]]:
    async with running_backend(app) as backend, running_sidecar(backend.address, "--workers", f"{count}", *flags) as it:
        yield backend, it


async def test_connections_spread_and_are_counted_as_one_sidecars() -> None:
    async with sidecar_before(Answers()) as (_, sidecar):
        async with connections(sidecar.port("inbound")) as opened:
            for _ in range(5):
                assert await asyncio.gather(*(one.get() for one in opened)) == ["ok"] * CONNECTIONS
            shares = [worker["connections"]["inbound"] for worker in await workers(sidecar)]
            assert sum(shares) == CONNECTIONS
            assert all(shares)
            assert await metric(sidecar, "mesh_connections", listener="inbound") == CONNECTIONS
            assert await metric(sidecar, "mesh_requests_total") == 5 * CONNECTIONS
            assert await metric(sidecar, "mesh_request_duration_seconds_count") == 5 * CONNECTIONS
            assert await metric(sidecar, "mesh_response_bytes_total") == 2 * 5 * CONNECTIONS
        assert await metric(sidecar, "mesh_worker_up") == 2
        # What was handed over once is not counted again.
        assert await metric(sidecar, "mesh_requests_total") == 5 * CONNECTIONS
        async with aiohttp.ClientSession() as client, client.get(sidecar.url("admin") + "/clusters") as response:
            ((app,),) = [cluster["endpoints"] for cluster in await response.json()]
        assert [share["worker"] for share in app["workers"]] == [0, 1]
        assert app["connections"] == sum(share["connections"] for share in app["workers"])


async def test_one_process_is_one_process() -> None:
    async with running_backend(Answers()) as backend, running_sidecar(backend.address) as sidecar:
        assert processes(sidecar) == []
        assert "workers" not in await status(sidecar)
        assert await samples(sidecar, "mesh_worker_up") == []


async def test_grpc_goes_through_workers_and_is_counted() -> None:
    async with running_grpc(Echo()) as app, running_sidecar(app, "--protocol", "grpc", "--workers", "2") as sidecar:
        for _ in range(8):  # a connection each
            async with grpc.aio.insecure_channel(
                sidecar.address("inbound"), options=[("grpc.use_local_subchannel_pool", 1)]
            ) as channel:
                assert await channel.unary_unary("/echo.Echo/Unary")(b"hi") == b"hi"
        assert await metric(sidecar, "mesh_grpc_streams_total") == 8
        assert await metric(sidecar, "mesh_grpc_messages_total", way="response") == 8
        assert [worker["restarts"] for worker in await workers(sidecar)] == [0, 0]


async def test_a_change_of_the_file_reaches_all(tmp_path: Path) -> None:
    async with running_backend(Answers("old")) as old, running_backend(Answers("new")) as new:
        file = documents.write(tmp_path / "mesh.yaml", documents.endpoints("orders", old.address))
        flags = ("--config", str(file), "--outbound", "orders=127.0.0.1:0", "--workers", "2")
        async with running_sidecar(None, *flags) as sidecar, connections(sidecar.port("outbound:orders")) as opened:
            assert await asyncio.gather(*(one.get() for one in opened)) == ["old"] * CONNECTIONS
            documents.write(file, documents.endpoints("orders", new.address))
            sidecar.process.send_signal(signal.SIGHUP)
            for one in opened:
                while await one.get() != "new":
                    await asyncio.sleep(0.01)
            # And a worker that starts later has it too.
            first, second = await workers(sidecar)
            for worker in (first, second):
                await kill_and_wait(sidecar, worker["worker"])
            async with connections(sidecar.port("outbound:orders")) as later:
                assert await asyncio.gather(*(one.get() for one in later)) == ["new"] * CONNECTIONS


async def test_a_worker_that_is_killed_takes_only_its_connections_with_it() -> None:
    async with sidecar_before(Answers()) as (_, sidecar), connections(sidecar.port("inbound")) as opened:
        done = asyncio.Event()
        answered = [0] * CONNECTIONS

        async def load(number: int) -> bool:
            """Requests until the connection fails; whether it did."""
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while not done.is_set():
                    await opened[number].get()
                    answered[number] += 1
                return False
            return True

        loads = [asyncio.create_task(load(number)) for number in range(CONNECTIONS)]
        await workers_when(sidecar, lambda found: sum(w["connections"]["inbound"] for w in found) == CONNECTIONS)
        shares = [worker["connections"]["inbound"] for worker in await workers(sidecar)]
        counted = [await metric(sidecar, "mesh_requests_total")]
        await kill_and_wait(sidecar, 0)
        counted += [await metric(sidecar, "mesh_requests_total") for _ in range(5)]
        done.set()
        failed = await asyncio.gather(*loads)
        assert [failed.count(True), failed.count(False)] == shares
        counted.append(await metric(sidecar, "mesh_requests_total"))
        assert counted == sorted(counted)
        assert 0 < counted[0] < counted[-1] <= sum(answered)
        assert await metric(sidecar, "mesh_worker_restarts_total", worker="0") == 1
        assert await metric(sidecar, "mesh_worker_restarts_total", worker="1") == 0
        assert await metric(sidecar, "mesh_connections", listener="inbound") == shares[1]
        first, second = await workers(sidecar)
        assert "SIGKILL" in first["last_end"]
        assert second["last_end"] == ""
        shown = await Command.start("sidecar", "status", "--admin", sidecar.address("admin"))
        assert await shown.finish() == 0
        lines = [line.split(maxsplit=2)[2] for line in shown.lines if line.startswith("worker")]
        assert lines[0].endswith(", restarts: 1 (it was killed by SIGKILL)")
        assert lines[1].startswith(f"up, process {second['pid']}, live requests: ")
        # The new one takes its part of the connections.
        async with connections(sidecar.port("inbound")) as later:
            await asyncio.gather(*(one.get() for one in later))
            assert (await workers(sidecar))[0]["connections"]["inbound"] > 0


async def test_sigterm_lets_live_requests_of_all_workers_end() -> None:
    app = Answers()
    async with sidecar_before(app) as (_, sidecar), connections(sidecar.port("inbound")) as opened:
        waiting = [asyncio.create_task(one.get("/slow")) for one in opened]
        while app.slow < CONNECTIONS:
            await asyncio.sleep(0.01)
        found = processes(sidecar)
        stopping = asyncio.create_task(sidecar.stop())
        async with aiohttp.ClientSession() as client:
            while True:
                async with client.get(sidecar.url("metrics") + "/healthz/ready") as response:
                    if response.status == 503:
                        break
        assert not stopping.done()
        app.let.set()
        assert await asyncio.gather(*waiting) == ["ok"] * CONNECTIONS
        assert await stopping == 0
        assert b"Traceback" not in sidecar.errors
        await gone(found)


async def test_a_second_signal_ends_all_at_once() -> None:
    app = Answers()
    async with sidecar_before(app) as (_, sidecar), connections(sidecar.port("inbound")) as opened:
        waiting = [asyncio.create_task(one.get("/slow")) for one in opened]
        while app.slow < CONNECTIONS:
            await asyncio.sleep(0.01)
        found = processes(sidecar)
        sidecar.process.send_signal(signal.SIGTERM)
        while b"draining" not in sidecar.errors:
            await asyncio.sleep(0.01)
        assert await sidecar.stop() == 0  # else after 30 s
        await asyncio.gather(*waiting, return_exceptions=True)
        await gone(found)


@pytest.mark.parametrize("hung", [False, True], ids=["all well", "a worker hangs"])
async def test_nothing_is_left_of_a_sidecar_that_is_killed(hung: bool) -> None:
    async with sidecar_before(Answers()) as (_, sidecar):
        found = processes(sidecar)
        assert len(found) == 3  # workers, and what starts them
        if hung:
            worker = (await workers(sidecar))[0]["pid"]
            next(process for process in found if process.pid == worker).suspend()
        sidecar.process.kill()
        await gone(found)


async def test_a_worker_that_hangs_is_shown_and_readiness_says_so() -> None:
    async with sidecar_before(Answers()) as (_, sidecar):
        victim = (await workers(sidecar))[1]["pid"]
        (process,) = [found for found in processes(sidecar) if found.pid == victim]
        process.suspend()
        try:
            found = await workers_when(sidecar, lambda found: found[1]["state"] == "silent")
            assert found[0]["state"] == "up"
            assert "worker 1 does not answer" in (await status(sidecar))["missing"]
            assert await metric(sidecar, "mesh_worker_up", worker="1") == 0
        finally:
            process.resume()
        await workers_when(sidecar, lambda found: found[1]["state"] == "up")
        assert (await workers(sidecar))[1]["restarts"] == 0


async def test_workers_ask_control_for_services_and_hear_of_changes(tmp_path: Path) -> None:
    async with running_backend(Answers("orders")) as orders, push_control(MemoryStore()) as control:
        control.put(EndpointSet(name("orders"), (endpoint("o-1", orders.port),)))
        flags = ("--control", str(control.address), "--state-dir", str(tmp_path), "--workers", "2")
        async with running_sidecar(None, *flags) as sidecar, connections(sidecar.port("outbound")) as opened:
            while not (await status(sidecar))["control"]["connected"]:
                await asyncio.sleep(0.02)
            said = await asyncio.gather(*(one.get(host="orders") for one in opened))
            assert said == ["orders"] * CONNECTIONS
            (session,) = control.push.sessions()
            assert session.subscriptions == ("orders.default",)
            control.put(endpoints_of("orders"))
            for one in opened:
                while await one.get(host="orders") == "orders":
                    await asyncio.sleep(0.01)


async def test_a_port_in_use_is_named() -> None:
    async with running_backend(Answers()) as backend:
        free = ("--outbound-listen", ":0", "--admin", ":0", "--metrics", ":0")
        said = await refused("run", "--upstream", ":8080", *free, "--inbound", backend.address, "--workers", "2")
        assert f"the inbound port {backend.address} is in use" in said


async def test_two_sidecars_do_not_share_a_port_by_mistake() -> None:
    port = free_port()
    async with sidecar_before(Answers(), "--inbound", f"127.0.0.1:{port}") as (_, sidecar):
        free = ("--outbound-listen", ":0", "--admin", ":0", "--metrics", ":0")
        said = await refused("run", "--upstream", ":8080", *free, "--inbound", f"127.0.0.1:{port}", "--workers", "2")
        assert "in use" in said
        assert sidecar.port("inbound") == port


async def test_the_last_known_good_is_found_again_though_ports_are_picked(tmp_path: Path) -> None:
    flags = ("--state-dir", str(tmp_path), "--workers", "2")
    async with push_control(MemoryStore()) as control:
        async with running_sidecar(None, "--control", str(control.address), *flags) as sidecar:
            while not (await status(sidecar))["control"]["deltas"]:
                await asyncio.sleep(0.02)
            assert await sidecar.stop() == 0
    async with running_sidecar(None, "--control", f"127.0.0.1:{free_port()}", *flags) as sidecar:
        assert (await status(sidecar))["snapshot"]["from"] == "last known good"


async def test_a_sidecar_that_cannot_replace_workers_drains_and_says_so() -> None:
    async with sidecar_before(Answers()) as (_, sidecar):
        found = processes(sidecar)
        listed = {worker["pid"] for worker in await workers(sidecar)}
        (nursery,) = [process for process in found if process.pid not in listed]
        nursery.kill()
        next(process for process in found if process.pid in listed).kill()
        assert await sidecar.finish() == 1
        assert b"could not be replaced any more: start this sidecar anew" in sidecar.errors
        assert b"Traceback" not in sidecar.errors
        await gone(found)
