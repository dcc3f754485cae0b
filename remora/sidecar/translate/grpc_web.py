"""gRPC-Web (gRPC's doc/PROTOCOL-WEB.md): gRPC for browsers, without HTTP trailers and, as text, without binary bodies.

    browser ── POST, application/grpc-web[-text][+proto] ──► WebCall ── application/grpc, h2 ──► exchange
    browser ◄── messages, then a frame 0x80 with the trailers ── WebCall ◄── messages, trailers ── exchange

Nothing is collected: bytes go on as they come. An answer without messages keeps its status in the head (Trailers-Only).
"""

from __future__ import annotations

from remora.sidecar.translate import base64_pieces
from remora.sidecar.translate.base64_pieces import Base64Error, Base64Reader
from remora.sidecar.translate.status import (
    INVALID_ARGUMENT,
    NO_STATUS,
    GrpcStatus,
    is_grpc_answer,
    status_of_http,
)
from remora.sidecar.wire.grpc import frame
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead, field_value
from remora.sidecar.wire.stream import RequestHandler, RequestHandlerFactory, RequestStream, ResetReason

WEB = b"application/grpc-web"
WEB_TEXT = b"application/grpc-web-text"
TRAILERS_FLAG = 0x80
"""The first byte of the frame that holds trailers."""

_OF_THE_WEB_BODY = frozenset((b"accept", b"x-grpc-web", b"te"))
"""Request fields that say something of gRPC-Web, or of this connection; gRPC has its own."""


class WebCall:
    """One call: the codec's RequestHandler, and the RequestStream of the exchange behind it."""

    __slots__ = ("_begun", "_content_type", "_cors", "_ended", "_handler", "_reader", "_stream", "_text")

    def __init__(self, stream: RequestStream, head: RequestHead, cors: Fields) -> None:
        """`cors`: fields to add to the answer."""
        kind = head.content_type or WEB
        self._stream = stream
        self._cors = cors
        self._handler: RequestHandler | None = None
        self._reader = Base64Reader() if kind.startswith(WEB_TEXT) else None
        accept = field_value(head.fields, b"accept") or b""
        self._text = accept.startswith(WEB_TEXT) or (self._reader is not None and not accept.startswith(WEB))
        """Whether the answer goes in base64: as the request, unless it says otherwise."""
        self._content_type = (WEB_TEXT if self._text else WEB) + (_suffix(kind) or b"+proto")
        self._begun = False
        self._ended = False
        """The answer is complete."""

    @classmethod
    def start(
        cls, factory: RequestHandlerFactory, stream: RequestStream, head: RequestHead, end: bool, cors: Fields
    ) -> WebCall:
        """Begin the call; `factory` takes it as one of gRPC."""
        call = cls(stream, head, cors)
        if head.expect_continue:
            # gRPC apps don't know of it.
            stream.send_head(ResponseHead(100, []), False)
        handler = factory(call, grpc_head(head), end)
        if not call._ended:
            call._handler = handler
        return call

    # ── RequestHandler: what the browser says ──

    def on_data(self, data: bytes, end: bool) -> None:
        handler = self._handler
        if handler is None:
            return
        if self._reader is not None:
            try:
                data = self._reader.feed(data, end)
            except Base64Error as error:
                self._refuse(handler, str(error))
                return
        if data or end:
            handler.on_data(data, end)

    def _refuse(self, handler: RequestHandler, why: str) -> None:
        handler.on_reset(ResetReason.PROTOCOL_ERROR)
        self._handler = None
        if not self._begun:
            self._send_status(GrpcStatus(INVALID_ARGUMENT, why))
        self._ended = True
        self._stream.reset(ResetReason.CANCELLED)

    def on_trailers(self, trailers: Fields) -> None:  # noqa: ARG002 - gRPC has no trailers in requests
        self.on_data(b"", True)

    def on_reset(self, reason: ResetReason) -> None:
        if self._handler is not None:
            self._handler.on_reset(reason)

    def on_writable(self, writable: bool) -> None:
        if self._handler is not None:
            self._handler.on_writable(writable)

    # ── RequestStream: what the exchange answers ──

    def send_head(self, head: ResponseHead, end: bool) -> None:
        if head.status < 200:
            self._stream.send_head(head, end)
            return
        content_type = field_value(head.fields, b"content-type")
        if not is_grpc_answer(head.status, content_type):
            self._send_status(status_of_http(head.status, content_type))
            handler, self._handler = self._handler, None
            if handler is not None:
                handler.on_reset(ResetReason.BAD_ANSWER)
            return
        fields = [field for field in head.fields if field[0].lower() != b"content-type"]
        self._send_head(fields, end)

    def _send_head(self, fields: Fields, end: bool) -> None:
        if self._ended:
            return
        self._begun = True
        self._ended = end
        self._stream.send_head(ResponseHead(200, [(b"content-type", self._content_type), *fields, *self._cors]), end)

    def _send_status(self, status: GrpcStatus) -> None:
        self._send_head(status.fields(), True)

    def send_data(self, data: bytes, end: bool) -> None:
        if self._ended:
            return
        if data:
            self._stream.send_data(base64_pieces.encode(data) if self._text else data, False)
        if end:
            self.send_trailers(NO_STATUS.fields())

    def send_trailers(self, trailers: Fields) -> None:
        if self._ended:
            return
        self._ended = True
        frame = trailers_frame(trailers)
        self._stream.send_data(base64_pieces.encode(frame) if self._text else frame, True)

    def reset(self, reason: ResetReason) -> None:
        self._ended = True
        self._stream.reset(reason)

    def pause(self) -> None:
        self._stream.pause()

    def resume(self) -> None:
        self._stream.resume()


def grpc_head(head: RequestHead) -> RequestHead:
    """The head of the same call in gRPC."""
    fields = [field for field in head.fields if field[0].lower() not in _OF_THE_WEB_BODY]
    fields.append((b"te", b"trailers"))
    return RequestHead(
        head.method,
        head.path,
        head.authority,
        fields,
        scheme=head.scheme,
        content_type=b"application/grpc" + _suffix(head.content_type or b""),
        trace_parent=head.trace_parent,
        request_id=head.request_id,
        grpc_timeout=head.grpc_timeout,
        hop_fields=head.hop_fields,
        peer=head.peer,
    )


def _suffix(content_type: bytes) -> bytes:
    """`+proto`, or what else the messages are in; empty when it is not said."""
    _, plus, kind = content_type.partition(b";")[0].rstrip().partition(b"+")
    return plus + kind


def trailers_frame(trailers: Fields) -> bytes:
    """Trailers as the last frame: an HTTP/1 header block without the empty line, names in lower case."""
    block = b"".join(b"%b: %b\r\n" % (name.lower(), value) for name, value in trailers)
    return frame(block, TRAILERS_FLAG)
