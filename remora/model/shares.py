"""How a limit is split among those that enforce it together. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

QuotaKey = tuple[str, str]
"""(service, limit)."""

IDLE_SHARE = 0.02
"""Of the limit: what all that want next to nothing have together at least, so that the first request somewhere finds a
token."""


def max_min_shares(limit: float, demands: Mapping[T, float]) -> dict[T, float]:
    """The share of `limit` of each, by what it demands, in the same unit; they add up to 1.

    Max-min fair: who demands less than an equal part has its demand; the others share equally what that leaves. What
    nobody demands is shared equally by all, for what comes next. Nobody has nothing: a demand counts as at least an
    equal part of IDLE_SHARE.
    """
    if not demands:
        return {}
    least = IDLE_SHARE * limit / len(demands)
    left, shares = limit, {}
    waiting = sorted(demands, key=demands.__getitem__)
    for place, who in enumerate(waiting):
        part = min(max(demands[who], least), left / (len(waiting) - place))
        shares[who] = part
        left -= part
    spare = max(left, 0.0) / len(shares)
    return {who: min((part + spare) / limit, 1.0) for who, part in shares.items()}


def proportional_shares(demands: Mapping[T, float]) -> dict[T, float]:
    """Shares in proportion to demands, or equal ones where nothing is demanded; they add up to 1, and none is nothing.

    For parts of one whole, of which no one has a claim of its own.
    """
    total = sum(demands.values())
    if not total:
        return {who: 1.0 / len(demands) for who in demands}
    idle = IDLE_SHARE / len(demands)
    return {who: idle + (1.0 - IDLE_SHARE) * demand / total for who, demand in demands.items()}
