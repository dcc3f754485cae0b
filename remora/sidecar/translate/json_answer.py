"""One call by JSON, from the app's side: its messages and its status are made the answer to the caller."""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec
from google.protobuf.message import DecodeError

from remora.sidecar.translate.conversion import INLINE_BYTES, Converter
from remora.sidecar.translate.descriptors import Binding
from remora.sidecar.translate.json_messages import JSON, answers_http_body, response_body, status_value
from remora.sidecar.translate.message_reader import MessageError, MessageReader
from remora.sidecar.translate.refusal import Refusal
from remora.sidecar.translate.status import (
    INTERNAL,
    NO_STATUS,
    STATUS_FIELDS,
    UNAVAILABLE,
    GrpcStatus,
    is_grpc_answer,
    read_status,
    status_of_http,
)
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead, field_value
from remora.sidecar.wire.problem import ERROR_FIELD
from remora.sidecar.wire.stream import RequestHandler, RequestStream, ResetReason

_NOT_IN_JSON = STATUS_FIELDS | {b"content-type", b"grpc-encoding", b"grpc-accept-encoding", b"trailer"}
"""Fields of gRPC's answer that mean nothing in JSON's."""

Body = tuple[bytes, bytes]
"""(content type, body) of one message."""


class JsonAnswer:
    """The RequestStream of the exchange. What the app said waits in `_waiting` while a long message is converted; the
    exchange is held back meanwhile."""

    __slots__ = (
        "_begun",
        "_binding",
        "_conversion",
        "_cors",
        "_handler",
        "_message",
        "_reader",
        "_response_fields",
        "_waiting",
        "_writable",
        "converter",
        "head",
        "is_ended",
        "stream",
    )

    def __init__(
        self, stream: RequestStream, head: RequestHead, cors: Fields, binding: Binding | None, converter: Converter
    ) -> None:
        """`binding`: None for what is refused; `cors`: fields to add."""
        self.stream = stream
        self.head = head
        self.converter = converter
        self._cors = cors
        self._binding = binding
        self._handler: RequestHandler | None = None
        self._reader = MessageReader()
        self._response_fields: Fields = []
        self._message: bytes | None = None
        """The one message of a unary answer, until its status has come."""
        self._waiting: deque[bytes | GrpcStatus] = deque()
        self._conversion: asyncio.Future[Body] | None = None
        self._writable = True
        self._begun = False
        """The answer's head is sent."""
        self.is_ended = False
        """The answer is complete, or nobody waits for it."""

    def take(self, handler: RequestHandler) -> None:
        """`handler` is the exchange that answers here."""
        self._handler = handler
        if not self._writable:
            handler.on_writable(False)

    def refuse(self, refusal: Refusal) -> None:
        """Answer without the app."""
        if refusal.status.code:
            own = (ERROR_FIELD, refusal.code.encode())
            self._send_status(refusal.status, refusal.http_status, [own, *refusal.fields])
        else:
            self.is_ended = True
            self.stream.send_head(ResponseHead(refusal.http_status, [*refusal.fields, *self._cors]), True)

    def give_up(self, reason: ResetReason) -> None:
        """Nobody waits for the answer."""
        self.is_ended = True
        self._waiting.clear()
        if self._conversion is not None:
            self._conversion.cancel()
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.on_reset(reason)

    def on_writable(self, writable: bool) -> None:
        """Whether the caller reads fast enough."""
        self._writable = writable
        if self._handler is not None and self._conversion is None:
            self._handler.on_writable(writable)

    # ── RequestStream: what the exchange says ──

    def send_head(self, head: ResponseHead, end: bool) -> None:
        if self.is_ended or head.status < 200:
            return
        content_type = field_value(head.fields, b"content-type")
        self._response_fields = [field for field in head.fields if field[0].lower() not in _NOT_IN_JSON]
        if not is_grpc_answer(head.status, content_type):
            self._break_off(status_of_http(head.status, content_type))
        elif end:
            self._hear(read_status(head.fields))

    def send_data(self, data: bytes, end: bool) -> None:
        if self.is_ended:
            return
        try:
            messages = self._reader.feed(data)
        except MessageError as error:
            self._break_off(GrpcStatus(INTERNAL, str(error)))
            return
        for message in messages:
            self._hear(message)
        if end:
            self._hear(NO_STATUS)

    def send_trailers(self, trailers: Fields) -> None:
        self._hear(read_status(trailers))

    def reset(self, reason: ResetReason) -> None:  # noqa: ARG002
        # The caller's own request is complete: nothing of it is left to be reset.
        self._hear(GrpcStatus(UNAVAILABLE, "the call broke off in the middle of its answer"))

    def pause(self) -> None:
        self.stream.pause()

    def resume(self) -> None:
        self.stream.resume()

    # ── one after the other ──

    def _hear(self, said: bytes | GrpcStatus) -> None:
        """A message, or the status that ends the call."""
        if self.is_ended:
            return
        if self._conversion is not None:
            self._waiting.append(said)
        elif isinstance(said, GrpcStatus):
            self._on_status(said)
        else:
            self._on_message(said)

    def _on_message(self, message: bytes) -> None:
        binding = self._binding
        assert binding is not None, "called"
        if binding.method.server_streaming:
            self._convert(binding, message)
        elif self._message is None:
            self._message = message
        else:
            self._break_off(GrpcStatus(INTERNAL, "the app answered more than one message to a unary call"))

    def _on_status(self, status: GrpcStatus) -> None:
        binding = self._binding
        assert binding is not None, "called"
        if status.code:
            self._fail(status)
        elif not self._reader.is_empty:
            self._fail(GrpcStatus(INTERNAL, "the app's answer ended in the middle of a message"))
        elif binding.method.server_streaming:
            self._end_stream(binding)
        elif self._message is None:
            self._fail(GrpcStatus(INTERNAL, "the app answered OK without a message"))
        else:
            self._convert(binding, self._message)

    def _convert(self, binding: Binding, message: bytes) -> None:
        if len(message) > INLINE_BYTES and not answers_http_body(binding):
            self._conversion = self.converter.run(lambda: response_body(binding, message), self._on_converted)
            if self._handler is not None and self._writable:
                self._handler.on_writable(False)
            return
        try:
            body = response_body(binding, message)
        except DecodeError as error:
            self._break_off(GrpcStatus(INTERNAL, str(error)))
        else:
            self._send_body(binding, body)

    def _on_converted(self, conversion: asyncio.Future[Body]) -> None:
        self._conversion = None
        binding = self._binding
        if conversion.cancelled() or self.is_ended or binding is None:
            return
        error = conversion.exception()
        if error is not None:
            self._break_off(GrpcStatus(INTERNAL, str(error)))
            if not isinstance(error, DecodeError):
                raise error
            return
        self._send_body(binding, conversion.result())
        while self._waiting and self._conversion is None and not self.is_ended:
            self._hear(self._waiting.popleft())
        if self._conversion is None and self._handler is not None and self._writable:
            self._handler.on_writable(True)

    # ── the answer ──

    def _send_body(self, binding: Binding, body: Body) -> None:
        content_type, data = body
        if not binding.method.server_streaming:
            self._send_whole(200, content_type, [], data)
            return
        if not self._begun:
            self._send_head(200, content_type, [], None)
        self.stream.send_data(data if answers_http_body(binding) else b'{"result":%b}\n' % data, False)

    def _end_stream(self, binding: Binding) -> None:
        if self._begun:
            self.is_ended = True
            self.stream.send_data(b"", True)
        else:
            self._send_head(200, b"" if answers_http_body(binding) else JSON, [], 0)

    def _break_off(self, status: GrpcStatus) -> None:
        """The app's answer is no good: end the call and say so."""
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.on_reset(ResetReason.BAD_ANSWER)
        self._fail(status)

    def _fail(self, status: GrpcStatus) -> None:
        if not self._begun:
            self._send_status(status, status.http_status, [])
            return
        self.is_ended = True
        if self._binding is not None and answers_http_body(self._binding):
            # A body of any type has no place for a status: it must not look complete.
            self.stream.reset(ResetReason.INTERNAL)
        else:
            self.stream.send_data(b'{"error":%b}\n' % self._status_json(status), True)

    def _status_json(self, status: GrpcStatus) -> bytes:
        pool = None if self._binding is None else self._binding.pool
        return msgspec.json.encode(status_value(status, pool))

    def _send_status(self, status: GrpcStatus, http_status: int, fields: Fields) -> None:
        self._send_whole(http_status, JSON, fields, self._status_json(status))

    def _send_whole(self, http_status: int, content_type: bytes, fields: Fields, body: bytes) -> None:
        self._send_head(http_status, content_type, fields, len(body))
        if not self.is_ended:
            self.is_ended = True
            self.stream.send_data(body, True)

    def _send_head(self, http_status: int, content_type: bytes, fields: Fields, length: int | None) -> None:
        """Send the head; the answer to a HEAD, and one of length 0, ends with it."""
        own: Fields = [(b"content-type", content_type)] if content_type else []
        head = ResponseHead(http_status, [*own, *fields, *self._response_fields, *self._cors], content_length=length)
        self._begun = True
        self.is_ended = length == 0 or self.head.method == b"HEAD"
        self.stream.send_head(head, self.is_ended)
