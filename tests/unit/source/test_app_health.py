from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from grpclib.const import Cardinality
from grpclib.const import Handler as RpcHandler
from grpclib.health.check import ServiceStatus
from grpclib.health.service import Health
from grpclib.health.v1.health_pb2 import HealthCheckRequest
from grpclib.server import Server, Stream

from remora.sidecar.probe.probes import Check, Subject, make_probe, parse_check
from remora.sidecar.probe.tracker import HealthTracker, Limits
from remora.sidecar.source import app_health
from remora.sidecar.source.app_health import AppHealth
from tests.support.ports import free_port
from tests.support.waiting import until

FAST = Limits(interval_s=0.02, eager_interval_s=0.01, timeout_s=5.0)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def app(handler: Handler, port: int = 0) -> AsyncIterator[int]:
    server = await asyncio.start_server(handler, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def answering(response: bytes, seen: list[bytes] | None = None) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(request)
        for index in range(len(response)):
            writer.write(response[index : index + 1])
        writer.close()

    return handle


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("tcp", Check("tcp")),
        ("http:/healthz?full=1", Check("http", "/healthz?full=1")),
        ("grpc", Check("grpc")),
        ("grpc:shop.Orders", Check("grpc", "shop.Orders")),
    ],
)
def test_checks_as_people_write_them(text: str, check: Check) -> None:
    assert parse_check(text) == check
    assert str(check) == text


@pytest.mark.parametrize(
    "text", ["", "tcp:", "http", "http:", "http:healthz", "http:/a b", "http:/\r\nx:", "grpc:", "udp"]
)
def test_other_checks_are_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="is not a health check; write tcp, http:/path, grpc or grpc:package"):
        parse_check(text)


def test_one_success_makes_healthy_and_three_failures_in_a_row_unhealthy() -> None:
    tracker = HealthTracker(Limits())
    assert tracker.health == "unknown"
    results = [None, "a", "b", None, "c", "d", "e", "f", None]
    changes = [(tracker.observe(fault), tracker.health) for fault in results]
    assert [health for changed, health in changes if changed] == ["healthy", "unhealthy", "healthy"]
    assert changes[6] == (True, "unhealthy")


def test_an_app_that_is_not_well_is_asked_sooner() -> None:
    tracker = HealthTracker(Limits())
    assert tracker.next_probe_s == 0.25
    tracker.observe(None)
    assert tracker.next_probe_s == 1.0
    tracker.observe("slow")
    assert (tracker.health, tracker.next_probe_s, tracker.reason) == ("healthy", 0.25, "slow")


async def test_an_app_that_comes_and_goes_is_followed() -> None:
    port = free_port()
    changes: list[bool] = []
    health = AppHealth(parse_check("tcp"), "127.0.0.1", port, changes.append, limits=FAST)
    health.start()
    try:
        await until(lambda: health.state().state == "unhealthy")
        assert "does not take connections" in health.state().reason
        async with app(answering(b""), port):
            await until(lambda: health.state().state == "healthy")
        await until(lambda: health.state().state == "unhealthy")
        assert changes == [False, True, False]
    finally:
        await health.stop()


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"HTTP/1.0 302 Found\r\nlocation: /\r\n\r\n", None),
        (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno", "The app answered 503 to /healthz."),
        (b"SSH-2.0-x\r\n", "did not answer /healthz with HTTP."),
        (b"", "did not answer /healthz with HTTP."),
        (b"HTTP/1.1 200 OK\r\n", "did not answer /healthz with HTTP."),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            "The app answered 101 to /healthz.",
        ),
    ],
)
async def test_http_is_judged_by_its_status(response: bytes, reason: str | None) -> None:
    seen: list[bytes] = []
    async with app(answering(response, seen)) as port:
        result = await make_probe(parse_check("http:/healthz"), Subject("127.0.0.1", port)).ask()
        assert (result is None) if reason is None else (reason in (result or ""))
        assert seen[0].startswith(f"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n".encode())


