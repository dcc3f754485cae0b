"""How the workers of a sidecar share what it may let through: each limit's part, split by what each worker needs.

A limit that is the instance's alone is split among its workers in the same way as one that is leased from control.
"""

from __future__ import annotations

from collections.abc import Mapping

from remora.model.limits import RateLimit
from remora.model.shares import QuotaKey, split
from remora.sidecar.source.demand import Demand

MOVED = 0.02
"""A part that changes by less than this part of itself is not told."""


class Leases:
    """Of one sidecar's workers, by their numbers. Pure: it is told what came in which time."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._limits: Mapping[QuotaKey, RateLimit] = {}
        self._demands: dict[QuotaKey, dict[int, Demand]] = {}
        self._shares: dict[QuotaKey, float] = {}
        self._wanted: dict[QuotaKey, int] = {}
        self._told: dict[int, dict[QuotaKey, float]] = {}

    def follow(self, limits: Mapping[QuotaKey, RateLimit]) -> None:
        """From now on workers enforce these."""
        before, self._limits, self._demands = self._demands, limits, {}
        for key, limit in limits.items():
            by_worker = before.get(key) or {number: Demand(limit.rate) for number in range(self._workers)}
            for demand in by_worker.values():
                demand.follow(limit.rate)
            self._demands[key] = by_worker
        self._shares = {
            key: share for key, share in self._shares.items() if key in limits and limits[key].scope == "service"
        }
        for told in self._told.values():
            for key in told.keys() - limits.keys():
                del told[key]

    def reported(self, worker: int, wanted: Mapping[QuotaKey, int], seconds: float) -> None:
        """What a worker's requests needed of all its limits in the last `seconds`, above 0."""
        for key, count in wanted.items():
            if key in self._demands:
                self._demands[key][worker].observe(count, seconds)
                self._wanted[key] = self._wanted.get(key, 0) + count

    def started(self, worker: int) -> None:
        """A new process takes the place of a worker: it knows nothing yet."""
        self._told.pop(worker, None)

    def take_wanted(self) -> dict[QuotaKey, int]:
        """What all needed since the last call."""
        wanted, self._wanted = self._wanted, {}
        return wanted

    def lease(self, shares: Mapping[QuotaKey, float]) -> None:
        """The sidecar's parts of limits that it shares with others."""
        self._shares |= shares

    def news(self, worker: int) -> dict[QuotaKey, float]:
        """The parts that this worker has to be told now."""
        told = self._told.setdefault(worker, {})
        found: dict[QuotaKey, float] = {}
        for key, by_worker in self._demands.items():
            share = self._shares.get(key, 1.0)
            parts = split(self._limits[key], share, {number: demand.rate for number, demand in by_worker.items()})
            part = parts[worker] * share
            if key not in told or abs(part - told[key]) > MOVED * told[key]:
                found[key] = told[key] = part
        return found
