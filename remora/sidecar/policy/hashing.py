"""Hashes that are the same in every process, and balancers that keep a key with its endpoint. Pure.

* ring hash: each endpoint has points on a ring in proportion to its weight, a key goes to the next point (Karger et al.
  1997; Envoy's RING_HASH);
* Maglev: each endpoint fills a table in turns by a permutation of its own (Eisenbud et al. 2016; Envoy's MAGLEV); it is
  more even, and a look-up is one index.

Both bound the load if asked to: an endpoint that has more requests in flight than so many times the mean is passed over
for the next on the way (Mirrokni, Thorup, Zadimoghaddam 2016).
"""

from __future__ import annotations

import bisect
import math
from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Protocol

POINTS = 160
"""Of the lightest endpoint on a ring (ketama's). It does not depend on how many endpoints there are, so that one that
comes or goes moves no key of the others (in Envoy's ring, which keeps its size, it does)."""

MAX_RING_POINTS = 65536
"""Where there would be more, all have fewer."""

MAGLEV_SIZES = (251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65537)
"""Primes; the table has at least a hundred entries for each unit of weight, if one of these is large enough."""

_SPACE = 2.0**64


class Hashed(Protocol):
    """What these balancers look at."""

    active: int
    weight: int

    @property
    def key(self) -> bytes:
        """What it is known by on all sidecars, as its id."""


def hash_of(data: bytes) -> int:
    """64 bits, the same everywhere."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def share_of(data: bytes) -> float:
    """A number in [0, 1), the same everywhere: what chance would give, but for one key always the same."""
    return (hash_of(data) >> 11) / 2.0**53


class RingHash:
    """Made anew for each set of endpoints."""

    __slots__ = ("_bound", "_candidates", "_owners", "_points")

    def __init__(self, candidates: Sequence[Hashed], bounded_load: float | None = None) -> None:
        self._candidates = candidates
        self._bound = bounded_load
        lightest = min(candidate.weight for candidate in candidates)
        scale = min(POINTS / lightest, MAX_RING_POINTS / sum(candidate.weight for candidate in candidates))
        points = sorted(
            (hash_of(b"%s_%d" % (candidate.key, number)), index)
            for index, candidate in enumerate(candidates)
            for number in range(max(1, round(scale * candidate.weight)))
        )
        self._points = array("Q", (point for point, _ in points))
        self._owners = array("I", (owner for _, owner in points))

    def pick(self, key: int) -> int:
        """The index for a request of hash `key`."""
        place = bisect.bisect_left(self._points, key) % len(self._owners)
        if self._bound is None:
            return self._owners[place]
        return _first_with_room(self._candidates, self._bound, self._way(place))

    def _way(self, place: int) -> Iterator[int]:
        owners = self._owners
        for step in range(len(owners)):
            yield owners[(place + step) % len(owners)]


class Maglev:
    """Made anew for each set of endpoints."""

    __slots__ = ("_bound", "_candidates", "_table")

    def __init__(self, candidates: Sequence[Hashed], bounded_load: float | None = None) -> None:
        self._candidates = candidates
        self._bound = bounded_load
        self._table = _maglev_table(candidates, _maglev_size(candidates))

    def pick(self, key: int) -> int:
        """The index for a request of hash `key`."""
        table = self._table
        place = key % len(table)
        if self._bound is None:
            return table[place]
        return _first_with_room(self._candidates, self._bound, self._way(place))

    def _way(self, place: int) -> Iterator[int]:
        table = self._table
        for step in range(len(table)):
            yield table[(place + step) % len(table)]


def _maglev_size(candidates: Sequence[Hashed]) -> int:
    lightest = min(candidate.weight for candidate in candidates)
    units = sum(candidate.weight for candidate in candidates) / lightest
    return next((size for size in MAGLEV_SIZES if size >= 100 * units), MAGLEV_SIZES[-1])


def _maglev_table(candidates: Sequence[Hashed], size: int) -> array[int]:
    """The heavier an endpoint, the more often it has its turn: at `n` it has had `n · weight / heaviest` of them."""
    offsets = [hash_of(b"offset " + candidate.key) % size for candidate in candidates]
    skips = [hash_of(b"skip " + candidate.key) % (size - 1) + 1 for candidate in candidates]
    heaviest = max(candidate.weight for candidate in candidates)
    order = sorted(range(len(candidates)), key=lambda index: candidates[index].key)
    table = array("I", [_FREE]) * size
    due = [0.0] * len(candidates)
    steps = [0] * len(candidates)
    filled = 0
    while True:
        for index in order:
            due[index] += candidates[index].weight / heaviest
            if due[index] < 1.0:
                continue
            due[index] -= 1.0
            place = (offsets[index] + skips[index] * steps[index]) % size
            while table[place] != _FREE:
                steps[index] += 1
                place = (offsets[index] + skips[index] * steps[index]) % size
            table[place] = index
            steps[index] += 1
            filled += 1
            if filled == size:
                return table


_FREE = 0xFFFFFFFF


def _first_with_room(candidates: Sequence[Hashed], bound: float, way: Iterator[int]) -> int:
    """The first on the way that may have one more; by its share of the weight. One always may: not all are above the
    mean."""
    total = sum(candidate.active for candidate in candidates) + 1
    weight = sum(candidate.weight for candidate in candidates)
    full: set[int] = set()
    first = -1
    for index in way:
        if first < 0:
            first = index
        if index in full:
            continue
        candidate = candidates[index]
        if candidate.active < math.ceil(bound * total * candidate.weight / weight):
            return index
        full.add(index)
    return first
