"""`mesh.v1.Discovery` on grpclib: one task reads, one writes, one talks to the store, all of them the stream's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.server import Stream
from h2.exceptions import H2Error

import remora
from remora.control.push.connection import Connection
from remora.control.push.hub import Hub
from remora.control.push.quota import Quotas
from remora.control.push.registration import Registration, Registrations
from remora.model.names import ServiceName, is_label, split_service_name
from remora.proto.mesh.v1 import discovery_pb2 as pb
from remora.proto.mesh.v1.discovery_grpc import DiscoveryBase

log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 10.0
ACK_TIMEOUT_S = 30.0
"""A sidecar that answers pings but no delta for so long is broken; its stream ends, so that it starts anew."""
MAX_SUBSCRIPTIONS = 10_000

SidecarStream: TypeAlias = "Stream[pb.SidecarMessage, pb.ControlMessage]"


_GONE = (StreamTerminatedError, ProtocolError, H2Error, ConnectionError)
"""How a sidecar that went away shows when it is written to."""


class DiscoveryService(DiscoveryBase):
    """The streams of this control."""

    def __init__(self, hub: Hub, registrations: Registrations, quotas: Quotas, control_id: str) -> None:
        self._hub = hub
        self._registrations = registrations
        self._quotas = quotas
        self._control_id = control_id
        self.refusal = "this control has not read the store yet"
        """Why streams are refused now; empty when they are not."""

    async def Stream(self, stream: SidecarStream) -> None:  # noqa: N802 - the method's name in the proto
        if self.refusal:
            raise GRPCError(Status.UNAVAILABLE, self.refusal)
        hello = await _hello(stream)
        connection = Connection(hello, _peer(stream), self._hub.resources)
        welcome = pb.Welcome(control=self._control_id, control_version=remora.__version__)
        await stream.send_message(pb.ControlMessage(welcome=welcome))
        self._hub.add(connection)
        log.info("Sidecar %s connected from %s.", hello.node, connection.peer)
        try:
            await self._serve(stream, connection)
        finally:
            connection.close()
            self._quotas.left(connection)
            self._hub.remove(connection)
            log.info("Sidecar %s disconnected.", hello.node)

    async def _serve(self, stream: SidecarStream, connection: Connection) -> None:
        registration = Registration(self._registrations, connection)
        tasks = [
            _task(self._read(stream, connection, registration)),
            _task(self._write(stream, connection)),
            _task(registration.run()),
        ]
        try:
            waited: list[asyncio.Future[Any]] = [*tasks, connection.ended]
            done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        try:
            for task in tasks:
                if task in done:
                    task.result()
        except _GONE as error:
            log.debug("Sidecar %s went away: %s", connection.hello.node, error)
        if connection.ended.done() and (fault := connection.ended.result()):
            log.warning("Sidecar %s: %s", connection.hello.node, fault)
            raise GRPCError(Status.FAILED_PRECONDITION, fault)

    async def _read(self, stream: SidecarStream, connection: Connection, registration: Registration) -> None:
        while (message := await _receive(stream)) is not None:
            match message.WhichOneof("message"):
                case "ack":
                    self._hub.ack(connection, message.ack.nonce)
                case "nack":
                    self._nack(connection, message.nack)
                case "subscribe":
                    _subscribe(connection, message.subscribe)
                case "unsubscribe":
                    connection.session.unsubscribe(map(ServiceName, message.unsubscribe.services))
                case "register":
                    registration.register(message.register)
                case "keep_alive":
                    registration.keep_alive(message.keep_alive)
                case "deregister":
                    registration.deregister(message.deregister)
                case "demand":
                    self._quotas.told(connection, message.demand)
            connection.wake()

    def _nack(self, connection: Connection, nack: pb.Nack) -> None:
        connection.nacks += 1
        connection.last_nack = nack.reason
        log.warning("Sidecar %s refused a delta: %s", connection.hello.node, nack.reason)
        self._hub.nack(connection, nack.nonce)

    async def _write(self, stream: SidecarStream, connection: Connection) -> None:
        while True:
            await connection.woken()
            for reply in connection.take_replies():
                await stream.send_message(reply)
            delta = self._hub.next_delta(connection)
            if delta is not None:
                connection.pushes += 1
                connection.expect_answer(ACK_TIMEOUT_S)
                await stream.send_message(pb.ControlMessage(delta=delta))


def _subscribe(connection: Connection, subscribe: pb.Subscribe) -> None:
    for name in subscribe.services:
        if not all(map(is_label, split_service_name(ServiceName(name)))):
            raise GRPCError(Status.INVALID_ARGUMENT, f"{name!r} is not a service: write name.namespace")
    connection.session.subscribe(map(ServiceName, subscribe.services))
    if len(connection.session.subscribed) > MAX_SUBSCRIPTIONS:
        raise GRPCError(Status.RESOURCE_EXHAUSTED, f"more than {MAX_SUBSCRIPTIONS} subscriptions on one stream")


async def _hello(stream: SidecarStream) -> pb.Hello:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            message = await _receive(stream)
    except TimeoutError:
        raise GRPCError(Status.DEADLINE_EXCEEDED, f"no Hello within {HELLO_TIMEOUT_S:g} s") from None
    if message is None or message.WhichOneof("message") != "hello":
        raise GRPCError(Status.INVALID_ARGUMENT, "the first message of a stream must be Hello")
    if not message.hello.node:
        raise GRPCError(Status.INVALID_ARGUMENT, "Hello names no node")
    return message.hello


async def _receive(stream: SidecarStream) -> pb.SidecarMessage | None:
    try:
        return await stream.recv_message()
    except DecodeError as error:
        raise GRPCError(Status.INVALID_ARGUMENT, f"a message cannot be read: {error}") from error


def _task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work)


def _peer(stream: SidecarStream) -> str:
    address = stream.peer.addr() if stream.peer is not None else None
    return f"{address[0]}:{address[1]}" if address else "unknown"
