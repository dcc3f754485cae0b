"""What was read before its turn: pipelined requests, behind the one that is being answered.

Parsed requests take ten times the room of their bytes. So no more than PIECE_BYTES of a long read are parsed behind the
one that is served, and the rest of the read waits as it came; reading stops for both, so that one read is all there is.
"""

from __future__ import annotations

from collections import deque

from remora.sidecar.wire.heads import Fields
from remora.sidecar.wire.http1.reader import Message
from remora.sidecar.wire.refused import RefusedError

MAX_PARSED = 200
"""What may wait parsed: heads, pieces of bodies, trailers. Only behind a chunked body, whose end nobody can tell before
it is parsed, there can be more than the requests of PIECE_BYTES."""

Item = Message | bytes | Fields | RefusedError
"""A request, a piece of the body of the one before it, the end of such a body with its trailers, or what is none."""


class Pipeline:
    """Made for the first that waits, and gone with the last: few connections ever need one."""

    __slots__ = ("_parsed", "_unparsed", "_unparsed_from", "is_moving")

    def __init__(self) -> None:
        self._parsed: deque[Item] = deque()
        self._unparsed = b""
        """A read, of which what follows `_unparsed_from` comes behind what is parsed."""
        self._unparsed_from = 0
        self.is_moving = False
        """Somebody is taking out what may go on."""

    @property
    def has_parsed(self) -> bool:
        return len(self._parsed) > 0

    @property
    def is_empty(self) -> bool:
        return not self._parsed and not self._unparsed

    @property
    def is_full(self) -> bool:
        return len(self._parsed) >= MAX_PARSED

    def add(self, item: Item) -> None:
        self._parsed.append(item)

    def ends_with(self, message: Message) -> bool:
        """Whether the head of `message` is the last that was parsed."""
        return len(self._parsed) > 0 and self._parsed[-1] is message

    def keep_unparsed(self, data: bytes, start: int) -> None:
        """`data` from `start` on is to be parsed later."""
        self._unparsed, self._unparsed_from = data, start

    def take_unparsed(self) -> tuple[bytes, int]:
        """What `keep_unparsed` was given."""
        data, self._unparsed = self._unparsed, b""
        return data, self._unparsed_from

    def next(self, *, is_answering: bool, is_reading: bool) -> Item | None:
        """Take the next item that can go on, when a request is being answered or not, and its body still being read or
        not; None: none can."""
        if not self._parsed:
            return None
        item = self._parsed[0]
        if isinstance(item, Message):
            if is_answering:
                return None
        elif isinstance(item, RefusedError) and is_answering and not is_reading:
            return None
        return self._parsed.popleft()

    @property
    def is_at_next_message(self) -> bool:
        """Whether nothing more waits of the message whose pieces were taken last."""
        return not self._parsed or not isinstance(self._parsed[0], bytes | list)

    def take_bytes(self) -> bytes:
        """All of it, when it follows the head of a request for a tunnel: nothing of that is parsed."""
        pieces = []
        while self._parsed:
            piece = self._parsed.popleft()
            assert isinstance(piece, bytes), "nothing behind a tunnel's head is parsed"
            pieces.append(piece)
        data, start = self.take_unparsed()
        return b"".join(pieces) + data[start:]
