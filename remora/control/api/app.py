"""The aiohttp application: requests → Documents and views."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from remora.control.api.documents import Documents
from remora.control.api.problem import Problem, problems
from remora.control.api.view import Readiness, StatusView
from remora.documents.kinds import KINDS, DocumentKey, find_kind

MAX_BODY_BYTES = 8 * 1024 * 1024


def build_app(
    documents: Documents,
    readiness: Readiness,
    registry: CollectorRegistry,
    status: Callable[[], StatusView],
) -> web.Application:
    """The whole REST API; `status` makes a view of this moment."""
    api = _Api(documents, readiness, registry, status)
    app = web.Application(middlewares=[problems], client_max_size=MAX_BODY_BYTES)
    one = "/api/v1/documents/{kind}/{namespace}/{name}"
    app.add_routes(
        [
            web.get("/api/v1/documents", api.list),
            web.get(one, api.get),
            web.delete(one, api.delete),
            web.post("/api/v1/apply", api.apply),
            web.get("/api/v1/status", api.status),
            web.get("/metrics", api.metrics),
            web.get("/healthz/live", api.live),
            web.get("/healthz/ready", api.ready),
        ]
    )
    return app


class _Api:
    """The handlers."""

    def __init__(
        self,
        documents: Documents,
        readiness: Readiness,
        registry: CollectorRegistry,
        status: Callable[[], StatusView],
    ) -> None:
        self._documents = documents
        self._readiness = readiness
        self._registry = registry
        self._status = status

    async def list(self, request: web.Request) -> web.Response:
        kind = request.query.get("kind")
        found = await self._documents.find(_kind(kind) if kind else None, request.query.get("namespace"))
        return _json({"items": found})

    async def get(self, request: web.Request) -> web.Response:
        return _json(await self._documents.get(_key(request)))

    async def delete(self, request: web.Request) -> web.Response:
        key = _key(request)
        await self._documents.delete(key)
        return _json({"document": str(key), "result": "deleted"})

    async def apply(self, request: web.Request) -> web.Response:
        try:
            text = (await request.read()).decode()
        except UnicodeDecodeError:
            raise Problem(HTTPStatus.BAD_REQUEST, "the body is not UTF-8 text") from None
        dry_run = _flag(request, "dry-run")
        return _json({"results": await self._documents.apply(text, dry_run=dry_run)})

    async def status(self, _request: web.Request) -> web.Response:
        return _json(self._status())

    async def metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    async def live(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(self, _request: web.Request) -> web.Response:
        missing = self._readiness.missing()
        if missing:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(missing))
        return web.Response(text="ok\n")


def _kind(text: str) -> str:
    kind = find_kind(text)
    if kind is None:
        raise Problem(HTTPStatus.BAD_REQUEST, f"there is no kind {text!r} (allowed: {', '.join(KINDS)})")
    return kind


def _key(request: web.Request) -> DocumentKey:
    """Kinds that the mesh does not know are let through: somebody may have written such a key, and wants it gone."""
    info = request.match_info
    return DocumentKey(find_kind(info["kind"]) or info["kind"], info["namespace"], info["name"])


def _flag(request: web.Request, name: str) -> bool:
    text = request.query.get(name, "false")
    if text not in ("true", "false"):
        raise Problem(HTTPStatus.BAD_REQUEST, f"{name} must be true or false, not {text!r}")
    return text == "true"


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
