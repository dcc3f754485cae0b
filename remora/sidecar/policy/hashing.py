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
import itertools
import math
import struct
from array import array
from collections.abc import Collection, Iterator, Sequence
from hashlib import blake2b
from typing import Protocol

from remora.model.policies import BalancerKind

POINTS = 160
"""Of the lightest endpoint on a ring (ketama's). It does not depend on how many endpoints there are, so that one that
comes or goes moves no key of the others (in Envoy's ring, which keeps its size, it does)."""

MAX_RING_POINTS = 32768
"""Where there would be more, all have fewer: a ring is made while requests wait."""

MAGLEV_SIZES = (16381, 65537)
"""Primes. The larger one, which Envoy always takes, is for over 163 units of weight: a table should have a hundred
times as many entries. It is not fitted any closer, since another size moves nearly all keys."""

_DIGEST = struct.Struct(">8Q")
_POINTS_A_HASH = 8
"""In one digest."""


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


class HashBalancer(Protocol):
    """Made anew for each set of endpoints; indexes are those of this set."""

    def pick(self, key: int, passed_over: Collection[int] = ()) -> int:
        """The index for a request of hash `key`; if it is one of `passed_over` or has too much load, the next on the
        way that is not."""


class RingHash:
    """A key goes to the next point."""

    __slots__ = ("_bound", "_candidates", "_owners", "_points")

    def __init__(self, candidates: Sequence[Hashed], bounded_load: float | None = None) -> None:
        self._candidates = candidates
        self._bound = bounded_load
        lightest = min(candidate.weight for candidate in candidates)
        scale = min(POINTS / lightest, MAX_RING_POINTS / sum(candidate.weight for candidate in candidates))
        owners: dict[float, int] = {}
        for index, candidate in enumerate(candidates):
            for point in _points_of(candidate.key, max(1, round(scale * candidate.weight))):
                # In a tie, which is most unlikely, the order of the candidates must not matter.
                other = owners.get(point)
                if other is None or candidate.key < candidates[other].key:
                    owners[point] = index
        self._points = array("d", sorted(owners))
        self._owners = array("I", [owners[point] for point in self._points])

    def pick(self, key: int, passed_over: Collection[int] = ()) -> int:
        place = bisect.bisect_left(self._points, float(key)) % len(self._owners)
        if self._bound is None and not passed_over:
            return self._owners[place]
        return _first_with_room(self._candidates, self._bound, _round(self._owners, place), passed_over)


def _points_of(key: bytes, count: int) -> list[float]:
    """On a ring that goes from 0 to 2**64; floats sort much faster than such numbers."""
    points: list[float] = []
    for number in range(0, count, _POINTS_A_HASH):
        points += map(float, _DIGEST.unpack(blake2b(b"%s_%d" % (key, number)).digest()))
    return points[:count]


class Maglev:
    """A key's place in the table names the endpoint."""

    __slots__ = ("_bound", "_candidates", "_table")

    def __init__(self, candidates: Sequence[Hashed], bounded_load: float | None = None) -> None:
        self._candidates = candidates
        self._bound = bounded_load
        self._table = _maglev_table(candidates, _maglev_size(candidates))

    def pick(self, key: int, passed_over: Collection[int] = ()) -> int:
        table = self._table
        place = key % len(table)
        if self._bound is None and not passed_over:
            return table[place]
        return _first_with_room(self._candidates, self._bound, _round(table, place), passed_over)


class HashLevels:
    """First a group by its share, which a key draws for itself, then the group's own balancer. Indexes go on from group
    to group."""

    __slots__ = ("_balancers", "_bounds", "_offsets")

    def __init__(self, balancers: Sequence[HashBalancer], sizes: Sequence[int], shares: Sequence[float]) -> None:
        self._balancers = balancers
        self._offsets = [0, *itertools.accumulate(sizes)]
        self._bounds = list(itertools.accumulate(shares))

    def pick(self, key: int, passed_over: Collection[int] = ()) -> int:
        # Rings go by the key's upper half, so this takes the lower one.
        drawn = (key & 0xFFFFFFFF) / 2.0**32
        first = bisect.bisect_right(self._bounds, drawn * self._bounds[-1])
        for step in range(len(self._balancers)):
            level = (first + step) % len(self._balancers)
            begin, end = self._offsets[level], self._offsets[level + 1]
            among = [index - begin for index in passed_over if begin <= index < end]
            if len(among) < end - begin:
                return begin + self._balancers[level].pick(key, among)
        return self._offsets[first] + self._balancers[first].pick(key)


def make_hash_balancer(kind: BalancerKind, candidates: Sequence[Hashed], bounded_load: float | None) -> HashBalancer:
    """The balancer of `kind`, which is one that hashes, over `candidates`, at least one, all of positive weight."""
    return Maglev(candidates, bounded_load) if kind == "maglev" else RingHash(candidates, bounded_load)


def _round(owners: Sequence[int], place: int) -> Iterator[int]:
    for step in range(len(owners)):
        yield owners[(place + step) % len(owners)]


def _maglev_size(candidates: Sequence[Hashed]) -> int:
    lightest = min(candidate.weight for candidate in candidates)
    units = sum(candidate.weight for candidate in candidates) / lightest
    return next((size for size in MAGLEV_SIZES if size >= 100 * units), MAGLEV_SIZES[-1])


def _maglev_table(candidates: Sequence[Hashed], size: int) -> array[int]:
    """The heavier an endpoint, the more often it has its turn: at `n` it has had `n · weight / heaviest` of them."""
    places = [hash_of(b"offset " + candidate.key) % size for candidate in candidates]
    skips = [hash_of(b"skip " + candidate.key) % (size - 1) + 1 for candidate in candidates]
    heaviest = max(candidate.weight for candidate in candidates)
    gains = [candidate.weight / heaviest for candidate in candidates]
    order = sorted(range(len(candidates)), key=lambda index: candidates[index].key)
    table = [_FREE] * size
    due = [0.0] * len(candidates)
    left = size
    while True:
        for index in order:
            due[index] += gains[index]
            if due[index] < 1.0:
                continue
            due[index] -= 1.0
            place, skip = places[index], skips[index]
            while table[place] != _FREE:
                place = (place + skip) % size
            table[place] = index
            places[index] = place
            left -= 1
            if not left:
                return array("I", table)


_FREE = 0xFFFFFFFF


def _first_with_room(
    candidates: Sequence[Hashed], bound: float | None, way: Iterator[int], passed_over: Collection[int]
) -> int:
    """The first on the way that may have one more, by its share of the weight. Of all, one always may: not all are
    above the mean."""
    skipped = set(passed_over)
    room = 0.0 if bound is None else _room_of_weight(candidates, bound)
    second_best = first = -1
    for index in way:
        if first < 0:
            first = index
        if index in skipped:
            continue
        if bound is None or candidates[index].active < math.ceil(room * candidates[index].weight):
            return index
        if second_best < 0:
            second_best = index
        skipped.add(index)
        if len(skipped) == len(candidates):
            break
    return second_best if second_best >= 0 else first


def _room_of_weight(candidates: Sequence[Hashed], bound: float) -> float:
    """How many requests may be in flight for each unit of weight, with the one that comes."""
    total = sum(candidate.active for candidate in candidates) + 1
    return bound * total / sum(candidate.weight for candidate in candidates)
