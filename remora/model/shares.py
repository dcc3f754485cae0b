"""How a limit is split among those that enforce it together. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from remora.model.limits import RateLimit

T = TypeVar("T")

QuotaKey = tuple[str, str]
"""(service, limit)."""

IDLE_SHARE = 0.02
"""Of the limit: what all that want next to nothing have together at least, so that the first request somewhere finds a
token."""
EQUAL_SHARE = 0.25
"""Of a limit that counts by key: what is shared equally whatever is demanded."""


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


def shares_by_key(limit: float, demands: Mapping[T, float]) -> dict[T, float]:
    """The share of each of a limit that counts by key, by what it demands of all keys together, in the same unit; they
    add up to 1.

    Each key has the limit for itself, and nobody tells how each key's requests are spread: taken to be as all are, most
    of the limit goes where they come. The rest is shared equally, for keys that are new somewhere. Demands of next to
    nothing count as equal ones.
    """
    equal, least = 1.0 / len(demands), IDLE_SHARE * limit / len(demands)
    total = sum(demands.values()) + IDLE_SHARE * limit
    return {who: EQUAL_SHARE * equal + (1.0 - EQUAL_SHARE) * (each + least) / total for who, each in demands.items()}


def split(limit: RateLimit, part: float, demands: Mapping[T, float]) -> dict[T, float]:
    """The shares of those that enforce `part` of a limit together, by what each demands in requests per second."""
    whole = limit.rate * part
    return shares_by_key(whole, demands) if limit.keys else max_min_shares(whole, demands)
