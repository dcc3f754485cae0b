"""JSON over HTTP for gRPC methods, by their `google.api.http` annotations.

    caller ── GET /v1/shelves/7 ──► JsonCall ── one message, /library.Library/GetShelf ──► exchange
    caller ◄── {"name": …} ── JsonAnswer ◄── one message, or one after the other ── exchange

As grpc-gateway does: a failed call answers google.rpc.Status in JSON with the HTTP status of its code; a server's
stream is lines of `{"result": …}`, and `{"error": …}` if it fails after the first. The request is read whole before the
call is made.
"""

from __future__ import annotations

from remora.sidecar.translate.conversion import Converter
from remora.sidecar.translate.descriptors import Binding
from remora.sidecar.translate.json_answer import JsonAnswer
from remora.sidecar.translate.json_call import JsonCall
from remora.sidecar.translate.path_template import Found, PathTable
from remora.sidecar.translate.refusal import Refusal, Refusals
from remora.sidecar.translate.status import INVALID_ARGUMENT, NOT_FOUND, UNIMPLEMENTED, GrpcStatus
from remora.sidecar.wire.heads import Fields, RequestHead
from remora.sidecar.wire.stream import RequestHandler, RequestHandlerFactory, RequestStream


class Transcoder:
    """The bindings of a sidecar."""

    __slots__ = ("_converter", "_only", "_refusals", "_table")

    def __init__(self, table: PathTable[Binding], refusals: Refusals, *, only: bool) -> None:
        """`only`: the app speaks nothing but gRPC, so that what is not bound is answered here, with 404."""
        self._table = table
        self._refusals = refusals
        self._only = only
        self._converter = Converter()

    def takes(self, head: RequestHead) -> bool:
        """Whether requests of this path are ours, by whatever method."""
        try:
            return self._only or bool(self._table.methods(_path(head)))
        except UnicodeDecodeError:
            return False

    def call_of(self, head: RequestHead) -> bytes | Refusal | None:
        """The gRPC method that a request is made a call of, or what it is told instead; None: it is none of ours."""
        try:
            found = self._find(head.method.decode("latin-1"), _path(head))
        except UnicodeDecodeError:
            found = Refusal(400, GrpcStatus(INVALID_ARGUMENT, "the path is not UTF-8")) if self._only else None
        return found.target.method.path if isinstance(found, Found) else found

    def start(
        self, factory: RequestHandlerFactory, stream: RequestStream, head: RequestHead, end: bool, cors: Fields
    ) -> RequestHandler | None:
        """Take the request; None: it is none of ours. `factory` makes the call; `cors`: fields for the answer."""
        try:
            found = self._find(head.method.decode("latin-1"), _path(head))
        except UnicodeDecodeError:
            found = Refusal(400, GrpcStatus(INVALID_ARGUMENT, "the path is not UTF-8")) if self._only else None
        if found is None:
            return None
        if isinstance(found, Refusal):
            answer = JsonAnswer(stream, head, cors, None, self._converter)
            call = JsonCall(factory, answer, None, self._refusals)
            call.refuse(found, end)
        else:
            answer = JsonAnswer(stream, head, cors, found.target, self._converter)
            call = JsonCall(factory, answer, found, self._refusals)
            call.begin(end)
        return call

    def _find(self, method: str, path: str) -> Found[Binding] | Refusal | None:
        """What to do with a request; HEAD is a GET whose answer is not sent, if it is one message."""
        found = self._table.find(method, path)
        if found is None and method == "HEAD":
            found = self._table.find("GET", path)
            if found is not None and found.target.method.server_streaming:
                found = None
        if found is not None:
            if found.target.method.client_streaming:
                name = found.target.method.path.decode()
                return Refusal(501, GrpcStatus(UNIMPLEMENTED, f"{name} streams its requests: call it by gRPC"))
            return found
        methods = self._table.methods(path)
        if methods:
            return self._refuse_method(method, path, methods)
        if self._only:
            return Refusal(404, GrpcStatus(NOT_FOUND, f"no method is bound to {method} {path}"))
        return None

    def _refuse_method(self, method: str, path: str, methods: set[str]) -> Refusal:
        """The path is bound, but to other methods."""
        get = self._table.find("GET", path)
        if get is not None and not get.target.method.server_streaming:
            methods.add("HEAD")
        allow = (b"allow", ", ".join(sorted({*methods, "OPTIONS"})).encode())
        if method == "OPTIONS":
            return Refusal(204, GrpcStatus(0), (allow,))
        return Refusal(405, GrpcStatus(UNIMPLEMENTED, f"{path} does not take {method}"), (allow,))


def _path(head: RequestHead) -> str:
    return head.path.partition(b"?")[0].decode("utf-8")
