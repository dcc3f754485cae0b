"""Products, as the shop lists them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """Something to buy."""

    id: str
    title: str


PRODUCTS: dict[str, Product] = {
    product.id: product
    for product in (
        Product("mask", "Diving mask"),
        Product("fins", "Travel fins"),
        Product("snorkel", "Snorkel"),
    )
}
