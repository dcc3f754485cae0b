"""The share of a route's requests that each backend takes: by chance, or by a key that stays with its backend. Pure.

By key it is weighted rendezvous hashing (Schindelhauer and Schomaker 2005): each backend has a score for the key,
-ln(u) / weight with a u in [0, 1) that only service, backend and key decide, and the lowest score wins. So a key moves
only to a backend whose weight has grown against that of its own: those who are in stay in while a canary grows.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence

from remora.model.names import ServiceName
from remora.model.routes import Backend
from remora.sidecar.policy.hashing import share_of

_LEAST = 2.0**-64
"""ln(0) is no number."""


class Split:
    """Over backends of a weight above 0, at least one."""

    __slots__ = ("_bounds", "_salts", "_weights")

    def __init__(self, service: ServiceName, backends: Sequence[Backend]) -> None:
        """`service`: that was asked for. Two services split the same users in ways of their own."""
        self._weights = [float(backend.weight) for backend in backends]
        self._bounds = list(itertools.accumulate(self._weights))
        self._salts = [f"{service} {backend.service} ".encode() for backend in backends]

    def draw(self, random: float) -> int:
        """The index of a backend by chance. `random` is in [0, 1)."""
        return bisect.bisect_right(self._bounds, random * self._bounds[-1])

    def place(self, key: bytes) -> int:
        """The index of the backend that `key` belongs to."""
        best = 0
        lowest = math.inf
        for index, salt in enumerate(self._salts):
            score = -math.log(max(share_of(salt + key), _LEAST)) / self._weights[index]
            if score < lowest:
                best, lowest = index, score
        return best
