"""A small site on the sidecar's own HTTP/1 codec: a path, an answer. No framework: idle memory is a feature."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.problem import problem
from remora.sidecar.wire.stream import RequestHandler, RequestStream, ResetReason

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """What a page may look at: the query string and the Accept field."""

    query: str
    accept: str


PageMaker = Callable[[Question], Page | Awaitable[Page]]


class Site:
    """Answers requests by (method, path). Calling it serves one request: it is a RequestHandlerFactory."""

    __slots__ = ("_pages",)

    def __init__(self, pages: Mapping[tuple[str, str], PageMaker]) -> None:
        self._pages = pages

    def __call__(self, stream: RequestStream, head: RequestHead, end: bool) -> RequestHandler:  # noqa: ARG002
        path, _, query = head.path.decode("latin-1").partition("?")
        method = head.method.decode("latin-1")
        maker = self._pages.get(("GET" if method == "HEAD" else method, path))
        if maker is None:
            _send(stream, head, *self._missing(method, path))
            return _Answered()
        accept = b", ".join(value for name, value in head.fields if name.lower() == b"accept")
        try:
            page = maker(Question(query, accept.decode("latin-1")))
        except Exception:
            _send(stream, head, *_failed(path))
            return _Answered()
        if not isinstance(page, Page):
            return _Waiting(stream, head, path, page)
        _send(stream, head, *_rendered(page))
        return _Answered()

    def _missing(self, method: str, path: str) -> tuple[ResponseHead, bytes]:
        allowed = [known for known, where in self._pages if where == path]
        if allowed:
            return problem(405, "method_not_allowed", f"{path} takes {', '.join(allowed)}, not {method}")
        there = ", ".join(sorted({where for _, where in self._pages}))
        return problem(404, "not_found", f"there is no {path} here, but {there}")


class _Answered:
    """A request's body is of no interest; the answer is complete before it could matter."""

    __slots__ = ()

    def on_data(self, data: bytes, end: bool) -> None: ...

    def on_trailers(self, trailers: Fields) -> None: ...

    def on_reset(self, reason: ResetReason) -> None: ...

    def on_writable(self, writable: bool) -> None: ...


class _Waiting(_Answered):
    """A request whose page takes a moment to make."""

    __slots__ = ("_path", "_task")

    def __init__(self, stream: RequestStream, head: RequestHead, path: str, page: Awaitable[Page]) -> None:
        self._path = path
        self._task = asyncio.get_running_loop().create_task(self._answer(stream, head, page), name=f"page {path}")

    def on_reset(self, reason: ResetReason) -> None:  # noqa: ARG002
        self._task.cancel()

    async def _answer(self, stream: RequestStream, head: RequestHead, making: Awaitable[Page]) -> None:
        try:
            answer = _rendered(await making)
        except Exception:
            answer = _failed(self._path)
        _send(stream, head, *answer)


def _send(stream: RequestStream, head: RequestHead, answer: ResponseHead, body: bytes) -> None:
    bodiless = not body or head.method == b"HEAD"
    stream.send_head(answer, bodiless)
    if not bodiless:
        stream.send_data(body, True)


def _rendered(page: Page) -> tuple[ResponseHead, bytes]:
    fields: Fields = [(b"content-type", page.content_type.encode()), (b"cache-control", b"no-store")]
    return ResponseHead(page.status, fields, content_length=len(page.body)), page.body


def _failed(path: str) -> tuple[ResponseHead, bytes]:
    log.exception("the page %s failed", path)
    return problem(500, "internal", "this page failed; the sidecar's log says how")
