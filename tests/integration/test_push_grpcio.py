"""Our gRPC judged by somebody else's: grpcio as the sidecar, and as control."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from remora.control.store.memory import MemoryStore
from remora.model.address import Address
from remora.model.snapshot import Snapshot
from remora.proto.mesh.v1.discovery_pb2 import Ack, ControlMessage, Delta, Hello, SidecarMessage, Subscribe, Welcome
from remora.sidecar.source.control import ControlSource, Node
from tests.support.grpc_app import running_grpc
from tests.support.push import DEADLINE_S, Taken, endpoints_of, name, push_control, running
from tests.support.waiting import until

METHOD = "/mesh.v1.Discovery/Stream"


async def test_grpcio_as_the_sidecar() -> None:
    async with push_control(MemoryStore()) as control:
        control.put(endpoints_of("orders", "o-1"))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{control.port}") as channel, asyncio.timeout(DEADLINE_S):
            call = channel.stream_stream(
                METHOD,
                request_serializer=SidecarMessage.SerializeToString,
                response_deserializer=ControlMessage.FromString,
            )()
            await call.write(SidecarMessage(hello=Hello(node="n-1")))
            assert (await call.read()).welcome.control == "control-1"
            await call.write(SidecarMessage(subscribe=Subscribe(services=["orders.default"])))
            delta = (await call.read()).delta
            assert [resource.name for resource in delta.upserts] == ["orders.default", "orders.default"]
            await call.write(SidecarMessage(ack=Ack(nonce=delta.nonce)))
            await until(lambda: not control.push.sessions()[0].in_flight)
            # A control that stops ends its streams with status OK.
            await control.stop()
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK


async def test_grpcio_as_a_sidecar_before_control_is_ready() -> None:
    async with push_control(MemoryStore()) as control:
        control.push._service.refusal = "not yet"
        async with grpc.aio.insecure_channel(f"127.0.0.1:{control.port}") as channel:
            call = channel.stream_stream(
                METHOD,
                request_serializer=SidecarMessage.SerializeToString,
                response_deserializer=ControlMessage.FromString,
            )()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_grpcio_as_control() -> None:
    heard: list[str | None] = []
    end = asyncio.Event()

    async def stream(requests: AsyncIterator[SidecarMessage], _: object) -> AsyncIterator[ControlMessage]:
        async for message in requests:
            kind = message.WhichOneof("message")
            heard.append(kind)
            if kind == "hello":
                yield ControlMessage(welcome=Welcome(control="grpcio"))
            elif kind == "subscribe":
                yield ControlMessage(delta=Delta(nonce=1, revision=42, unknown=message.subscribe.services))
            elif kind == "ack":
                await end.wait()
                return

    handler = grpc.stream_stream_rpc_method_handler(
        stream,
        request_deserializer=SidecarMessage.FromString,
        response_serializer=ControlMessage.SerializeToString,
    )
    service = grpc.method_handlers_generic_handler("mesh.v1.Discovery", {"Stream": handler})
    async with running_grpc(service) as address:
        host, port = address.split(":")
        taken = Taken()
        source = ControlSource([Address(host, int(port))], Node("caller-1"), taken, services=[name("orders")])
        async with running(source):
            await until(lambda: heard == ["hello", "subscribe", "ack"])
            assert taken.last == Snapshot(42)
            assert source.known(name("orders")) is False
            assert source.state().control_id == "grpcio"
            end.set()
            # grpcio follows its trailers with RST_STREAM(NO_ERROR), which grpclib calls a reset.
            await until(lambda: source.state().last_error)
            assert source.known(name("orders")) is None
