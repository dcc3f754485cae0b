"""One call by JSON, from the caller's side: its body is collected, made a message, and sent to the app."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from remora.sidecar.translate.conversion import INLINE_BYTES
from remora.sidecar.translate.descriptors import Binding
from remora.sidecar.translate.json_answer import JsonAnswer
from remora.sidecar.translate.json_messages import JSON, BadRequestError, RequestBuilder, takes_any
from remora.sidecar.translate.message_reader import MAX_MESSAGE_BYTES
from remora.sidecar.translate.path_template import Found
from remora.sidecar.translate.refusal import Refusal, Refusals
from remora.sidecar.translate.status import INTERNAL, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE, GrpcStatus
from remora.sidecar.wire.grpc import frame
from remora.sidecar.wire.heads import HOP_BY_HOP, LIFTED, Fields, RequestHead, ResponseHead, field_value
from remora.sidecar.wire.stream import RequestHandler, RequestHandlerFactory, ResetReason

BODY_TIMEOUT_S = 60.0
"""From a request's head to the end of its body."""

METADATA_PREFIX = b"grpc-metadata-"
"""Before a field that is meant as metadata of the rest of its name (grpc-gateway)."""

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

_OF_THE_CALL = _NOT_METADATA | HOP_BY_HOP | LIFTED | {b"host", b"grpc-status", b"grpc-message"}
"""What a caller may not bring in by METADATA_PREFIX."""


class JsonCall:
    """The codec's RequestHandler; `answer` is the RequestStream of the exchange behind it."""

    __slots__ = (
        "_answer",
        "_body",
        "_body_bytes",
        "_conversion",
        "_ended",
        "_factory",
        "_found",
        "_refusals",
        "_started",
        "_timer",
    )

    def __init__(
        self, factory: RequestHandlerFactory, answer: JsonAnswer, found: Found[Binding] | None, refusals: Refusals
    ) -> None:
        self._factory = factory
        self._refusals = refusals
        self._started = time.perf_counter()
        self._answer = answer
        self._found = found
        """None: it is refused."""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._ended = False
        """The request is complete."""
        self._timer: asyncio.TimerHandle | None = None
        self._conversion: asyncio.Future[bytes] | None = None

    def begin(self, end: bool) -> None:
        """Make the call as soon as its body is there."""
        assert self._found is not None, "refused"
        head = self._answer.head
        refusal = _refusal_of_body(head, self._found.target)
        if refusal is not None:
            self.refuse(refusal, end)
        elif end:
            self._end_request()
        else:
            if head.expect_continue:
                self._answer.stream.send_head(ResponseHead(100, []), False)
            self._timer = asyncio.get_running_loop().call_later(BODY_TIMEOUT_S, self._on_body_timeout)

    def refuse(self, refusal: Refusal, end: bool) -> None:
        """Answer without a call."""
        self._ended = self._ended or end
        self._stop_timer()
        self._body.clear()
        if refusal.status.code:
            self._refusals.count(refusal, self._answer.head.method, self._started, self._body_bytes)
        self._answer.refuse(refusal)
        if not self._ended:
            # The rest of the request is of no use.
            self._answer.stream.reset(ResetReason.CANCELLED)

    # ── RequestHandler: what the caller says ──

    def on_data(self, data: bytes, end: bool) -> None:
        found = self._found
        if self._answer.is_ended or self._ended or found is None:
            return
        if found.target.body:
            self._body_bytes += len(data)
            if self._body_bytes > MAX_MESSAGE_BYTES:
                why = f"the body is longer than {MAX_MESSAGE_BYTES} bytes"
                self.refuse(Refusal(413, GrpcStatus(RESOURCE_EXHAUSTED, why)), end)
                return
            self._body.append(data)
        if end:
            self._end_request()

    def on_trailers(self, trailers: Fields) -> None:  # noqa: ARG002 - nothing to say them with
        self.on_data(b"", True)

    def on_reset(self, reason: ResetReason) -> None:
        self._stop_timer()
        if self._conversion is not None:
            self._conversion.cancel()
        self._answer.give_up(reason)

    def on_writable(self, writable: bool) -> None:
        self._answer.on_writable(writable)

    def _on_body_timeout(self) -> None:
        self._timer = None
        why = f"the body did not come within {BODY_TIMEOUT_S:g} s"
        self.refuse(Refusal(408, GrpcStatus(INVALID_ARGUMENT, why)), False)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ── the call ──

    def _end_request(self) -> None:
        self._ended = True
        self._stop_timer()
        if self._body_bytes <= INLINE_BYTES:
            try:
                message = self._build()
            except BadRequestError as error:
                self._refuse_message(error)
            else:
                self._send(message)
        elif self._answer.converter.is_full:
            why = "too many long bodies wait to be converted"
            self.refuse(Refusal(503, GrpcStatus(UNAVAILABLE, why)), True)
        else:
            self._conversion = self._answer.converter.run(self._build, self._on_built)

    def _build(self) -> bytes:
        found = self._found
        assert found is not None, "refused"
        body, self._body = b"".join(self._body), []
        head = self._answer.head
        query = head.path.partition(b"?")[2].decode("latin-1")
        return RequestBuilder(found.target).build(body, head.content_type or b"", query, found.bound)

    def _on_built(self, conversion: asyncio.Future[bytes]) -> None:
        self._conversion = None
        if conversion.cancelled() or self._answer.is_ended:
            return
        error = conversion.exception()
        if error is None:
            self._send(conversion.result())
        elif isinstance(error, BadRequestError):
            self._refuse_message(error)
        else:
            self.refuse(Refusal(500, GrpcStatus(INTERNAL, f"the body could not be converted: {error}")), True)
            raise error

    def _refuse_message(self, error: BadRequestError) -> None:
        self.refuse(Refusal(400, GrpcStatus(INVALID_ARGUMENT, str(error))), True)

    def _send(self, message: bytes) -> None:
        found = self._found
        assert found is not None, "refused"
        answer = self._answer
        handler: RequestHandler = self._factory(answer, call_head(answer.head, found.target), False)
        if not answer.is_ended:
            answer.take(handler)
            handler.on_data(frame(message), True)


