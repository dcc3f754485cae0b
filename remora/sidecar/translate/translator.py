"""What stands before an app's exchanges: it takes the requests that are gRPC in other words, and passes on the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.translate.cors import Pages
from remora.sidecar.translate.grpc_web import WEB, WebCall
from remora.sidecar.wire.heads import Fields, RequestHead
from remora.sidecar.wire.stream import RequestHandler, RequestHandlerFactory, RequestStream

if TYPE_CHECKING:
    # They import protobuf's JSON: only with --grpc-json.
    from remora.sidecar.translate.grpc_json import Transcoder
    from remora.sidecar.translate.refusal import Refusal


def before_app(
    *, grpc_only: bool, json_files: Sequence[Path], origins: frozenset[str], metrics: Metrics, service: str
) -> Translation:
    """What to put before an app. `grpc_only`: it speaks nothing else, so gRPC-Web is gRPC to it; `json_files`: its
    descriptor sets; `origins`: whose pages may call. Raises DescriptorError."""
    cors = Pages(origins) if origins else None
    transcoder = None
    if json_files:
        from remora.sidecar.translate.descriptors import load_bindings
        from remora.sidecar.translate.grpc_json import Transcoder
        from remora.sidecar.translate.refusal import Refusals

        transcoder = Transcoder(load_bindings(json_files), Refusals(metrics, service), only=grpc_only)
    return Translation(grpc_only, transcoder, cors)


class Translation:
    """How requests to an app are translated. `web`: gRPC-Web is; `transcoder`: JSON is, by its bindings."""

    __slots__ = ("_cors", "_transcoder", "_web")

    def __init__(self, web: bool, transcoder: Transcoder | None, cors: Pages | None) -> None:
        self._web = web
        self._transcoder = transcoder
        self._cors = cors

    def before(self, rest: RequestHandlerFactory, grpc: RequestHandlerFactory) -> Translator:
        """What stands before both: `rest` takes what is not translated, `grpc` calls of gRPC over HTTP/2."""
        return Translator(rest, grpc, web=self._web, transcoder=self._transcoder, cors=self._cors)

    def call_of(self, head: RequestHead) -> bytes | Refusal | None:
        """The gRPC method that a request is made a call of, or what it is told instead; None: it stays as it is."""
        kind = head.content_type or b""
        if kind.startswith(b"application/grpc"):
            return head.path if self._web and kind.startswith(WEB) else None
        return None if self._transcoder is None or head.upgrade else self._transcoder.call_of(head)


class Translator:
    """A RequestHandlerFactory before others. `web`: gRPC-Web is translated; `transcoder`: JSON is, by its bindings."""

    __slots__ = ("_cors", "_grpc", "_rest", "_transcoder", "_web")

    def __init__(
        self,
        rest: RequestHandlerFactory,
        grpc: RequestHandlerFactory,
        *,
        web: bool,
        transcoder: Transcoder | None,
        cors: Pages | None,
    ) -> None:
        self._rest = rest
        self._grpc = grpc
        self._web = web
        self._transcoder = transcoder
        self._cors = cors

    def __call__(self, stream: RequestStream, head: RequestHead, end: bool) -> RequestHandler:
        kind = head.content_type
        if kind is not None and kind.startswith(b"application/grpc"):
            if self._web and kind.startswith(WEB):
                return WebCall.start(self._grpc, stream, head, end, self._cors_fields(head))
            return self._rest(stream, head, end)
        if self._cors is not None and self._takes(head) and self._cors.answer_preflight(stream, head):
            return DONE
        if self._transcoder is not None and not head.upgrade:
            call = self._transcoder.start(self._grpc, stream, head, end, self._cors_fields(head))
            if call is not None:
                return call
        return self._rest(stream, head, end)

    def _takes(self, head: RequestHead) -> bool:
        """Whether what a preflight asks for would be translated; an app answers those of its own paths."""
        return self._web or (self._transcoder is not None and self._transcoder.takes(head))

    def _cors_fields(self, head: RequestHead) -> Fields:
        return [] if self._cors is None else self._cors.answer_fields(head)


class _Done:
    """The handler of a request that has its answer."""

    __slots__ = ()

    def on_data(self, data: bytes, end: bool) -> None: ...

    def on_trailers(self, trailers: Fields) -> None: ...

    def on_reset(self, reason: object) -> None: ...

    def on_writable(self, writable: bool) -> None: ...


DONE = _Done()
