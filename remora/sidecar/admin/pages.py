"""A small site on the sidecar's own HTTP/1 codec: a path, an answer. No framework: idle memory is a feature."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.problem import problem
from remora.sidecar.wire.stream import RequestStream, ResetReason

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


PageMaker = Callable[[Question], Page]


class Site:
    """Answers requests by (method, path). Calling it serves one request: it is a RequestHandlerFactory."""

    __slots__ = ("_pages",)

    def __init__(self, pages: Mapping[tuple[str, str], PageMaker]) -> None:
        self._pages = pages

    def __call__(self, stream: RequestStream, head: RequestHead, end: bool) -> Site:  # noqa: ARG002
        answer, body = self._answer(head)
        stream.send_head(answer, not body)
        if body:
            stream.send_data(body, True)
        return self

    def _answer(self, head: RequestHead) -> tuple[ResponseHead, bytes]:
        path, _, query = head.path.decode("latin-1").partition("?")
        method = head.method.decode("latin-1")
        maker = self._pages.get(("GET" if method == "HEAD" else method, path))
        if maker is None:
            return self._missing(method, path)
        accept = b", ".join(value for name, value in head.fields if name.lower() == b"accept")
        try:
            page = maker(Question(query, accept.decode("latin-1")))
        except Exception:
            log.exception("the page %s failed", path)
            return problem(500, "internal", "this page failed; the sidecar's log says how")
        fields: Fields = [(b"content-type", page.content_type.encode()), (b"cache-control", b"no-store")]
        return ResponseHead(page.status, fields, content_length=len(page.body)), page.body

    def _missing(self, method: str, path: str) -> tuple[ResponseHead, bytes]:
        allowed = [known for known, where in self._pages if where == path]
        if allowed:
            return problem(405, "method_not_allowed", f"{path} takes {', '.join(allowed)}, not {method}")
        there = ", ".join(sorted({where for _, where in self._pages}))
        return problem(404, "not_found", f"there is no {path} here, but {there}")

    # A request's body is of no interest; the answer is complete before it could matter.

    def on_data(self, data: bytes, end: bool) -> None: ...

    def on_trailers(self, trailers: Fields) -> None: ...

    def on_reset(self, reason: ResetReason) -> None: ...

    def on_writable(self, writable: bool) -> None: ...
