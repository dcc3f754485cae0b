"""A channel whose connection is lost at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest

from remora.proto.channel import OpenChannel
from remora.proto.isolated import isolated
from tests.support.backend import running_raw_server


async def test_a_connection_that_is_lost_before_the_first_call_is_an_os_error() -> None:
    class Lossy(OpenChannel):
        async def _create_connection(self) -> Any:
            protocol = await super()._create_connection()
            # As the event loop does when the peer is killed before whoever waits for the connection has its turn.
            protocol.connection_lost(None)
            return protocol

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with running_raw_server(silent) as port:
        channel = Lossy("127.0.0.1", port)
        with pytest.raises(ConnectionResetError, match="Connection lost"):
            await asyncio.wait_for(isolated(HealthStub(channel).Check(HealthCheckRequest())), 10)
        channel.close()
