"""What must hold whatever a peer sends, as handlers and readings that the targets are put together from.

* No exception leaves a codec.
* What a handler is told keeps the rules of `wire/stream.py`: one end, nothing after it, nothing after a reset.
* The same bytes in other pieces make the same requests.
* What a client codec writes for a request that was delivered, h11 reads as exactly that request.
* What is sent to a stream keeps the rules too: one final head, one end.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h11

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.http1.client import Http1ClientConnection
from remora.sidecar.wire.stream import RequestStream, ResetReason
from tests.support.wire import FakeTransport, Heard, Owner

_OVER_ASCII = re.compile(rb"[\x80-\xff]")


class LawBrokenError(AssertionError):
    """An input has shown that a law does not hold."""


class LoggedErrors(logging.Handler):
    """A codec that logs an error had an exception that it should not have had."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            cause = record.exc_info[1] if record.exc_info else None
            raise LawBrokenError(f"logged: {record.getMessage()}: {cause!r}") from cause

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        raise LawBrokenError(record.getMessage())


@contextmanager
def no_logged_errors() -> Iterator[None]:
    """Within it, an error that the sidecar logs is a broken law."""
    log, handler = logging.getLogger("remora"), LoggedErrors()
    log.addHandler(handler)
    log.propagate, before = False, log.propagate
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = before


async def one_turn() -> None:
    """Let the loop run what the codecs have put off until its next turn."""
    await asyncio.sleep(0)


def pieces(data: bytes) -> Iterator[bytes]:
    """`data` in reads, as its first byte says: whole, one by one, or of a few bytes."""
    if not data:
        return
    size = (1 << 20, 1, 2, 3, 7, 16, 64, 1000)[data[0] & 7]
    rest = data[1:]
    for offset in range(0, len(rest), size):
        yield rest[offset : offset + size]


class Strict(Heard):
    """Notes what it is told and refuses what the rules forbid."""

    def __init__(self, stream: Any = None, head: Any = None, end: bool = False) -> None:
        super().__init__(stream, head, end)
        self.final = False

    def on_head(self, head: ResponseHead, end: bool) -> None:
        self._check("a head")
        if self.final:
            raise LawBrokenError("a head after the final one")
        if head.status < 200 and end:
            raise LawBrokenError("an informational head with an end")
        self.final = head.status >= 200
        super().on_head(head, end)

    def on_data(self, data: bytes, end: bool) -> None:
        self._check("data")
        super().on_data(data, end)

    def on_trailers(self, trailers: Fields) -> None:
        self._check("trailers")
        super().on_trailers(trailers)

    def on_reset(self, reason: ResetReason) -> None:
        if self.reset is not None:
            raise LawBrokenError("reset twice")
        super().on_reset(reason)

    def _check(self, what: str) -> None:
        if self.ended or self.reset is not None:
            raise LawBrokenError(f"{what} after the end")


