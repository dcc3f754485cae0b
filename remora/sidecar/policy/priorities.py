"""Priority levels: which part of the requests goes to which group of endpoints, the nearest first. Pure.

Envoy's rule: a level whose usable endpoints are, times OVERPROVISIONING, at least as many as all its endpoints takes
everything; else it takes that share, and the rest goes on to the next level. When all levels together cannot take
everything, each is scaled up, and those with too few usable endpoints panic: all their endpoints are used. When all
panic, requests are spread by the number of endpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

OVERPROVISIONING = 1.4
"""Envoy's default: requests leave a level once fewer than 72 % of its endpoints are usable."""


class LevelLoad(NamedTuple):
    """What a level gets."""

    share: float
    """Of the requests."""
    panic: bool
    """Health is not believed there: all its endpoints are used."""


def load_levels(levels: Sequence[tuple[int, int]], panic_share: float) -> list[LevelLoad]:
    """What each level gets, by its numbers of usable and of all endpoints; the nearest is first."""
    if len(levels) == 1:
        usable, total = levels[0]
        return [LevelLoad(1.0, usable < panic_share * total)]
    health = [min(1.0, OVERPROVISIONING * usable / total) if total else 0.0 for usable, total in levels]
    together = min(1.0, sum(health))
    panic = [together < 1.0 and usable < panic_share * total for usable, total in levels]
    everyone = sum(total for _, total in levels)
    if everyone and all(panics or not total for panics, (_, total) in zip(panic, levels, strict=True)):
        shares = [total / everyone for _, total in levels]
    else:
        shares = _fill(health, together)
    return [LevelLoad(share, panics) for share, panics in zip(shares, panic, strict=True)]


def _fill(health: Sequence[float], together: float) -> list[float]:
    left, shares = 1.0, []
    for own in health:
        share = min(left, own / together) if together else 0.0
        shares.append(share)
        left = max(0.0, left - share)
    return shares


def levels_of_zones(zones: Sequence[str], own: str, failover: Sequence[str]) -> list[list[int]]:
    """The indexes of endpoints in `zones`, by level: those in our own zone, those in each zone of `failover` in its
    order, and all others together. Levels without endpoints are left out."""
    order = [own, *failover]
    levels: list[list[int]] = [[] for _ in range(len(order) + 1)]
    for index, zone in enumerate(zones):
        levels[order.index(zone) if zone in order else len(order)].append(index)
    return [level for level in levels if level]
