"""Targets: gRPC-Web and JSON, turned into gRPC and back. The app behind is played: it checks, and answers by script."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from google.protobuf.message import DecodeError

from fuzz.laws import Answer, LawBrokenError, Strict, pieces
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.translate.descriptors import load_bindings
from remora.sidecar.translate.grpc_json import Transcoder
from remora.sidecar.translate.grpc_web import WebCall
from remora.sidecar.translate.refusal import Refusals
from remora.sidecar.wire.heads import RequestHead, ResponseHead, field_value
from remora.sidecar.wire.stream import RequestStream, ResetReason
from tests.support.library import descriptor_set, types

SEPARATOR = b"\xfe"
GRPC = (b"content-type", b"application/grpc")
STATUSES: tuple[tuple[bytes, bytes], ...] = ((b"grpc-status", b"0"), (b"grpc-status", b"5"), (b"x", b"y"))


class App(Strict):
    """What a call becomes; answers at its end, or at once, as `mode` says."""

    def __init__(self, stream: RequestStream, head: RequestHead, end: bool, mode: int, script: bytes) -> None:
        super().__init__(stream, head, end)
        self._mode, self._script = mode, script
        self.answered = False
        if end or mode & 8:
            self._answer()

    def on_data(self, data: bytes, end: bool) -> None:
        super().on_data(data, end)
        if end:
            self._answer()

    def _answer(self) -> None:
        if self.answered:
            return
        self.answered = True
        stream, mode = self.stream, self._mode
        status = STATUSES[mode >> 4 & 3] if mode >> 4 & 3 < 3 else STATUSES[0]
        if mode & 1:
            stream.send_head(ResponseHead(200, [GRPC, status]), True)
            return
        stream.send_head(ResponseHead(200 if mode & 2 else 503, [GRPC] if mode & 4 else []), False)
        for piece in pieces(self._script):
            stream.send_data(piece, False)
        if mode & 64:
            stream.reset(ResetReason.PEER_RESET)
        elif mode & 128:
            stream.send_data(b"", True)
        else:
            stream.send_trailers([status])


def _parts(data: bytes, count: int) -> list[bytes]:
    found = data.split(SEPARATOR, count - 1)
    return found + [b""] * (count - len(found))


def _play(stream: Answer, call: Any, apps: list[App], body: bytes) -> None:
    """Give the body, then lose the connection when there is no answer."""
    reads = list(pieces(body))
    for number, piece in enumerate(reads):
        if stream.ended or stream.reset_by is not None:
            return
        call.on_data(piece, number == len(reads) - 1)
    if not reads and not stream.ended and stream.reset_by is None:
        call.on_data(b"", True)
    if not stream.ended and stream.reset_by is None:
        call.on_reset(ResetReason.CANCELLED)
        if any(not app.ended and app.reset is None for app in apps):
            raise LawBrokenError("a call neither ended nor was reset")


async def grpc_web(data: bytes) -> None:
    """Mode, content type, accept, body, the app's answer."""
    if not data:
        return
    kind, accept, body, script = _parts(data[1:], 4)
    heard = _web(data[0], kind, accept, body, script)
    if body[:1] != b"\0" and not data[0] & 8 and _web(data[0], kind, accept, b"\0" + body[1:], script) != heard:
        raise LawBrokenError("the same body in other pieces is another one")


def _web(mode: int, kind: bytes, accept: bytes, body: bytes, script: bytes) -> tuple[bytes, bool] | None:
    apps: list[App] = []

    def factory(stream: RequestStream, head: RequestHead, end: bool) -> App:
        if not re.match(rb"application/grpc(?!-web)", head.content_type or b""):
            raise LawBrokenError(f"the call is {head.content_type!r} to the app")
        apps.append(App(stream, head, end, mode, script))
        return apps[-1]

    stream = Answer()
    kind = b"application/grpc-web" + kind
    head = RequestHead(b"POST", b"/a.B/C", b"a", [(b"accept", accept), (b"x", b"y")], content_type=kind)
    _play(stream, WebCall.start(factory, stream, head, False, []), apps, body)
    if stream.head is not None and stream.head.status != 200:
        raise LawBrokenError(f"gRPC-Web was answered {stream.head.status}")
    (app,) = apps
    return (app.data, app.ended) if app.ended else None


@functools.cache
def _transcoder() -> Transcoder:
    return Transcoder(load_bindings([descriptor_set()]), Refusals(Metrics(), "app"), only=True)


_REQUESTS = {
    "GetMessage": "GetMessageRequest",
    "UpdateMessage": "UpdateMessageRequest",
    "GetBook": "GetBookRequest",
    "CreateBook": "CreateBookRequest",
    "ArchiveBook": "GetBookRequest",
    "DeleteBook": "GetBookRequest",
    "ReadFile": "ReadFileRequest",
    "WriteFile": "WriteFileRequest",
    "Search": "SearchRequest",
    "ListBooks": "ListBooksRequest",
    "Follow": "ListBooksRequest",
    "Fail": "FailRequest",
}


async def grpc_json(data: bytes) -> None:
    """Mode, method, target, content type, body, the app's answer."""
    if not data:
        return
    method, target, kind, body, script = _parts(data[1:], 5)
    apps: list[App] = []

    def factory(stream: RequestStream, head: RequestHead, end: bool) -> App:
        apps.append(App(stream, head, end, data[0], script))
        return apps[-1]

    stream = Answer()
    path = b"/" + target.replace(b" ", b"").replace(b"\r", b"").replace(b"\n", b"")
    head = RequestHead(method or b"GET", path, b"a", [], content_type=kind or None)
    call = _transcoder().start(factory, stream, head, False, [])
    if call is None:
        raise LawBrokenError("before an app of gRPC alone a request was let through")
    _play(stream, call, apps, body)
    for app in apps:
        _judge_message(app)
    _judge_json(stream)


def _judge_message(app: App) -> None:
    """One message, whole, that the method's type can be read from."""
    if app.reset is not None or not app.ended:
        # It has answered before it had the message, and the call was over.
        return
    size = int.from_bytes(app.data[1:5], "big")
    if app.data[:1] != b"\0" or len(app.data) != 5 + size:
        raise LawBrokenError(f"the app got {app.data!r}, which is not one message")
    name = _REQUESTS[app.head.path.decode().rpartition("/")[2]]
    try:
        types()[name].FromString(app.data[5:])
    except DecodeError as error:
        raise LawBrokenError(f"the app cannot read {app.data!r} as {name}: {error}") from None


def _judge_json(stream: Answer) -> None:
    head = stream.head
    if head is None or not stream.ended or field_value(head.fields, b"content-type") != b"application/json":
        return
    # Streams are lines; a single answer is one without an end.
    try:
        for line in stream.data.splitlines():
            json.loads(line)
    except ValueError as error:
        raise LawBrokenError(f"answered what is no JSON: {stream.data!r}: {error}") from None
