"""How heads and bodies are written (RFC 9112 §2, §6, §7). Pure."""

from __future__ import annotations

import enum

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.http1.reader import Message
from remora.sidecar.wire.problem import phrase
from remora.sidecar.wire.refused import RefusedError


class Framing(enum.Enum):
    """What shows where an answer's body ends (RFC 9112 §6.3)."""

    NO_BODY = "no body"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


_NO_BODY, _LENGTH, _CHUNKED = Framing.NO_BODY, Framing.LENGTH, Framing.CHUNKED

BODILESS = frozenset((204, 304))
"""Final statuses whose answers have no body, whatever their fields say."""

STATUS_LINES = {
    status: b"HTTP/1.1 %d %b" % (status, phrase(status).encode() or b"Unknown") for status in range(100, 1000)
}

field_line = b": ".join
"""A field's name and value as its line, without CRLF. Measured with `join_lines`: half the time of formatting."""
join_lines = b"\r\n".join
HEAD_END = b"\r\n"
"""The last of the lines of a head that are joined."""

SWITCH_LINES = b"Connection: upgrade\r\nUpgrade: %b"
"""The last fields of a head that asks for a switch to another protocol, or agrees to it."""


def framing_of(message: Message, head: ResponseHead, end: bool) -> Framing:
    """How the body of `head`, the final one of the answer to `message`, is delimited; `end`: there is none."""
    if message.head.method == b"HEAD" or head.status in BODILESS:
        return _NO_BODY
    if head.content_length is not None or end:
        return _LENGTH
    return Framing.CLOSE if message.http10 else _CHUNKED


def answer_bytes(message: Message, head: ResponseHead, framing: Framing) -> bytes:
    """A final head, which says too whether the connection stays."""
    lines = [STATUS_LINES[head.status], *map(field_line, head.fields)]
    if head.content_length is not None:
        if head.status != 204:
            lines.append(b"Content-Length: %d" % head.content_length)
    elif framing is _CHUNKED:
        lines.append(b"Transfer-Encoding: chunked")
    elif framing is _LENGTH:
        lines.append(b"Content-Length: 0")
    if not message.keep_alive:
        lines.append(b"Connection: close")
    elif message.http10:
        lines.append(b"Connection: keep-alive")
    lines.append(HEAD_END)
    return join_lines(lines)


def interim_bytes(head: ResponseHead) -> bytes:
    """A head of status 1xx, but for 101."""
    return join_lines([STATUS_LINES[head.status], *map(field_line, head.fields), HEAD_END])


def switch_bytes(head: ResponseHead, upgrade: bytes | None) -> bytes:
    """A head that opens a tunnel, to the protocol `upgrade` or to what CONNECT named."""
    lines = [STATUS_LINES[head.status], *map(field_line, head.fields)]
    if upgrade is not None:
        lines.append(SWITCH_LINES % upgrade)
    lines.append(HEAD_END)
    return join_lines(lines)


def refusal_bytes(refused: RefusedError) -> bytes:
    """The whole answer to what is not a proper request; the connection ends with it."""
    head, body = refused.answer()
    lines = [STATUS_LINES[head.status], *map(field_line, head.fields)]
    lines += (b"Content-Length: %d" % len(body), b"Connection: close", HEAD_END)
    return join_lines(lines) + body


def request_bytes(head: RequestHead, end: bool, target: bytes | None = None) -> bytes:
    """The head of `head` as an HTTP/1.1 request; without `end` and a length the body that follows is chunked.

    Fields that were lifted come after the others, in the case that HTTP/1 peers are used to. `target`: if it is not the
    path.
    """
    start = b"%b %b HTTP/1.1\r\nHost: %b" % (head.method, head.path if target is None else target, head.authority)
    lines = [start, *map(field_line, head.fields)]
    if head.hop_fields is not None:
        lines += map(field_line, head.hop_fields)
    if head.content_type is not None:
        lines.append(b"Content-Type: " + head.content_type)
    if head.trace_parent is not None:
        lines.append(b"traceparent: " + head.trace_parent)
    if head.request_id is not None:
        lines.append(b"X-Request-Id: " + head.request_id)
    if head.grpc_timeout is not None:
        lines.append(b"grpc-timeout: " + head.grpc_timeout)
    if head.content_length is not None:
        lines.append(b"Content-Length: %d" % head.content_length)
    elif not end:
        lines.append(b"Transfer-Encoding: chunked")
    if head.expect_continue:
        lines.append(b"Expect: 100-continue")
    if head.upgrade is not None:
        lines.append(SWITCH_LINES % head.upgrade)
    lines.append(HEAD_END)
    return join_lines(lines)


def tunnel_request_bytes(head: RequestHead) -> bytes:
    """The head of a request that asks for a tunnel: an Upgrade (RFC 9110 §7.8) or a CONNECT (RFC 9112 §3.2.3)."""
    target = head.path if head.upgrade is not None else head.authority
    return request_bytes(head, True, target)


def chunk_bytes(data: bytes, end: bool) -> bytes:
    """`data` as a chunk (RFC 9112 §7.1), with the last chunk behind it at the `end`."""
    if not data:
        return b"0\r\n\r\n" if end else b""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if end else b"%x\r\n%b\r\n" % (len(data), data)


def trailer_bytes(trailers: Fields) -> bytes:
    """The last chunk and the trailer section (RFC 9112 §7.1.2)."""
    return join_lines([b"0", *map(field_line, trailers), HEAD_END])