def _refusal_of_body(head: RequestHead, binding: Binding) -> Refusal | None:
    if not binding.body:
        return None
    coding = field_value(head.fields, b"content-encoding")
    if coding is not None and coding.lower() != b"identity":
        shown = coding.decode("latin-1")
        return Refusal(415, GrpcStatus(INVALID_ARGUMENT, f"the body is {shown}: send it without a content coding"))
    kind = (head.content_type or JSON).partition(b";")[0].strip().lower()
    if kind == JSON or kind.endswith(b"+json") or takes_any(binding):
        return None
    return Refusal(415, GrpcStatus(INVALID_ARGUMENT, f"the body is {kind.decode('latin-1')}: send application/json"))


def call_head(head: RequestHead, binding: Binding) -> RequestHead:
    """The head of the gRPC call; the caller's other fields are its metadata."""
    return RequestHead(
        b"POST",
        binding.method.path,
        head.authority,
        [*_metadata(head.fields), (b"te", b"trailers")],
        scheme=head.scheme,
        content_type=b"application/grpc",
        trace_parent=head.trace_parent,
        request_id=head.request_id,
        grpc_timeout=head.grpc_timeout,
        hop_fields=head.hop_fields,
        peer=head.peer,
    )


def _metadata(fields: Fields) -> Iterator[tuple[bytes, bytes]]:
    for name, value in fields:
        key = name.lower()
        if key.startswith(METADATA_PREFIX):
            key = key[len(METADATA_PREFIX) :]
            if key and key not in _OF_THE_CALL:
                yield key, value
        elif key not in _NOT_METADATA:
            yield name, value
