"""Apps of grpcio, and a mesh of two sidecars around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio

from tests.support import documents
from tests.support.process import Command, running_sidecar


class Echo(grpc.GenericRpcHandler):
    """`echo.Echo` on bytes: all four kinds of call, and one that fails as it is told."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.calls: list[str] = []
        self.cancelled = asyncio.Event()
        self.time_left: float | None = None
        self.failures_left = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        kinds = {
            "/echo.Echo/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/echo.Echo/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "/echo.Echo/Hang": grpc.unary_unary_rpc_method_handler(self.hang),
            "/echo.Echo/Down": grpc.unary_stream_rpc_method_handler(self.down),
            "/echo.Echo/Up": grpc.stream_unary_rpc_method_handler(self.up),
            "/echo.Echo/Both": grpc.stream_stream_rpc_method_handler(self.both),
        }
        return kinds.get(details.method)

    async def unary(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        self.calls.append("Unary")
        self.time_left = context.time_remaining()
        await context.send_initial_metadata((("x-seen", str(dict(context.invocation_metadata()).get("x-sent", ""))),))
        context.set_trailing_metadata((("x-trailer", "t"),))
        return request + self.name.encode()

    async def fail(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        self.calls.append("Fail")
        if self.failures_left == 0:
            return b"fine"
        self.failures_left -= 1
        await context.abort(grpc.StatusCode.UNAVAILABLE, "told to")
        raise AssertionError

    async def hang(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        self.calls.append("Hang")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b""

    async def down(self, request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    async def up(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
        return b",".join([request async for request in requests])

    async def both(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request.upper()


@asynccontextmanager
async def running_grpc(handler: grpc.GenericRpcHandler) -> AsyncIterator[str]:
    """A server of grpcio with this one service; gives its address."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    async with running_server(server) as address:
        yield address


@asynccontextmanager
async def running_server(server: grpc.aio.Server) -> AsyncIterator[str]:
    """Gives its address."""
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@asynccontextmanager
async def meshed(
    tmp_path: Path, *apps: grpc.GenericRpcHandler, **policy: object
) -> AsyncIterator[tuple[grpc.aio.Channel, Command]]:
    """A channel through the caller's sidecar, and each instance behind a sidecar of its own."""
    async with AsyncExitStack() as stack:
        inbound = []
        for app in apps:
            address = await stack.enter_async_context(running_grpc(app))
            sidecar = await stack.enter_async_context(running_sidecar(address))
            inbound.append(sidecar.address("inbound"))
        config = documents.write(
            tmp_path / "mesh.yaml",
            documents.endpoints("echo", *inbound, protocol="grpc"),
            documents.traffic_policy("echo", balancer={"type": "RoundRobin"}, **policy),
        )
        flags = ("--config", str(config), "--outbound", "echo=127.0.0.1:0")
        caller = await stack.enter_async_context(running_sidecar(None, *flags))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(caller.address("outbound:echo")))
        yield channel, caller
