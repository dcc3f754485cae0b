"""What the shop knows to do: put a page together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from examples.shop.clients import PricesClient, ReviewsClient
from examples.shop.model import PRODUCTS, Product


class UnknownProductError(LookupError):
    """The shop does not sell such a product."""


class ShopService:
    """Lists products and describes them. `headers` are the trace headers to hand on to other services."""

    def __init__(self, reviews: ReviewsClient, prices: PricesClient) -> None:
        self._reviews = reviews
        self._prices = prices

    async def front_page(self, headers: Mapping[str, str]) -> list[dict[str, Any]]:
        """Every product with its price."""
        prices = await asyncio.gather(*(self._prices.price_of(id_, headers) for id_ in PRODUCTS))
        return [_listed(product) | {"price": price} for product, price in zip(PRODUCTS.values(), prices, strict=True)]

    async def product_page(self, id_: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """One product with price and reviews; raises UnknownProductError."""
        if id_ not in PRODUCTS:
            raise UnknownProductError(id_)
        price, reviews = await asyncio.gather(
            self._prices.price_of(id_, headers), self._reviews.reviews_of(id_, headers)
        )
        return _listed(PRODUCTS[id_]) | {"price": price, "reviews": reviews}


def _listed(product: Product) -> dict[str, Any]:
    return {"id": product.id, "title": product.title}
