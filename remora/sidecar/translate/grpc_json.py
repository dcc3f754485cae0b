"""JSON over HTTP for gRPC methods, by their `google.api.http` annotations.

    caller ── GET /v1/shelves/7 ──► JsonCall ── one message, /library.Library/GetShelf ──► exchange
    caller ◄── {"name": …} ── JsonCall ◄── one message, or one after the other ── exchange

As grpc-gateway does: a failed call answers google.rpc.Status in JSON with the HTTP status of its code; a server's
stream is lines of `{"result": …}`, and `{"error": …}` if it fails after the first. The request is read whole before the
call is made, so it must end within BODY_TIMEOUT_S.
"""

from __future__ import annotations

import asyncio
import dataclasses

import msgspec
from google.protobuf.message import DecodeError

from remora.sidecar.translate.descriptors import Binding
from remora.sidecar.translate.json_messages import (
    HTTP_BODY,
    JSON,
    BadRequestError,
    RequestBuilder,
    response_body,
    status_value,
)
from remora.sidecar.translate.message_reader import MAX_MESSAGE_BYTES, MessageError, MessageReader, frame
from remora.sidecar.translate.path_template import Found, PathTable
from remora.sidecar.translate.status import (
    INTERNAL,
    INVALID_ARGUMENT,
    NO_STATUS,
    NOT_FOUND,
    RESOURCE_EXHAUSTED,
    STATUS_FIELDS,
    UNAVAILABLE,
    UNIMPLEMENTED,
    GrpcStatus,
    is_grpc_answer,
    read_status,
    status_of_http,
)
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead, field_value
from remora.sidecar.wire.stream import RequestHandler, RequestHandlerFactory, RequestStream, ResetReason

BODY_TIMEOUT_S = 60.0
"""From a request's head to the end of its body."""

_NOT_METADATA = frozenset(
    (
        b"accept",
        b"accept-encoding",
        b"content-encoding",
        b"content-language",
        b"grpc-accept-encoding",
        b"grpc-encoding",
        b"te",
        b"x-http-method-override",
    )
)
"""Request fields that speak of the body or of this hop."""

_NOT_IN_JSON = STATUS_FIELDS | {b"content-type", b"grpc-encoding", b"grpc-accept-encoding", b"trailer"}
"""Fields of gRPC's answer that mean nothing in JSON's."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A request that no method is called for."""

    http_status: int
    status: GrpcStatus
    fields: tuple[tuple[bytes, bytes], ...] = ()


class Transcoder:
    """The bindings of a sidecar."""

    __slots__ = ("_only", "_table")

    def __init__(self, table: PathTable[Binding], *, only: bool) -> None:
        """`only`: the app speaks nothing but gRPC, so that what is not bound is answered here, with 404."""
        self._table = table
        self._only = only

    def start(
        self, factory: RequestHandlerFactory, stream: RequestStream, head: RequestHead, end: bool, cors: Fields
    ) -> RequestHandler | None:
        """Take the request; None: it is none of ours. `factory` makes the call; `cors`: fields for the answer."""
        raw, _, query = head.path.partition(b"?")
        try:
            found = self._find(head.method.decode("latin-1"), raw.decode("utf-8"))
        except UnicodeDecodeError:
            found = Refusal(400, GrpcStatus(INVALID_ARGUMENT, "the path is not UTF-8"))
        if found is None:
            return None
        call = JsonCall(stream, head, cors)
        if isinstance(found, Refusal):
            call.refuse(found, end)
        else:
            call.begin(factory, found, query.decode("latin-1"), end)
        return call

    def _find(self, method: str, path: str) -> Found[Binding] | Refusal | None:
        """What to do with a request; HEAD is a GET whose answer is not sent."""
        found = self._table.find(method, path)
        if found is None and method == "HEAD":
            found = self._table.find("GET", path)
        if found is not None:
            if found.target.method.client_streaming:
                name = found.target.method.path.decode()
                return Refusal(501, GrpcStatus(UNIMPLEMENTED, f"{name} streams its requests: call it by gRPC"))
            return found
        methods = self._table.methods(path)
        if methods:
            if "GET" in methods:
                methods.add("HEAD")
            allow = (b"allow", ", ".join(sorted({*methods, "OPTIONS"})).encode())
            if method == "OPTIONS":
                return Refusal(204, GrpcStatus(0), (allow,))
            return Refusal(405, GrpcStatus(UNIMPLEMENTED, f"{path} does not take {method}"), (allow,))
        if self._only:
            return Refusal(404, GrpcStatus(NOT_FOUND, f"no method is bound to {method} {path}"))
        return None


