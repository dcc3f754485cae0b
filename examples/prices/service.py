"""What the service knows to do."""

from __future__ import annotations

from examples.prices.model import PRICES, Amount


class UnknownProductError(LookupError):
    """There is no such product."""


class PriceService:
    """Looks prices up."""

    def price_of(self, product: str) -> Amount:
        """What `product` costs; raises UnknownProductError."""
        try:
            return PRICES[product]
        except KeyError:
            raise UnknownProductError(product) from None
