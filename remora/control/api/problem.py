"""Errors of the REST API: RFC 9457 problem documents."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus

import msgspec
from aiohttp import web

from remora.control.store.errors import StoreConflict, StoreDenied, StoreError, StoreRefused
from remora.documents.errors import DocumentError

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """An answer that is an error."""

    def __init__(self, status: HTTPStatus, detail: str, errors: Iterable[DocumentError] = ()) -> None:
        """`detail` is one sentence for people; `errors` are the faults of documents."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)

    def response(self) -> web.Response:
        body = {"type": "about:blank", "title": self.status.phrase, "status": self.status, "detail": self.detail}
        if self.errors:
            body["errors"] = self.errors
        return web.Response(status=self.status, body=msgspec.json.encode(body), content_type="application/problem+json")


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error leaves as a problem document."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except StoreError as error:
        notes: list[str] = getattr(error, "__notes__", [])
        return Problem(_status_of(error), "; ".join((str(error), *notes))).response()
    except web.HTTPException as error:
        return _of_aiohttp(error, request).response()
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        detail = "control failed to answer this request; its log has the reason"
        return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail).response()


def _status_of(error: StoreError) -> HTTPStatus:
    match error:
        case StoreConflict():
            return HTTPStatus.CONFLICT
        case StoreRefused():
            return HTTPStatus.UNPROCESSABLE_ENTITY
        case StoreDenied():
            return HTTPStatus.BAD_GATEWAY
        case _:
            return HTTPStatus.SERVICE_UNAVAILABLE


def _of_aiohttp(error: web.HTTPException, request: web.Request) -> Problem:
    match error:
        case web.HTTPNotFound():
            return Problem(HTTPStatus.NOT_FOUND, f"there is nothing at {request.path}")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return Problem(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.path} takes {allowed}, not {request.method}")
        case _:
            return Problem(HTTPStatus(error.status), error.text or error.reason)
