"""Prices, as the service keeps them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Amount:
    """Money, in the smallest unit of its currency."""

    cents: int
    currency: str = "EUR"


PRICES: dict[str, Amount] = {
    "mask": Amount(4900),
    "fins": Amount(8950),
    "snorkel": Amount(1990),
}