async def test_early_hints_are_no_answer_yet() -> None:
    async def hint(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        with contextlib.suppress(TimeoutError):
            # Whoever takes this for the answer goes now.
            await asyncio.wait_for(reader.read(), 0.2)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async with app(hint) as port:
        assert await make_probe(parse_check("http:/x"), Subject("127.0.0.1", port)).ask() is None


async def test_an_app_that_hangs_is_a_failure() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with app(hang) as port:
        limits = Limits(unhealthy_after=1, timeout_s=0.05)
        health = AppHealth(parse_check("http:/x"), "127.0.0.1", port, lambda healthy: None, limits=limits)
        health.start()
        await until(lambda: health.state().state == "unhealthy")
        assert health.state().reason == "The app did not answer http:/x within 0.05 s."
        await health.stop()


async def test_grpc_is_judged_by_the_health_service() -> None:
    status = ServiceStatus()

    class Orders:
        def __mapping__(self) -> dict[str, object]:
            return {"/shop.Orders/List": None}

    server = Server([Health({Orders(): [status]})])  # type: ignore[list-item,dict-item]
    port = free_port()
    await server.start("127.0.0.1", port)
    probe = make_probe(parse_check("grpc:shop.Orders"), Subject("127.0.0.1", port))
    stranger = make_probe(parse_check("grpc:shop.Nobody"), Subject("127.0.0.1", port))
    try:
        status.set(True)
        assert await probe.ask() is None
        status.set(False)
        assert await probe.ask() == "The app's gRPC health service says NOT_SERVING for shop.Orders."
        assert "NOT_FOUND" in (await stranger.ask() or "")
    finally:
        server.close()
        await server.wait_closed()
    assert await probe.ask() is not None
    probe.close()
    stranger.close()


async def test_a_health_service_that_answers_nonsense_is_told() -> None:
    class Nonsense:
        def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's word
            return b"\xff"

    class Service:
        def __mapping__(self) -> dict[str, RpcHandler]:
            handler = RpcHandler(self.check, Cardinality.UNARY_UNARY, HealthCheckRequest, Nonsense)
            return {"/grpc.health.v1.Health/Check": handler}

        async def check(self, stream: Stream[HealthCheckRequest, Nonsense]) -> None:
            await stream.recv_message()
            await stream.send_message(Nonsense())

    server = Server([Service()])
    port = free_port()
    await server.start("127.0.0.1", port)
    probe = make_probe(parse_check("grpc"), Subject("127.0.0.1", port))
    try:
        assert "did not answer" in (await probe.ask() or "")
    finally:
        probe.close()
        server.close()
        await server.wait_closed()


async def test_a_probe_that_fails_in_an_unforeseen_way_does_not_end_the_watch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        asked = 0

        async def ask(self) -> str | None:
            self.asked += 1
            if self.asked <= 5:
                raise LookupError("not foreseen")
            return None

        def close(self) -> None: ...

    monkeypatch.setattr(app_health, "make_probe", lambda *_: Broken())
    changes: list[bool] = []
    health = AppHealth(parse_check("tcp"), "127.0.0.1", 1, changes.append, limits=FAST)
    health.start()
    try:
        await until(lambda: changes)
        assert "not foreseen" in health.state().reason
        await until(lambda: health.state().state == "healthy")
        assert changes == [False, True]
    finally:
        await health.stop()
    assert sum(record.exc_info is not None for record in caplog.records) == 1, "told once, not with every question"


async def test_it_stops_though_the_app_goes_at_the_same_moment() -> None:
    writers: list[asyncio.StreamWriter] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read()
        writer.close()

    for turns in range(6):  # of the loop: in one of them grpclib is about to tell that the connection is lost
        writers.clear()
        async with app(silent) as port:
            health = AppHealth(parse_check("grpc"), "127.0.0.1", port, lambda healthy: None)
            health.start()
            await until(lambda: writers)
            await asyncio.sleep(0.01)
            writers[0].transport.abort()
            for _ in range(turns):
                await asyncio.sleep(0)
            async with asyncio.timeout(10):
                await health.stop()
