"""The same in HTTP/2: streams of frames with one request, and h2 as the judge of what they say."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import hpack
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from fuzz.mutation import Mutator
from fuzz.seeds import WORDS
from remora.sidecar.wire.http2 import PREFACE
from remora.sidecar.wire.http2 import frames as wire
from tests.differential.compare import Dialect
from tests.differential.corpus import HTTP2_ATTACKS, HTTP2_REQUESTS
from tests.differential.upstream import Seen

Field = tuple[bytes, bytes]

OPENING = PREFACE + wire.settings_frame({})
MAX_FIELD_CHANGES = 3
BODY = b"hello"
NAMES = (b":method", b":path", b":scheme", b":authority", b":protocol", b":status", b"host", b"content-length", b"te")
VALUES = (b"", b"a", b"GET", b"CONNECT", b"/", b"*", b"http", b"https", b"0", b"5", b"trailers", b"chunked", b"a:80")


def curated() -> list[bytes]:
    """The attacks, and requests that are in order; with a body where they are not refused before it."""
    rnd = Random(0)
    cases = [*HTTP2_REQUESTS, *HTTP2_ATTACKS.values()]
    return [OPENING + request(rnd, fields, body) for fields in cases for body in (b"", BODY)]


def mutations(seed: int) -> Iterator[bytes]:
    """Without end: other fields, other frames, other bytes."""
    rnd = Random(seed)
    bases = [*HTTP2_REQUESTS, *HTTP2_ATTACKS.values()]
    values = Mutator([value for fields in bases for _, value in fields], [*WORDS, *VALUES], seed)
    while True:
        fields = rnd.choice(bases)
        for _ in range(rnd.randint(0, MAX_FIELD_CHANGES)):
            fields = _changed(rnd, fields, values)
        frames = request(rnd, fields, rnd.choice((b"", b"", BODY)))
        if rnd.random() < 0.3:
            frames = Mutator([frames], WORDS, rnd.randrange(1 << 30)).next()
        yield OPENING + frames


def _changed(rnd: Random, fields: tuple[Field, ...], values: Mutator) -> tuple[Field, ...]:
    changed = list(fields) or [(b"x", b"y")]
    at = rnd.randrange(len(changed))
    name, value = changed[at]
    match rnd.randrange(7):
        case 0:
            del changed[at]
        case 1:
            changed[at] = (name, values.next())
        case 2:
            changed[at] = (rnd.choice(NAMES), value)
        case 3:
            changed.insert(rnd.randint(0, len(changed)), (name, rnd.choice(VALUES)))
        case 4:
            changed.insert(rnd.randint(0, len(changed)), (rnd.choice(NAMES), rnd.choice(VALUES)))
        case 5:
            changed[at] = (name, rnd.choice(VALUES))
        case _:
            rnd.shuffle(changed)
    return tuple(changed)


def request(rnd: Random, fields: tuple[Field, ...], body: bytes) -> bytes:
    """Frames of one request on stream 1, cut and padded at random, with others between them that say nothing."""
    block = hpack.Encoder().encode(list(fields), huffman=rnd.random() < 0.5)
    cut = rnd.randint(0, len(block)) if rnd.random() < 0.3 else len(block)
    end = 0 if body else wire.END_STREAM
    out = _frame(wire.HEADERS, end | (0 if cut < len(block) else wire.END_HEADERS), block[:cut])
    if cut < len(block):
        out += _frame(wire.CONTINUATION, wire.END_HEADERS, block[cut:])
    if rnd.random() < 0.3:
        out += rnd.choice((wire.frame_head(3, 0x77, 0, 0) + b"abc", wire.ping_frame(b"12345678", 0)))
    if body:
        at = rnd.randint(0, len(body))
        out += (
            _frame(wire.DATA, 0, body[:at]) if rnd.random() < 0.5 else _frame(wire.DATA, 8, b"\2" + body[:at] + b"\0\0")
        )
        out += _frame(wire.DATA, wire.END_STREAM, body[at:])
    return out


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    return wire.frame_head(len(payload), kind, flags, 1) + payload


def read_all(data: bytes) -> tuple[list[Seen], str]:
    """What h2 makes of `data` as a server: the requests, and why it stopped, if it refused."""
    connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    connection.initiate_connection()
    seen: dict[int, Seen] = {}
    try:
        # What precedes the frame that is refused counts.
        for frame in _frames(data):
            for event in connection.receive_data(frame):
                _note(event, seen)
    except (ProtocolError, ValueError, IndexError) as error:
        return list(seen.values()), f"{type(error).__name__}: {error}"
    return list(seen.values()), ""


def _note(event: Event, seen: dict[int, Seen]) -> None:
    if isinstance(event, RequestReceived):
        fields = dict(reversed([(bytes(name), bytes(value)) for name, value in event.headers or []]))
        host = fields.get(b":authority", fields.get(b"host", b""))
        seen[event.stream_id or 0] = Seen(fields.get(b":method", b""), fields.get(b":path", b""), host)
    elif isinstance(event, DataReceived):
        seen[event.stream_id or 0].body += event.data or b""
    elif isinstance(event, StreamEnded):
        seen[event.stream_id or 0].whole = True
    elif isinstance(event, StreamReset):
        seen.pop(event.stream_id or 0, None)


def _frames(data: bytes) -> Iterator[bytes]:
    yield data[: len(PREFACE)]
    offset = len(PREFACE)
    while offset < len(data):
        size = wire.FRAME_HEAD_BYTES + int.from_bytes(data[offset : offset + 3], "big")
        yield data[offset : offset + size]
        offset += size


def statuses(answer: bytes, closed: bool) -> list[int]:
    """Of heads; 400 stands for a stream that is reset, and for a connection that ends instead of an answer."""
    found, decoder = [], hpack.Decoder()
    offset = 0
    while offset + wire.FRAME_HEAD_BYTES <= len(answer):
        size, kind = int.from_bytes(answer[offset : offset + 3], "big"), answer[offset + 3]
        payload = answer[offset + wire.FRAME_HEAD_BYTES : offset + wire.FRAME_HEAD_BYTES + size]
        offset += wire.FRAME_HEAD_BYTES + size
        if kind == wire.HEADERS:
            found += [int(value) for name, value in decoder.decode(payload, raw=True) if bytes(name) == b":status"]
        elif _is_error(kind, payload) and not found:
            found.append(400)
    return found or [400] * closed


def _is_error(kind: int, payload: bytes) -> bool:
    """RST_STREAM or GOAWAY, but for NO_ERROR."""
    if kind == wire.RST_STREAM:
        return any(payload[:4])
    return kind == wire.GOAWAY and any(payload[4:8])


HTTP2 = Dialect(read_all, statuses, refusals_close=False)
