"""Targets: the codecs of HTTP/1, HTTP/2 and HPACK."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import hpack as hyper_hpack

from fuzz.laws import Forwarding, LawBrokenError, Strict, one_turn, pieces, read_response
from remora.sidecar.wire.heads import RequestHead, ResponseHead
from remora.sidecar.wire.hpack import Decoder, HpackError
from remora.sidecar.wire.http1.client import Http1ClientConnection
from remora.sidecar.wire.http1.server import Http1ServerConnection
from remora.sidecar.wire.http2 import PREFACE, Http2ClientConnection, Http2ServerConnection
from remora.sidecar.wire.http2 import frames as wire
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.stream import RequestStream
from tests.support.http2 import BufferedTransport
from tests.support.wire import FakeTransport, Heard, Owner

MAX_LIST_BYTES = 60 * 1024
METHODS = (b"GET", b"HEAD", b"POST")


class Requests:
    """A RequestHandlerFactory whose requests go on to HTTP/1 clients."""

    def __init__(self) -> None:
        self.all: list[Forwarding] = []

    def __call__(self, stream: RequestStream, head: RequestHead, end: bool) -> Forwarding:
        request = Forwarding(stream, head, end)
        self.all.append(request)
        return request

    async def judge(self) -> None:
        await one_turn()
        for request in self.all:
            request.judge()

    def compare(self, whole: Requests) -> None:
        """The same bytes in other pieces are the same requests."""
        if len(self.all) != len(whole.all):
            raise LawBrokenError(f"{len(self.all)} requests in pieces, {len(whole.all)} by one read")
        for one, other in zip(self.all, whole.all, strict=True):
            if one.told() != other.told():
                raise LawBrokenError(f"in pieces {one.told()!r}, by one read {other.told()!r}")


async def http1_server(data: bytes) -> None:
    """Bytes of a downstream; its requests go to HTTP/1 clients whose writes h11 reads."""
    requests = await _serve_http1(pieces(data))
    if data[:1] != b"\0":
        requests.compare(await _serve_http1(pieces(b"\0" + data[1:])))


async def _serve_http1(reads: Iterator[bytes]) -> Requests:
    requests, transport = Requests(), FakeTransport()
    server = Http1ServerConnection(requests, lambda _: None, RequestLimits())
    transport.protocol = server
    server.connection_made(transport)
    for piece in reads:
        # A tunnel takes the transport over.
        transport.protocol.data_received(piece)
        if transport.closed:
            break
        await one_turn()
    await requests.judge()
    if not transport.closed:
        transport.protocol.eof_received()
    transport.protocol.connection_lost(None)
    if server.live_streams:
        raise LawBrokenError("a lost connection has a live stream")
    if any(not request.ended and request.reset is None for request in requests.all):
        raise LawBrokenError("a request neither ended nor was reset")
    return requests


class Answered(Strict):
    """An answer passed on to a downstream of HTTP/1, to see what would go there."""

    def __init__(self, method: bytes) -> None:
        super().__init__()
        self.method = method
        self.transport = FakeTransport()
        requests: list[RequestStream] = []

        def factory(stream: RequestStream, head: RequestHead, end: bool) -> Heard:
            requests.append(stream)
            return Heard(stream, head, end)

        self.server = Http1ServerConnection(factory, lambda _: None, RequestLimits())
        self.server.connection_made(self.transport)
        self.server.data_received(b"%b / HTTP/1.1\r\nhost: a\r\n\r\n" % method)
        (self.downstream,) = requests

    def on_head(self, head: ResponseHead, end: bool) -> None:
        super().on_head(head, end)
        self.downstream.send_head(head, end)

    def on_data(self, data: bytes, end: bool) -> None:
        super().on_data(data, end)
        if not self.final:
            raise LawBrokenError("data before the final head")
        self.downstream.send_data(data, end)

    def on_trailers(self, trailers: list[tuple[bytes, bytes]]) -> None:
        super().on_trailers(trailers)
        self.downstream.send_trailers(trailers)

    def judge(self) -> None:
        written = self.transport.take()
        if not self.final:
            return
        read = read_response(written, self.method)
        final = self.heads[-1][0]
        if read.status and read.status != final.status:
            raise LawBrokenError(f"delivered {final.status}, the downstream reads {read.status}")
        if self.ended and not (read.ended or final.content_length is not None):
            raise LawBrokenError("the answer ended here, not for the downstream")
        bodiless = self.method == b"HEAD" or final.status in (204, 304)
        if not bodiless and read.body != self.data:
            raise LawBrokenError(
                f"a body of {len(self.data)} bytes was delivered, the downstream reads {len(read.body)}"
            )


async def http1_client(data: bytes) -> None:
    """Bytes of an upstream that has been asked over HTTP/1, passed on to a downstream that h11 plays."""
    if not data:
        return
    transport, owner = FakeTransport(), Owner()
    client = Http1ClientConnection(owner)
    client.connection_made(transport)
    answers = [Answered(METHODS[data[0] >> 3 & 3 if data[0] >> 3 & 3 < 3 else 0])]
    client.open(RequestHead(answers[0].method, b"/", b"a", []), True, answers[0])
    for piece in pieces(data):
        if transport.closed:
            break
        client.data_received(piece)
        await one_turn()
        if client.free_slots and len(answers) < 3:
            answers.append(Answered(b"GET"))
            client.open(RequestHead(b"GET", b"/", b"a", []), True, answers[-1])
    client.connection_lost(None)
    await one_turn()
    for answer in answers:
        if not answer.ended and answer.reset is None:
            raise LawBrokenError("an answer neither ended nor was reset")
        if answer.ended and not answer.final:
            raise LawBrokenError("an answer has ended without a head")
        answer.judge()
    if owner.closed != 1:
        raise LawBrokenError(f"the owner heard {owner.closed} times that the connection is closed")


async def http2_server(data: bytes) -> None:
    """Bytes of a downstream after the preface and SETTINGS."""
    requests = await _serve_http2(pieces(data))
    if data[:1] != b"\0":
        requests.compare(await _serve_http2(pieces(b"\0" + data[1:])))


async def _serve_http2(reads: Iterator[bytes]) -> Requests:
    requests, transport = Requests(), BufferedTransport()
    server = Http2ServerConnection(requests)
    server.connection_made(transport)
    server.data_received(PREFACE + wire.settings_frame({}))
    for piece in reads:
        server.data_received(piece)
    await requests.judge()
    server.connection_lost(None)
    if server.live_streams:
        raise LawBrokenError("a lost connection has live streams")
    _read_frames(transport.take())
    return requests


async def http2_server_frames(data: bytes) -> None:
    """The same, from frames that are whole: the input says kind, flags, stream and payload."""
    await http2_server(b"\5" + b"".join(_frames(data[:4096])))


async def http2_client(data: bytes) -> None:
    """Frames of an upstream that has been asked three times over HTTP/2; answers go to HTTP/1 downstreams."""
    if not data:
        return
    transport, owner = BufferedTransport(), Owner()
    client = Http2ClientConnection(owner)
    client.connection_made(transport)
    answers = [Answered(method) for method in METHODS]
    for answer in answers:
        stream = client.open(RequestHead(answer.method, b"/", b"a", []), answer.method != b"POST", answer)
        if answer.method == b"POST":
            stream.send_data(b"x" * 1000, True)
    script = b"".join(_frames(data[1:4096])) if data[0] & 8 else data[1:]
    for piece in pieces(data[:1] + wire.settings_frame({}) + script):
        client.data_received(piece)
    await one_turn()
    client.connection_lost(None)
    await one_turn()
    for answer in answers:
        if not answer.ended and answer.reset is None:
            raise LawBrokenError("an answer neither ended nor was reset")
        answer.judge()
    if owner.closed != 1:
        raise LawBrokenError(f"the owner heard {owner.closed} times that the connection is closed")
    _read_frames(transport.take()[len(PREFACE) :])


async def http2_fields(data: bytes) -> None:
    """Lines `name: value` of the input as the fields of a request over HTTP/2 that goes on as HTTP/1; what h2's own
    checks refuse must not get through either, but for what tests/differential/explained.py explains."""
    fields = []
    for line in data.split(b"\xfe"):
        name, _, value = line.partition(b"\xff")
        fields.append((name, value))
    block = hyper_hpack.Encoder().encode(fields, huffman=False)
    requests, transport = Requests(), BufferedTransport()
    server = Http2ServerConnection(requests)
    server.connection_made(transport)
    server.data_received(PREFACE + wire.settings_frame({}))
    for offset in range(0, len(block) or 1, wire.DEFAULT_FRAME_BYTES):
        part = block[offset : offset + wire.DEFAULT_FRAME_BYTES]
        last = offset + len(part) >= len(block)
        kind = wire.CONTINUATION if offset else wire.HEADERS
        flags = (wire.END_HEADERS if last else 0) | (0 if offset else wire.END_STREAM)
        server.data_received(wire.frame_head(len(part), kind, flags, 1) + part)
    await requests.judge()
    server.connection_lost(None)


async def hpack(data: bytes) -> None:
    """Header blocks, each behind two octets of length, for one decoder: what ours takes, hyper's reads alike."""
    ours, theirs = Decoder(max_list_bytes=MAX_LIST_BYTES), hyper_hpack.Decoder(max_header_list_size=1 << 30)
    for block in _blocks(data):
        try:
            fields = ours.decode(block)
        except HpackError:
            return
        if ours.list_bytes > MAX_LIST_BYTES:
            return
        try:
            expected = theirs.decode(block, raw=True)
        except hyper_hpack.HPACKError as error:
            raise LawBrokenError(f"hyper refuses what we took: {error!r} {block!r}") from None
        if [(bytes(name), bytes(value)) for name, value in expected] != [tuple(field) for field in fields]:
            raise LawBrokenError(f"hyper reads {expected!r}, we read {fields!r}")


def _blocks(data: bytes) -> Iterator[bytes]:
    offset = 0
    while offset + 2 <= len(data):
        (size,) = struct.unpack_from(">H", data, offset)
        yield data[offset + 2 : offset + 2 + size]
        offset += 2 + size


_KINDS = (0, 1, 1, 0, 8, 3, 4, 9, 6, 7, 2, 5, 10, 0, 1, 8)
_STREAMS = (0, 1, 3, 5, 7, 9, 2, 11)


def _frames(data: bytes) -> Iterator[bytes]:
    """Frames from three octets (kind and stream, flags, length) and a payload each."""
    offset = 0
    while offset + 3 <= len(data):
        first, flags, size = data[offset : offset + 3]
        payload = data[offset + 3 : offset + 3 + size]
        yield (wire.frame_head(len(payload), _KINDS[first & 15], flags, _STREAMS[first >> 4 & 7]) + payload)
        offset += 3 + size


def _read_frames(data: bytes) -> None:
    """What we write is whole frames."""
    offset = 0
    while offset < len(data):
        offset += wire.FRAME_HEAD_BYTES + int.from_bytes(data[offset : offset + 3], "big")
    if offset != len(data):
        raise LawBrokenError("a frame that is not whole was written")
