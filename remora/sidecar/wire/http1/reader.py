"""From a downstream's bytes to requests: heads checked and brought into the shared form, bodies, trailers (RFC 9112).

What is not a proper request is refused here, never repaired: two readings of one request are how smuggling works.
"""

from __future__ import annotations

from typing import Protocol

import httptools

from remora.sidecar.wire.heads import (
    MESH_BYTES,
    Fields,
    RequestHead,
    has_more_fields,
    is_authority,
    size_of,
    size_of_fields,
)
from remora.sidecar.wire.http1.fields import (
    MAX_LENGTH_DIGITS,
    REQUEST_KINDS,
    UNPARSED_BODY_BYTES,
    VERSIONS,
    Kind,
    upgrade_token,
    without_nominated,
)
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.refused import RefusedError, head_too_large, target_too_long, too_many_fields

PIECE_BYTES = 4 * 1024
"""What is parsed at once where requests may be pipelined: parsed ones take ten times the room of their bytes."""
_HOST = Kind.HOST


def _authority_of(rest: bytes) -> bytes:
    """What stands between `http://` and the path or query."""
    return rest[: min(end for end in (rest.find(b"/"), rest.find(b"?"), len(rest)) if end >= 0)]


class Message:
    """A request as the parser has it: its head, then its framing."""

    __slots__ = ("connection", "end", "head", "http10", "keep_alive", "left")

    def __init__(self) -> None:
        self.head = RequestHead(b"", b"", b"", [])
        self.connection = b""
        """The values of its Connection fields."""
        self.keep_alive = True
        self.http10 = False
        self.end = True
        """The head is all there is."""
        self.left = -1
        """Bytes of the body still to be read; -1: chunked, or no body."""


_NO_MESSAGE = Message()
"""Between requests: an idle connection keeps no head."""


class RequestSink(Protocol):
    """Who gets the requests, in order. May refuse nothing: what it cannot serve yet it keeps."""

    def on_request(self, message: Message) -> None: ...

    def on_request_data(self, message: Message, data: bytes, end: bool) -> None: ...

    def on_request_end(self, message: Message, trailers: Fields | None) -> None:
        """The end of a chunked body."""

    def on_tunnel_data(self, message: Message, data: bytes) -> bool:
        """`data` follows the head of `message`, which asks for a tunnel. False: that was refused already, and `data` is
        the next request."""


