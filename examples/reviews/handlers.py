"""The HTTP side: paths in, JSON out."""

from __future__ import annotations

from aiohttp import web

from examples.common.settings import Settings
from examples.reviews.service import ReviewService, UnknownProductError


class ReviewHandlers:
    """Answers `GET /reviews/{product}`."""

    def __init__(self, service: ReviewService, settings: Settings) -> None:
        self._service = service
        self._who = {"version": settings.version, "instance": settings.instance}

    def app(self) -> web.Application:
        """The application with its routes."""
        app = web.Application()
        app.router.add_get("/reviews/{product}", self.get_reviews)
        return app

    async def get_reviews(self, request: web.Request) -> web.Response:
        """200 with the reviews, version and instance; 404 for an unknown product."""
        product = request.match_info["product"]
        try:
            found = self._service.reviews_of(product)
        except UnknownProductError:
            return web.json_response({"error": f"no reviews of {product!r}", **self._who}, status=404)
        return web.json_response({"product": product, **self._who, **found})
