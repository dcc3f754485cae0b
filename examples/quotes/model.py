"""What suppliers ask for, and how they give way."""

from __future__ import annotations

LIST_CENTS: dict[str, int] = {"mask": 3100, "fins": 5600, "snorkel": 900}
"""For one piece."""

DISCOUNT_PER_PIECE = 0.01
LARGEST_DISCOUNT = 0.25
SWING_CENTS = (0, 12, 25, 12, 0, -12, -25, -12)
"""How far quotes move around the list price, one after the other."""