class JsonCall:
    """One call: the codec's RequestHandler, and the RequestStream of the exchange behind it."""

    __slots__ = (
        "_begun",
        "_binding",
        "_body",
        "_body_bytes",
        "_cors",
        "_ended",
        "_factory",
        "_found",
        "_handler",
        "_head",
        "_message",
        "_query",
        "_reader",
        "_request_ended",
        "_response_fields",
        "_stream",
        "_timer",
        "_writable",
    )

    def __init__(self, stream: RequestStream, head: RequestHead, cors: Fields) -> None:
        self._stream = stream
        self._head = head
        self._cors = cors
        self._found: Found[Binding] | None = None
        self._factory: RequestHandlerFactory | None = None
        self._query = ""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._request_ended = False
        self._timer: asyncio.TimerHandle | None = None
        self._handler: RequestHandler | None = None
        self._reader = MessageReader()
        self._response_fields: Fields = []
        self._message: bytes | None = None
        """The one message of a unary answer, until its status has come."""
        self._writable = True
        self._begun = False
        """The answer's head is sent."""
        self._ended = False
        """The answer is complete."""

    def begin(self, factory: RequestHandlerFactory, found: Found[Binding], query: str, end: bool) -> None:
        """Make the call as soon as its body is there."""
        self._factory, self._found, self._query = factory, found, query
        refusal = self._refusal_of_body(found.target)
        if refusal is not None:
            self.refuse(refusal, end)
        elif end:
            self._request_ended = True
            self._call()
        else:
            if self._head.expect_continue:
                self._stream.send_head(ResponseHead(100, []), False)
            self._timer = asyncio.get_running_loop().call_later(BODY_TIMEOUT_S, self._on_body_timeout)

    def _refusal_of_body(self, binding: Binding) -> Refusal | None:
        if not binding.body:
            return None
        head = self._head
        coding = field_value(head.fields, b"content-encoding")
        if coding is not None and coding.lower() != b"identity":
            shown = coding.decode("latin-1")
            return Refusal(415, GrpcStatus(INVALID_ARGUMENT, f"the body is {shown}: send it without a content coding"))
        kind = (head.content_type or JSON).partition(b";")[0].strip().lower()
        if kind == JSON or kind.endswith(b"+json") or _takes_any(binding):
            return None
        shown = kind.decode("latin-1")
        return Refusal(415, GrpcStatus(INVALID_ARGUMENT, f"the body is {shown}: send application/json"))

    def refuse(self, refusal: Refusal, end: bool) -> None:
        """Answer without a call."""
        self._request_ended = self._request_ended or end
        self._stop_timer()
        if refusal.status.code == 0:
            self._ended = True
            self._stream.send_head(ResponseHead(refusal.http_status, [*refusal.fields, *self._cors]), True)
        else:
            self._send_status(refusal.status, refusal.http_status, list(refusal.fields))
        if not self._request_ended:
            # The rest of the request is of no use.
            self._stream.reset(ResetReason.CANCELLED)

    # ── RequestHandler: what the caller says ──

    def on_data(self, data: bytes, end: bool) -> None:
        if self._ended or self._found is None or self._request_ended:
            return
        if self._found.target.body:
            self._body_bytes += len(data)
            if self._body_bytes > MAX_MESSAGE_BYTES:
                self._body.clear()
                why = f"the body is longer than {MAX_MESSAGE_BYTES} bytes"
                self.refuse(Refusal(413, GrpcStatus(RESOURCE_EXHAUSTED, why)), end)
                return
            self._body.append(data)
        if end:
            self._request_ended = True
            self._stop_timer()
            self._call()

    def on_trailers(self, trailers: Fields) -> None:  # noqa: ARG002 - nothing to say them with
        self.on_data(b"", True)

    def on_reset(self, reason: ResetReason) -> None:
        self._ended = True
        self._stop_timer()
        if self._handler is not None:
            self._handler.on_reset(reason)

    def on_writable(self, writable: bool) -> None:
        self._writable = writable
        if self._handler is not None:
            self._handler.on_writable(writable)

    def _on_body_timeout(self) -> None:
        self._timer = None
        why = f"the body did not come within {BODY_TIMEOUT_S:g} s"
        self.refuse(Refusal(408, GrpcStatus(INVALID_ARGUMENT, why)), False)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ── the call ──

    def _call(self) -> None:
        found, factory = self._found, self._factory
        assert found is not None, "begun"
        assert factory is not None, "begun"
        body, self._body = b"".join(self._body), []
        try:
            message = RequestBuilder(found.target).build(body, self._head.content_type or b"", self._query, found.bound)
        except BadRequestError as error:
            self.refuse(Refusal(400, GrpcStatus(INVALID_ARGUMENT, str(error))), True)
            return
        handler = factory(self, _call_head(self._head, found.target), False)
        if self._ended:
            return
        self._handler = handler
        if not self._writable:
            handler.on_writable(False)
        handler.on_data(frame(message), True)

    # ── RequestStream: what the exchange answers ──

    def send_head(self, head: ResponseHead, end: bool) -> None:
        if self._ended or head.status < 200:
            return
        content_type = field_value(head.fields, b"content-type")
        self._response_fields = [field for field in head.fields if field[0].lower() not in _NOT_IN_JSON]
        if not is_grpc_answer(head.status, content_type):
            self._give_up(status_of_http(head.status, content_type))
        elif end:
            self._on_status(read_status(head.fields))

    def send_data(self, data: bytes, end: bool) -> None:
        if self._ended:
            return
        try:
            for message in self._reader.feed(data):
                self._on_message(message)
        except (MessageError, DecodeError) as error:
            self._give_up(GrpcStatus(INTERNAL, str(error)))
            return
        if end:
            self._on_status(NO_STATUS)

    def send_trailers(self, trailers: Fields) -> None:
        if not self._ended:
            self._on_status(read_status(trailers))

    def reset(self, reason: ResetReason) -> None:
        if self._ended or reason is ResetReason.PROTOCOL_ERROR:
            self._stream.reset(reason)
        else:
            self._on_status(GrpcStatus(UNAVAILABLE, "the call broke off in the middle of its answer"))

    def pause(self) -> None:
        self._stream.pause()

    def resume(self) -> None:
        self._stream.resume()

    # ── the answer ──

    def _on_message(self, message: bytes) -> None:
        found = self._found
        assert found is not None, "begun"
        if self._ended:
            return
        if not found.target.method.server_streaming:
            if self._message is not None:
                raise MessageError("the app answered more than one message to a unary call")
            self._message = message
            return
        content_type, body = response_body(found.target, message)
        if not self._begun:
            self._send_head(200, content_type, [], None)
        if not self._ended:
            line = body if _takes_http_body(found.target) else b'{"result":%b}\n' % body
            self._stream.send_data(line, False)

    def _on_status(self, status: GrpcStatus) -> None:
        if status.code:
            self._fail(status)
            return
        found = self._found
        assert found is not None, "begun"
        if not self._reader.is_empty:
            self._fail(GrpcStatus(INTERNAL, "the app's answer ended in the middle of a message"))
        elif found.target.method.server_streaming:
            self._end_stream(found.target)
        elif self._message is None:
            self._fail(GrpcStatus(INTERNAL, "the app answered OK without a message"))
        else:
            self._end_unary(found.target, self._message)

    def _end_stream(self, binding: Binding) -> None:
        if not self._begun:
            content_type = b"" if _takes_http_body(binding) else JSON
            self._send_head(200, content_type, [], 0)
        elif not self._ended:
            self._ended = True
            self._stream.send_data(b"", True)

    def _end_unary(self, binding: Binding, message: bytes) -> None:
        try:
            content_type, body = response_body(binding, message)
        except DecodeError as error:
            self._fail(GrpcStatus(INTERNAL, f"the app's answer is no {binding.method.response.__name__}: {error}"))
            return
        self._send_whole(200, content_type, [], body)

    def _give_up(self, status: GrpcStatus) -> None:
        """The app's answer is no good: end the call and say so."""
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.on_reset(ResetReason.CANCELLED)
        self._fail(status)

    def _fail(self, status: GrpcStatus) -> None:
        if self._begun:
            self._ended = True
            self._stream.send_data(b'{"error":%b}\n' % self._status_json(status), True)
        else:
            self._send_status(status, status.http_status, [])

    def _status_json(self, status: GrpcStatus) -> bytes:
        if self._found is None:
            return msgspec.json.encode({"code": status.code, "message": status.message, "details": []})
        return msgspec.json.encode(status_value(status, self._found.target.pool))

    def _send_status(self, status: GrpcStatus, http_status: int, fields: Fields) -> None:
        self._send_whole(http_status, JSON, fields, self._status_json(status))

    def _send_whole(self, http_status: int, content_type: bytes, fields: Fields, body: bytes) -> None:
        self._send_head(http_status, content_type, fields, len(body))
        if not self._ended:
            self._ended = True
            self._stream.send_data(body, True)

    def _send_head(self, http_status: int, content_type: bytes, fields: Fields, length: int | None) -> None:
        """Send the head; the answer to a HEAD, and one of length 0, ends with it."""
        own: Fields = [(b"content-type", content_type)] if content_type else []
        head = ResponseHead(http_status, [*own, *fields, *self._response_fields, *self._cors], content_length=length)
        self._begun = True
        self._ended = length == 0 or self._head.method == b"HEAD"
        self._stream.send_head(head, self._ended)


def _call_head(head: RequestHead, binding: Binding) -> RequestHead:
    """The head of the gRPC call; the caller's other fields are its metadata."""
    fields = [field for field in head.fields if field[0].lower() not in _NOT_METADATA]
    fields.append((b"te", b"trailers"))
    return RequestHead(
        b"POST",
        binding.method.path,
        head.authority,
        fields,
        scheme=head.scheme,
        content_type=b"application/grpc",
        trace_parent=head.trace_parent,
        request_id=head.request_id,
        grpc_timeout=head.grpc_timeout,
    )


def _takes_any(binding: Binding) -> bool:
    """Whether the body is google.api.HttpBody: any content type."""
    request = binding.method.request_type
    descriptor = request if binding.body == "*" else request.fields_by_name[binding.body].message_type
    return descriptor is not None and descriptor.full_name == HTTP_BODY


def _takes_http_body(binding: Binding) -> bool:
    response = binding.method.response_type
    descriptor = response.fields_by_name[binding.response_body].message_type if binding.response_body else response
    return descriptor is not None and descriptor.full_name == HTTP_BODY
