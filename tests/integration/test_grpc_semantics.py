"""What gRPC asks of whoever stands between client and server: deadlines, cancellation, statuses. grpcio judges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from h2.errors import ErrorCodes

from tests.support import documents
from tests.support.grpc_app import Echo, meshed, running_grpc, running_server
from tests.support.h2_peer import Call, h2_client, h2_server, request_headers
from tests.support.health import health, health_pb2, health_pb2_grpc
from tests.support.mesh import running_row
from tests.support.process import Command, running_sidecar
from tests.support.waiting import until

TIMEOUT_S = 20
GRPC = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
MESSAGE = b"\x00\x00\x00\x00\x02hi"


class Endless(grpc.GenericRpcHandler):
    """All four kinds of call, none of which ends by itself: each says one thing if it can, and waits."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        kinds = {
            "/endless.Endless/Unary": grpc.unary_unary_rpc_method_handler(self.one),
            "/endless.Endless/Up": grpc.stream_unary_rpc_method_handler(self.one),
            "/endless.Endless/Down": grpc.unary_stream_rpc_method_handler(self.many),
            "/endless.Endless/Both": grpc.stream_stream_rpc_method_handler(self.many),
        }
        return kinds.get(details.method)

    async def one(self, _: Any, context: grpc.aio.ServicerContext) -> bytes:
        await self._wait()
        return b""

    async def many(self, _: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        yield b"first"
        await self._wait()

    async def _wait(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def messages(*values: bytes) -> AsyncIterator[bytes]:
    for value in values:
        yield value
    await asyncio.Event().wait()


@pytest.mark.parametrize("kind", ["Unary", "Up", "Down", "Both"])
async def test_cancellation_reaches_the_server_in_all_kinds_of_call(tmp_path: Path, kind: str) -> None:
    server = Endless()
    path = f"/endless.Endless/{kind}"
    async with meshed(tmp_path, server) as (channel, _), asyncio.timeout(TIMEOUT_S):
        calls: dict[str, Any] = {
            "Unary": lambda: channel.unary_unary(path)(b""),
            "Up": lambda: channel.stream_unary(path)(messages(b"a", b"b")),
            "Down": lambda: channel.unary_stream(path)(b""),
            "Both": lambda: channel.stream_stream(path)(messages(b"a", b"b")),
        }
        call = calls[kind]()
        if kind in ("Down", "Both"):
            assert await call.read() == b"first"
        else:
            # The call is made when its outcome is waited for.
            waiting = asyncio.ensure_future(call)
        await server.begun.wait()
        call.cancel()
        await server.cancelled.wait()
        if kind in ("Unary", "Up"):
            with pytest.raises(asyncio.CancelledError):
                await waiting


@pytest.mark.parametrize("kind", ["Unary", "Down"])
async def test_a_client_that_is_gone_is_a_cancellation(tmp_path: Path, kind: str) -> None:
    server = Endless()
    async with meshed(tmp_path, server) as (channel, _), asyncio.timeout(TIMEOUT_S):
        path = f"/endless.Endless/{kind}"
        call: Any = channel.unary_unary(path)(b"") if kind == "Unary" else channel.unary_stream(path)(b"")
        reading = asyncio.ensure_future(call if kind == "Unary" else call.read())
        await server.begun.wait()
        await channel.close()
        await server.cancelled.wait()
        await asyncio.gather(reading, return_exceptions=True)


# deadlines


def seconds(value: bytes) -> float:
    """A grpc-timeout."""
    return int(value[:-1]) * {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}[value[-1:].decode()]


@asynccontextmanager
async def before(serve: Any) -> AsyncIterator[Command]:
    async with (
        h2_server(serve) as app,
        running_sidecar(app.address, "--protocol", "h2", "--health", "tcp") as sidecar,
    ):
        yield sidecar


async def test_the_time_that_is_left_is_what_each_attempt_is_told() -> None:
    """What the client has spent before, and each failed attempt, is gone from what the next is told."""
    told: list[float] = []

    async def serve(call: Call) -> None:
        told.append(seconds(call.field(b"grpc-timeout") or b""))
        if len(told) < 2:
            call.reset(ErrorCodes.REFUSED_STREAM)
            return
        call.send_headers([(b":status", b"200"), GRPC[0], (b"grpc-status", b"0")], end=True)

    async with before(serve) as sidecar, h2_client(sidecar.port("inbound")) as client:
        fields = (*GRPC, (b"grpc-timeout", b"5S"))
        call = await client.request(request_headers("POST", "/a.B/C", *fields)).finish()
        assert call.field(b"grpc-status") == b"0"
    assert 5 > told[0] > told[1] > 0


@pytest.mark.parametrize("begun", [False, True])
async def test_a_deadline_is_kept_even_if_neither_client_nor_server_does(begun: bool) -> None:
    served: list[Call] = []

    async def serve(call: Call) -> None:
        served.append(call)
        if begun:
            call.send_headers([(b":status", b"200"), GRPC[0]])
            await call.send_data(MESSAGE)
        await call.until(lambda: call.reset_code is not None)

    async with before(serve) as sidecar, h2_client(sidecar.port("inbound")) as client:
        fields = (*GRPC, (b"grpc-timeout", b"300m"))
        call = await client.request(request_headers("POST", "/a.B/C", *fields)).finish()
        assert call.ended
        ending = call.trailers if begun else call.headers
        assert dict(ending or ())[b"grpc-status"] == b"4"
        assert dict(ending or ())[b"x-mesh-error"] == b"timeout"
        assert call.data == (MESSAGE if begun else b"")
        await until(lambda: served[0].reset_code == ErrorCodes.CANCEL)


# failures of the mesh are statuses


async def failed(call: Any) -> tuple[grpc.StatusCode, str | None, str]:
    """Status, the mesh's code for it, and its words."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    trailers = dict(error.value.trailing_metadata() or ())
    return error.value.code(), trailers.get("x-mesh-error"), error.value.details() or ""


async def reset(call: Call) -> None:
    call.reset(ErrorCodes.INTERNAL_ERROR)


async def talk_nonsense(call: Call) -> None:
    call.send_headers([(b":status", b"200"), (b"connection", b"close")], end=True)


async def test_an_app_that_is_not_there_is_unavailable() -> None:
    async with AsyncExitStack() as stack:
        async with h2_server(reset) as app:
            sidecar = await stack.enter_async_context(running_sidecar(app.address, "--health", "tcp"))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(sidecar.address("inbound")))
        status, code, words = await failed(channel.unary_unary("/a.B/C")(b"", timeout=TIMEOUT_S))
    assert (status, code) == (grpc.StatusCode.UNAVAILABLE, "connect_failure")
    assert "no connection to 127.0.0.1" in words


@pytest.mark.parametrize(
    ("serve", "status", "code"),
    [
        (reset, grpc.StatusCode.UNAVAILABLE, "upstream_reset"),
        (talk_nonsense, grpc.StatusCode.INTERNAL, "upstream_protocol"),
    ],
)
async def test_an_app_that_breaks_off_before_its_answer(serve: Any, status: grpc.StatusCode, code: str) -> None:
    async with before(serve) as sidecar, grpc.aio.insecure_channel(sidecar.address("inbound")) as channel:
        assert (await failed(channel.unary_unary("/a.B/C")(b"", timeout=TIMEOUT_S)))[:2] == (status, code)


@pytest.mark.parametrize("how", ["reset", "gone"])
async def test_an_app_that_breaks_off_within_its_answer_is_unavailable(how: str) -> None:
    go_on = asyncio.Event()

    async def serve(call: Call) -> None:
        call.send_headers([(b":status", b"200"), GRPC[0]])
        await call.send_data(MESSAGE)
        await go_on.wait()
        if how == "reset":
            call.reset(ErrorCodes.INTERNAL_ERROR)
        else:
            call._peer.transport.abort()

    async with before(serve) as sidecar, grpc.aio.insecure_channel(sidecar.address("inbound")) as channel:
        call = channel.unary_stream("/a.B/C")(b"", timeout=TIMEOUT_S)
        assert await call.read() == b"hi"
        go_on.set()
        status, code, words = await failed(call.read())
    assert (status, code) == (grpc.StatusCode.UNAVAILABLE, "upstream_reset")
    assert "ended in the middle of the answer" in words


async def test_a_route_that_matches_nothing_is_unimplemented(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(running_grpc(Echo()))
        only = {
            "matches": [{"path": {"type": "Exact", "value": "/echo.Echo/Unary"}}],
            "backendRefs": [{"name": "echo", "port": 80}],
        }
        config = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("echo", app, protocol="grpc"),
            documents.http_route("echo", only),
        )
        flags = ("--config", str(config), "--outbound", "echo=127.0.0.1:0")
        caller = await stack.enter_async_context(running_sidecar(None, *flags))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(caller.address("outbound:echo")))
        assert await channel.unary_unary("/echo.Echo/Unary")(b"hi", timeout=TIMEOUT_S) == b"hi"
        status, code, _ = await failed(channel.unary_unary("/echo.Echo/Fail")(b"", timeout=TIMEOUT_S))
        assert (status, code) == (grpc.StatusCode.UNIMPLEMENTED, "no_route")


# services of gRPC itself


@asynccontextmanager
async def through_two(tmp_path: Path, server: grpc.aio.Server) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to `server` through the caller's sidecar and its own."""
    async with (
        running_server(server) as app,
        running_row(app, tmp_path, between="grpc") as row,
        grpc.aio.insecure_channel(f"127.0.0.1:{row.port}") as channel,
    ):
        yield channel


async def test_the_health_service_passes_through(tmp_path: Path) -> None:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    await servicer.set("shop", serving)
    async with through_two(tmp_path, server) as channel, asyncio.timeout(TIMEOUT_S):
        stub = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest(service="shop")
        assert (await stub.Check(asked)).status == serving
        watch = stub.Watch(asked)
        assert (await watch.read()).status == serving
        await servicer.set("shop", not_serving)
        assert (await watch.read()).status == not_serving
        status, code, _ = await failed(stub.Check(health_pb2.HealthCheckRequest(service="other")))
        assert (status, code) == (grpc.StatusCode.NOT_FOUND, None)
        watch.cancel()


async def test_server_reflection_passes_through(tmp_path: Path) -> None:
    server = grpc.aio.server()
    names = (health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    async with through_two(tmp_path, server) as channel, asyncio.timeout(TIMEOUT_S):
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = await call.read()
        assert {service.name for service in listed.list_services_response.service} == set(names)
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=health.SERVICE_NAME))
        described = await call.read()
        assert described.file_descriptor_response.file_descriptor_proto
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
