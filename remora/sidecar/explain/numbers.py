"""Numbers as people say them."""

from __future__ import annotations


def seconds(value: float) -> str:
    """0.025 → 25 ms, 15 → 15 s, 300 → 5 min."""
    if 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value / 60:.3g} min" if value >= 120 else f"{value:.3g} s"


def limit(value: float, what: str = "no limit") -> str:
    """Seconds, where 0 stands for none."""
    return seconds(value) if value else what


def percent(share: float) -> str:
    return f"{share * 100:.4g} %"


def count(number: int, one: str, many: str = "") -> str:
    """1 retry, 2 retries."""
    return f"{number} {one if number == 1 else many or one + 's'}"
