"""grpclib's Channel, minus a race of it, and what its calls raise."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from grpclib.client import Channel
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.protocol import H2Protocol
from h2.exceptions import H2Error

CALL_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    GRPCError,
    StreamTerminatedError,
    ProtocolError,
    DecodeError,
    H2Error,
)
"""What goes wrong in a call when the other end or the network does."""


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
