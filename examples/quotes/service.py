"""What the service knows to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from examples.quotes.model import DISCOUNT_PER_PIECE, LARGEST_DISCOUNT, LIST_CENTS, SWING_CENTS


class UnknownProductError(LookupError):
    """No supplier sells such a product."""


class QuoteService:
    """Makes quotes."""

    def quotes(self, product: str, count: int) -> Iterator[int]:
        """`count` quotes in cents, moving around the list price; raises UnknownProductError."""
        price = _list_price(product)
        return (price + SWING_CENTS[at % len(SWING_CENTS)] for at in range(count))

    def quote(self, product: str, quantity: int) -> int:
        """Cents for one piece when buying `quantity`; raises UnknownProductError."""
        discount = min(LARGEST_DISCOUNT, DISCOUNT_PER_PIECE * quantity)
        return round(_list_price(product) * (1 - discount))

    def total(self, orders: Iterable[tuple[str, int]]) -> int:
        """Cents for all (product, quantity) of `orders`; raises UnknownProductError."""
        return sum(self.quote(product, quantity) * quantity for product, quantity in orders)


def _list_price(product: str) -> int:
    try:
        return LIST_CENTS[product]
    except KeyError:
        raise UnknownProductError(product) from None
