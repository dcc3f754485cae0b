"""Frames (RFC 9113 §4, §6): numbers, and the bytes of those that we send."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from remora.sidecar.wire.http2.errors import ErrorCode, Http2ConnectionError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first (RFC 9113 §3.4)."""

DATA = 0x0
HEADERS = 0x1
PRIORITY = 0x2
RST_STREAM = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9

END_STREAM = 0x1
"""The same as True, which is used so."""
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

FRAME_HEAD_BYTES = 9
DEFAULT_WINDOW = 65_535
"""Of every stream and connection until told otherwise (RFC 9113 §6.9.2)."""
DEFAULT_FRAME_BYTES = 16_384
"""The largest payload that we take, and the least that any peer takes (RFC 9113 §4.2)."""
MAX_WINDOW = 2**31 - 1
MAX_STREAM_ID = 2**31 - 1

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6
ENABLE_CONNECT_PROTOCOL = 0x8

MAX_SETTINGS = 32
"""In one frame; each may have to be worked into every stream. There are less than ten kinds."""

_SWITCHES = frozenset((ENABLE_PUSH, ENABLE_CONNECT_PROTOCOL))

_FRAME_HEAD = struct.Struct(">HBBBL")
_SETTING = struct.Struct(">HL")
_FRAME_WITH_LONG = struct.Struct(">HBBBLL")
_GOAWAY = struct.Struct(">HBBBLLL")

pack_frame_head = _FRAME_HEAD.pack
unpack_frame_head = _FRAME_HEAD.unpack_from
"""(length >> 8, length & 255, type, flags, stream id with its reserved bit)."""

SETTINGS_ACK = _FRAME_HEAD.pack(0, 0, SETTINGS, ACK, 0)


def frame_head(size: int, kind: int, flags: int, stream_id: int) -> bytes:
    return _FRAME_HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream_id)


def settings_frame(settings: dict[int, int]) -> bytes:
    payload = b"".join(_SETTING.pack(key, value) for key, value in settings.items())
    return frame_head(len(payload), SETTINGS, 0, 0) + payload


def window_update_frame(stream_id: int, increment: int) -> bytes:
    return _FRAME_WITH_LONG.pack(0, 4, WINDOW_UPDATE, 0, stream_id, increment)


def rst_stream_frame(stream_id: int, code: int) -> bytes:
    return _FRAME_WITH_LONG.pack(0, 4, RST_STREAM, 0, stream_id, code)


def ping_frame(payload: bytes, flags: int) -> bytes:
    return frame_head(8, PING, flags, 0) + payload


def goaway_frame(last_stream_id: int, code: int, why: str) -> bytes:
    debug = why.encode()
    size = 8 + len(debug)
    return _GOAWAY.pack(size >> 8, size & 0xFF, GOAWAY, 0, 0, last_stream_id, code) + debug


def headers_frames(stream_id: int, block: bytes, end: bool, max_frame: int) -> bytes:
    """HEADERS, and CONTINUATION as far as the peer's frame size asks for it."""
    if len(block) <= max_frame:
        return frame_head(len(block), HEADERS, END_HEADERS | end, stream_id) + block
    parts = [frame_head(max_frame, HEADERS, int(end), stream_id), block[:max_frame]]
    for offset in range(max_frame, len(block), max_frame):
        piece = block[offset : offset + max_frame]
        last = offset + max_frame >= len(block)
        parts += (frame_head(len(piece), CONTINUATION, END_HEADERS if last else 0, stream_id), piece)
    return b"".join(parts)


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """The pairs of a SETTINGS frame, checked (RFC 9113 §6.5.2). Unknown ones come too."""
    if len(payload) % 6:
        raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS is not a multiple of six bytes")
    if len(payload) > 6 * MAX_SETTINGS:
        raise Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, f"SETTINGS with over {MAX_SETTINGS} parameters")
    for key, value in _SETTING.iter_unpack(payload):
        if key == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise Http2ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE {value} is over 2^31-1")
        if key == MAX_FRAME_SIZE and not DEFAULT_FRAME_BYTES <= value < 2**24:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE {value} is out of range")
        if key in _SWITCHES and value > 1:
            raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, f"setting {key} is neither 0 nor 1, but {value}")
        yield key, value


def unpad(flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without padding (RFC 9113 §6.1)."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, "padding is longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def without_priority(flags: int, payload: bytes) -> bytes:
    """A HEADERS payload without the priority fields, which have no meaning any more (RFC 9113 §5.3.2)."""
    if not flags & HAS_PRIORITY:
        return payload
    if len(payload) < 5:
        raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "HEADERS is too short for its priority")
    return payload[5:]