class RequestReader:
    """Feeds one connection's bytes to httptools and the requests in them to a sink."""

    __slots__ = (
        "_authority",
        "_head_bytes",
        "_host_count",
        "_in_head",
        "_limits",
        "_message",
        "_parser",
        "_past_parser",
        "_read_bytes",
        "_sink",
        "_trailers",
        "_url",
        "between",
    )

    def __init__(self, sink: RequestSink, limits: RequestLimits) -> None:
        self._sink = sink
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._past_parser = False
        """The rest of this body is not parsed."""
        self._message = _NO_MESSAGE
        self._trailers: Fields | None = None
        self._url = b""
        self._in_head = True
        self._head_bytes = 0
        """What came since the last message or piece of a body: of a head, trailers, chunks' sizes."""
        self._read_bytes = 0
        self._host_count = 0
        self._authority = b""
        """The last that was found good: on most connections there is only one."""
        self.between = True
        """No message is under way."""

    def feed(self, data: bytes) -> None:
        """Read on. Raises RefusedError, after which nothing on the connection can be trusted; what the sink raises
        comes out as it is."""
        if self._past_parser:
            data = self._skip_parser(data)
            if not data:
                return
        self._read_bytes = len(data)
        self._head_bytes += len(data)
        self._parse(data)
        self._past_parser = self._message.left > UNPARSED_BODY_BYTES
        if self._head_bytes - MESH_BYTES > self._limits.head_bytes:
            raise head_too_large(self._limits)

    def _skip_parser(self, data: bytes) -> bytes:
        """Hand on what of `data` is body; gives what follows it, for a new parser."""
        left = self._message.left
        if len(data) >= left:
            self._past_parser = False
            self._parser = httptools.HttpRequestParser(self)
        self.on_body(data[:left])
        if not self._past_parser:
            self.on_message_complete()
        return data[left:]

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # An upgrade that is not taken is ignored (RFC 9110 §7.8): what follows is the next request.
                data = data[upgrade.args[0] :]
                message = self._message
                if data and not message.end and self._sink.on_tunnel_data(message, data):
                    return
            except httptools.HttpParserCallbackError as error:
                raise error.__context__ or error from None
            except httptools.HttpParserError as error:
                raise RefusedError(400, "bad_request", f"not an HTTP/1.1 request: {error}") from None
            else:
                return

    @property
    def is_amid_head(self) -> bool:
        """Whether a head has begun and not ended."""
        return self._in_head and (not self.between or self._head_bytes > 0)

    @property
    def message(self) -> Message:
        """The message whose bytes come now, or came last."""
        return self._message

    def stop_of(self, data: bytes, start: int) -> int:
        """How far to `feed` of `data` from `start`, so that little of what follows the current message is parsed: to
        the end of a head, or of a body of known length. Where chunks end only the parser knows."""
        if not self._in_head:
            return start + self._message.left if self._message.left > 0 else len(data)
        end = data.find(b"\r\n\r\n", start, start + PIECE_BYTES)
        return end + 4 if end >= 0 else start + PIECE_BYTES

    def forget(self, message: Message) -> None:
        """`message` has come whole, and its answer has gone."""
        if self._message is message:
            self._message = _NO_MESSAGE

    # ── the parser's calls ──

    def on_message_begin(self) -> None:
        self.between = False
        self._message = Message()
        self._url = b""
        self._in_head = True
        self._host_count = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.target_bytes:
            raise target_too_long(self._limits)

    def on_header(self, name: bytes, value: bytes) -> None:
        # llhttp leaves spaces and tabs behind a value, which are not of it (RFC 9112 §5); other white space it refuses.
        value = value.rstrip()
        if not self._in_head:
            self._on_trailer(name, value)
            return
        kind = REQUEST_KINDS[name]
        if kind is None:
            self._message.head.fields.append((name, value))
        elif kind is _HOST:
            self._host_count += 1
            self._message.head.authority = value
        else:
            self._on_special(kind, name, value)

    def _on_special(self, kind: Kind, name: bytes, value: bytes) -> None:
        message = self._message
        head = message.head
        if kind is Kind.CONTENT_LENGTH:
            # llhttp has refused what is not digits, and a second one.
            if len(value) > MAX_LENGTH_DIGITS:
                raise RefusedError(400, "bad_request", "a Content-Length out of all measure")
            head.content_length = int(value)
        elif kind is Kind.TRANSFER_ENCODING:
            if value.lower() != b"chunked":
                raise RefusedError(501, "transfer_encoding", "only the transfer coding `chunked` is supported")
            message.end = False
        elif kind is Kind.CONNECTION:
            message.connection += b"," + value
        elif kind is Kind.CONTENT_TYPE and head.content_type is None:
            head.content_type = value
        else:
            self._on_lifted(kind, head, name, value)

    def _on_lifted(self, kind: Kind, head: RequestHead, name: bytes, value: bytes) -> None:
        if kind is Kind.TRACE_PARENT:
            # More than one is as good as none (W3C Trace Context §3.2.1).
            head.trace_parent = value if head.trace_parent is None else b""
        elif kind is Kind.REQUEST_ID:
            head.request_id = value
        elif kind is Kind.GRPC_TIMEOUT:
            head.grpc_timeout = value
        elif kind is Kind.UPGRADE:
            head.upgrade = value if head.upgrade is None else head.upgrade + b"," + value
        elif kind is Kind.EXPECT:
            head.expect_continue = value.lower() == b"100-continue"
            if not head.expect_continue:
                head.fields.append((name, value))
        elif kind is Kind.TE:
            # Of what it says only this concerns all on the way (RFC 9110 §10.1.4).
            if b"trailers" in value.lower():
                head.fields.append((name, b"trailers"))
        elif kind is Kind.FORWARDED:
            head.was_forwarded = True
            head.fields.append((name, value))
        elif kind is Kind.CONTENT_TYPE:
            head.fields.append((name, value))

    def _on_trailer(self, name: bytes, value: bytes) -> None:
        if self._trailers is None:
            self._trailers = []
        if REQUEST_KINDS[name] is None:
            self._trailers.append((name, value))
        if len(self._trailers) > self._limits.fields:
            raise too_many_fields(self._limits, "trailer")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._trailers = None
        message = self._message
        self._complete_head(message)
        limit = self._limits.head_bytes
        # What was read may hold more than the head, so it is measured, but only where it can be too large.
        if (self._head_bytes > limit or self._read_bytes > limit) and size_of(message.head) > limit:
            raise head_too_large(self._limits)
        self._head_bytes = 0
        self._sink.on_request(message)

    def _complete_head(self, message: Message) -> None:
        head, parser = message.head, self._parser
        if has_more_fields(head.fields, self._limits.fields):
            raise too_many_fields(self._limits)
        head.method = parser.get_method()
        message.keep_alive = parser.should_keep_alive()
        if message.connection or not message.keep_alive:
            # A 1.1 message that stays open needs no Connection field, so the version is only asked for here.
            version = parser.get_http_version()
            if version not in VERSIONS:
                raise RefusedError(400, "bad_request", f"HTTP/{version} is not spoken here: use 1.1")
            message.http10 = version == "1.0"
            # It knows of no interim answers (RFC 9110 §10.1.1).
            head.expect_continue = head.expect_continue and not message.http10
            if message.http10 and not message.end:
                # Who does not know of chunks may have passed them on unread (RFC 9112 §6.1).
                message.keep_alive = False
            head.fields = without_nominated(head.fields, message.connection)
        if self._host_count != 1 and (self._host_count > 1 or not message.http10):
            raise RefusedError(400, "host", "a request has exactly one Host field (RFC 9112 §3.2)")
        url = self._url
        if url.startswith(b"/"):
            head.path = url
        else:
            self._complete_target(head, url)
        if head.authority != self._authority:
            self._check_authority(head.authority)
        if message.end and head.content_length:
            message.end = False
            message.left = head.content_length
        elif not message.end:
            head.content_length = None
        if head.upgrade is not None or head.method == b"CONNECT":
            self._complete_tunnel(message)

    def _complete_tunnel(self, message: Message) -> None:
        head = message.head
        if not self._parser.should_upgrade() or (message.http10 and head.method != b"CONNECT"):
            # Not named by Connection, or of a time without Upgrade (RFC 9110 §7.8).
            head.upgrade = None
            return
        if not message.end:
            raise RefusedError(501, "upgrade", "CONNECT and Upgrade with a body are not supported")
        head.content_length = None
        if head.method == b"CONNECT":
            head.upgrade = None
            self._complete_authority(head)
        else:
            head.upgrade = upgrade_token(head.upgrade or b"")
        if head.asks_for_tunnel:
            message.end = False
            message.left = 0

    def _complete_authority(self, head: RequestHead) -> None:
        host, colon, port = head.path.rpartition(b":")
        if not host or not colon or not port.isdigit():
            raise RefusedError(400, "target", "the target of CONNECT is HOST:PORT (RFC 9112 §3.2.3)")
        head.authority, head.path = head.path, b""
        self._check_authority(head.authority)

    def _complete_target(self, head: RequestHead, url: bytes) -> None:
        if head.method == b"CONNECT" or (url == b"*" and head.method == b"OPTIONS"):
            head.path = url
            return
        # Absolute form: it replaces Host (RFC 9112 §3.2.2).
        scheme, separator, rest = url.partition(b"://")
        if not separator or scheme.lower() != b"http":
            raise RefusedError(400, "target", "the request target is neither a path nor an http:// URL")
        authority = _authority_of(rest)
        path = rest[len(authority) :]
        if not authority:
            raise RefusedError(400, "target", "an http:// URL without a host (RFC 9110 §4.2.1)")
        head.authority = authority
        if path.startswith(b"/"):
            head.path = path
        else:
            # OPTIONS without a path asks about the server as a whole (RFC 9112 §3.2.4).
            head.path = b"*" if not path and head.method == b"OPTIONS" else b"/" + path

    def _check_authority(self, authority: bytes) -> None:
        if is_authority(authority) is None:
            raise RefusedError(400, "host", "Host, or the target's authority, is not HOST or HOST:PORT")
        self._authority = authority

    def on_body(self, data: bytes) -> None:
        message = self._message
        self._head_bytes = 0
        if message.left > 0:
            message.left -= len(data)
        self._sink.on_request_data(message, data, message.left == 0)

    def on_message_complete(self) -> None:
        message = self._message
        if self._trailers and size_of_fields(self._trailers) > self._limits.head_bytes:
            raise head_too_large(self._limits)
        # The next message's head may begin in the same read.
        self._in_head = self.between = True
        self._head_bytes = 0
        if not message.end and message.left != 0:
            self._sink.on_request_end(message, self._trailers)
