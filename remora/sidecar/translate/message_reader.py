"""gRPC's length-prefixed messages (gRPC's doc/PROTOCOL-HTTP2.md): pieces into whole ones."""

from __future__ import annotations

from remora.sidecar.wire.grpc import PREFIX_BYTES, length_of

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Longest message that is held whole, either way; gRPC's own default for what is received."""


class MessageError(ValueError):
    """What came is no message that can be taken."""


class MessageReader:
    """Collects pieces until messages are whole."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now. MessageError: compressed, which was not offered, or too long."""
        held = self._held
        held += data
        messages = []
        at = 0
        while len(held) - at >= PREFIX_BYTES:
            if held[at]:
                raise MessageError("the app compressed its answer, which it was not asked to")
            (size,) = length_of(held, at)
            if size > MAX_MESSAGE_BYTES:
                raise MessageError(f"the app's answer is a message of {size} bytes; {MAX_MESSAGE_BYTES} can be taken")
            after = at + PREFIX_BYTES + size
            if after > len(held):
                break
            messages.append(bytes(held[at + PREFIX_BYTES : after]))
            at = after
        del held[:at]
        return messages

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of an unfinished message."""
        return not self._held
