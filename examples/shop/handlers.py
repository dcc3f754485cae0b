"""The HTTP side: paths in, JSON out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from examples.common.settings import Settings
from examples.common.tracing import trace_headers
from examples.shop.clients import CallFailedError
from examples.shop.service import ShopService, UnknownProductError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ShopHandlers:
    """Answers `GET /` and `GET /products/{id}`."""

    def __init__(self, service: ShopService, settings: Settings) -> None:
        self._service = service
        self._who = {"version": settings.version, "instance": settings.instance}

    def add_to(self, app: web.Application) -> None:
        """Puts the routes into `app`."""
        app.middlewares.append(failed_calls)
        app.router.add_get("/", self.get_front_page)
        app.router.add_get("/products/{id}", self.get_product_page)

    async def get_front_page(self, request: web.Request) -> web.Response:
        """200 with all products and their prices."""
        products = await self._service.front_page(trace_headers(request.headers))
        return web.json_response({**self._who, "products": products})

    async def get_product_page(self, request: web.Request) -> web.Response:
        """200 with one product, its price and reviews; 404 for an unknown product."""
        id_ = request.match_info["id"]
        try:
            page = await self._service.product_page(id_, trace_headers(request.headers))
        except UnknownProductError:
            return web.json_response({**self._who, "error": f"no product {id_!r}"}, status=404)
        return web.json_response({**self._who, **page})


@web.middleware
async def failed_calls(request: web.Request, handler: Handler) -> web.StreamResponse:
    """502 that says which service behind the shop failed, and how."""
    try:
        return await handler(request)
    except CallFailedError as error:
        return web.json_response({"error": str(error)}, status=502)
