"""What the service knows to do."""

from __future__ import annotations

COUNTS = {"mask": 40, "snorkel": 25, "fins": 12}


class StockError(Exception):
    """There is no such product, or not as much of it."""


class StockService:
    """Counts products, and lets them be taken."""

    def __init__(self) -> None:
        self._counts = dict(COUNTS)

    def count(self, product: str) -> int:
        """How much of `product` is left; raises StockError."""
        if product not in self._counts:
            raise StockError(f"no product {product!r}")
        return self._counts[product]

    def take(self, product: str, number: int) -> int:
        """Take `number` of `product` away; what is left. Raises StockError."""
        left = self.count(product) - number
        if left < 0:
            raise StockError(f"not as many of {product!r}")
        self._counts[product] = left
        return left