class Forwarding(Strict):
    """A request handed to an HTTP/1 client connection of its own, to see what would go upstream."""

    def __init__(self, stream: RequestStream, head: RequestHead, end: bool) -> None:
        super().__init__(stream, head, end)
        self.asked = (head.method, head.path, head.authority)
        self.length = head.content_length
        """A body of this length is whole upstream before its end has come."""
        self.tunnel = head.method == b"CONNECT" or head.upgrade is not None
        """Raw bytes follow the head, which h11 does not read."""
        self.transport = FakeTransport()
        self.client = Http1ClientConnection(Owner())
        self.client.connection_made(self.transport)
        self.upstream = self.client.open(head, end, Strict())
        if end:
            self.answer()

    def on_data(self, data: bytes, end: bool) -> None:
        super().on_data(data, end)
        self.upstream.send_data(data, end)
        if end:
            self.answer()

    def on_trailers(self, trailers: Fields) -> None:
        super().on_trailers(trailers)
        self.upstream.send_trailers(trailers)
        self.answer()

    def answer(self) -> None:
        self.stream.send_head(ResponseHead(200, [(b"x-a", b"b")], content_length=2), False)
        self.stream.send_data(b"ok", True)

    def told(self) -> tuple[object, ...]:
        """What does not depend on the pieces that it came in: of a body that broke off, how much was delivered does."""
        whole = self.data if self.ended else None
        return (*self.asked, self.head.fields, self.ended, whole, self.trailers)

    def judge(self) -> None:
        """Compare what went upstream with what was delivered."""
        written = self.transport.take()
        if self.tunnel or (not self.ended and b"\r\n\r\n" not in written):
            return
        read = read_request(written)
        method, path, authority = self.asked
        if (read.method, read.target, read.host) != (method, path, authority):
            raise LawBrokenError(
                f"delivered {self.asked!r}, upstream reads {read.method!r} {read.target!r} {read.host!r}"
            )
        if read.body != self.data:
            raise LawBrokenError(f"a body of {len(self.data)} bytes was delivered, upstream reads {len(read.body)}")
        whole = self.length is not None and len(self.data) == self.length
        if read.ended != self.ended and not whole:
            raise LawBrokenError(f"ended here: {self.ended}, upstream: {read.ended}")
        if read.rest:
            raise LawBrokenError(f"upstream sees more than the request: {read.rest[:60]!r}")
        want = [(name.lower(), value.strip(b" \t")) for name, value in self.trailers or []]
        if read.ended and read.trailers != want:
            raise LawBrokenError(f"trailers {want!r} were delivered, upstream reads {read.trailers!r}")


class Read:
    """A message as h11 reads it."""

    def __init__(self) -> None:
        self.method = self.target = self.host = self.body = self.rest = b""
        self.status = 0
        self.fields: Fields = []
        self.trailers: Fields = []
        self.ended = False


def read_request(data: bytes) -> Read:
    """The first request in `data`. Raises LawBrokenError when h11 refuses it."""
    line, newline, rest = data.partition(b"\r\n")
    # h11 takes no octets over 127 in a target; servers do, and so do we.
    for event, read in _events(h11.Connection(h11.SERVER), _OVER_ASCII.sub(b"?", line) + newline + rest, data):
        if isinstance(event, h11.Request):
            read.method = event.method
            read.target = line.split(b" ")[1]
            read.fields = list(event.headers)
            read.host = dict(event.headers).get(b"host", b"")
    return read


def read_response(data: bytes, method: bytes) -> Read:
    """The first final response in `data`, which answers `method`. Raises LawBrokenError when h11 refuses it."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET" if method != b"HEAD" else "HEAD", target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    for event, read in _events(connection, data, data):
        if isinstance(event, h11.Response):
            read.status = event.status_code
            read.fields = list(event.headers)
    return read


def _events(connection: h11.Connection, data: bytes, original: bytes) -> Iterator[tuple[Any, Read]]:
    read = Read()
    connection.receive_data(data)
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise LawBrokenError(f"h11 refuses what we wrote ({error}): {original[:400]!r}") from None
        if isinstance(event, h11.Data):
            read.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            read.ended = True
            read.trailers = list(event.headers)
        elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
            read.rest = connection.trailing_data[0] if read.ended else b""
            yield None, read
            return
        yield event, read
        if read.ended:
            read.rest = connection.trailing_data[0]
            return


class Answer:
    """A RequestStream that notes what is sent, and refuses what the rules forbid."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.data = b""
        self.trailers: Fields | None = None
        self.ended = False
        self.reset_by: ResetReason | None = None

    def send_head(self, head: ResponseHead, end: bool) -> None:
        self._check("a head")
        if self.head is not None:
            raise LawBrokenError("a head after the final one")
        if head.status >= 200:
            self.head = head
        elif end:
            raise LawBrokenError("an informational head with an end")
        self.ended = end

    def send_data(self, data: bytes, end: bool) -> None:
        self._check("data")
        if self.head is None:
            raise LawBrokenError("data before a head")
        self.data += data
        self.ended = end

    def send_trailers(self, trailers: Fields) -> None:
        self._check("trailers")
        self.trailers = trailers
        self.ended = True

    def reset(self, reason: ResetReason) -> None:
        self.reset_by = reason

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def _check(self, what: str) -> None:
        if self.ended:
            raise LawBrokenError(f"{what} sent after the end")
