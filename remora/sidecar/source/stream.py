"""One `mesh.v1.Discovery/Stream` of a sidecar, on grpclib."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from grpclib.client import Channel, Stream
from grpclib.config import Configuration
from grpclib.exceptions import ProtocolError

from remora.model.address import Address
from remora.proto.channel import CALL_ERRORS, OpenChannel
from remora.proto.mesh.v1.discovery_grpc import DiscoveryStub
from remora.proto.mesh.v1.discovery_pb2 import ControlMessage, Hello, SidecarMessage, Welcome
from remora.sidecar.source.outbox import Outbox

log = logging.getLogger(__name__)

GREETING_TIMEOUT_S = 5.0
"""Connect, Hello and Welcome together."""

# A quiet stream is not a live one: a frozen control answers no ping, and is noticed after at most 3 + 4 s. grpclib has
# no public names for these settings; its version is pinned for them.
_CONFIGURATION = Configuration(
    _keepalive_time=3.0,
    _keepalive_timeout=4.0,
    _keepalive_permit_without_calls=True,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=2.0,
)


class ControlStream:
    """A stream that is being opened, or open."""

    def __init__(self, channel: Channel, stream: Stream[SidecarMessage, ControlMessage]) -> None:
        self._channel = channel
        self._stream = stream

    async def greet(self, hello: Hello) -> Welcome:
        """Say who we are and hear who control is. Raises one of CALL_ERRORS."""
        try:
            async with asyncio.timeout(GREETING_TIMEOUT_S):
                await self._stream.send_message(SidecarMessage(hello=hello))
                message = await self._stream.recv_message()
        except TimeoutError:
            raise TimeoutError(f"no answer within {GREETING_TIMEOUT_S:g} s") from None
        if message is None:
            # Its trailers say why; this raises when that is an error.
            await self._stream.recv_trailing_metadata()
        if message is None or message.WhichOneof("message") != "welcome":
            raise ProtocolError("it did not welcome this sidecar")
        return message.welcome

    async def talk(self, outbox: Outbox) -> AsyncIterator[ControlMessage]:
        """What control says, until it ends the stream, while what waits in `outbox` is sent. Raises CALL_ERRORS."""
        sender = asyncio.get_running_loop().create_task(self._send(outbox), name="control-sender")
        try:
            while (message := await self._stream.recv_message()) is not None:
                yield message
        finally:
            sender.cancel()
            await asyncio.wait([sender])

    async def _send(self, outbox: Outbox) -> None:
        try:
            while True:
                for message in await outbox.take():
                    await self._stream.send_message(message)
        except CALL_ERRORS as error:
            # The reader then ends with an error of its own, and that is the one to tell.
            log.debug("Sending to control failed: %s", error)
            self._channel.close()


@asynccontextmanager
async def open_stream(address: Address) -> AsyncIterator[ControlStream]:
    """A stream to control at `address`; closed at the end. Connects with the first message."""
    channel = OpenChannel(address.host, address.port, config=_CONFIGURATION)
    try:
        async with DiscoveryStub(channel).Stream.open() as stream:
            yield ControlStream(channel, stream)
    finally:
        channel.close()
