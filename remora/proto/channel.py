"""grpclib's Channel, minus a race of it."""

from __future__ import annotations

from grpclib.client import Channel
from grpclib.protocol import H2Protocol


class OpenChannel(Channel):
    """Raises ConnectionResetError for a connection that was lost before its first call began.

    grpclib takes apart what it has lost, and then fails on the missing part with an AttributeError that no caller is
    ready for.
    """

    async def __connect__(self) -> H2Protocol:
        protocol = await super().__connect__()
        if protocol.processor.connection.is_closing():
            raise ConnectionResetError("Connection lost")
        return protocol
