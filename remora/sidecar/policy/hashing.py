"""Hashes that are the same in every process, and balancers that keep a key with its endpoint. Pure.

* ring hash: each endpoint has points on a ring in proportion to its weight, a key goes to the next point (Karger et al.
  1997; Envoy's RING_HASH);
* Maglev: each endpoint fills a table in turns by a permutation of its own (Eisenbud et al. 2016; Envoy's MAGLEV); it is
  more even, and a look-up is one index.

A table is of all endpoints, those that get nothing now too: these are passed over for the next on the way. So what goes
and comes back, as an ejected one does, moves no key of the others, and no table is made for it. (Envoy makes one of
those that are well.)

Both bound the load if asked to: an endpoint that has more requests in flight than so many times the mean is passed over
likewise (Mirrokni, Thorup, Zadimoghaddam 2016).
"""

from __future__ import annotations

import bisect
import itertools
import math
import struct
from array import array
from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import Protocol

from remora.model.policies import BalancerKind

POINTS = 160
"""Of the lightest endpoint on a ring (ketama's). It does not depend on how many endpoints there are, so that one that
comes or goes moves no key of the others (in Envoy's ring, which keeps its size, it does)."""

MAX_RING_POINTS = 32768
"""Where there would be more, all have fewer: a ring is made while requests wait."""

MAGLEV_SIZES = (16381, 65537)
"""Primes. The larger one, which Envoy always takes, is for over 163 endpoints: a table should have a hundred times as
many entries. It is not fitted any closer, since another size moves nearly all keys."""

_DIGEST = struct.Struct(">8Q")
_POINTS_A_HASH = 8
"""In one digest."""

_FREE = 0xFFFFFFFF


class Hashed(Protocol):
    """What these balancers look at."""

    active: int
    weight: int

    @property
    def key(self) -> bytes:
        """What it is known by on all sidecars, as its address."""


def hash_of(data: bytes) -> int:
    """64 bits, the same everywhere."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def share_of(data: bytes) -> float:
    """A number in [0, 1), the same everywhere: what chance would give, but for one key always the same."""
    return (hash_of(data) >> 11) / 2.0**53


class Table:
    """Which endpoint a key belongs to, and which come next on its way: `owners`, as indexes, from its place on in steps
    that lead to all of them."""

    __slots__ = ("owners",)

    def __init__(self, owners: Sequence[int]) -> None:
        self.owners = array("I", owners)

    def place(self, key: int) -> int:
        """Where the way of `key` begins."""
        raise NotImplementedError

    def step(self, key: int) -> int:
        """How far it is to the next place."""
        raise NotImplementedError


class Ring(Table):
    """A key goes to the next point."""

    __slots__ = ("_points",)

    def __init__(self, candidates: Sequence[Hashed]) -> None:
        lightest = min(candidate.weight for candidate in candidates)
        scale = min(POINTS / lightest, MAX_RING_POINTS / sum(candidate.weight for candidate in candidates))
        owners: dict[float, int] = {}
        for index, candidate in enumerate(candidates):
            for point in _points_of(candidate.key, max(1, round(scale * candidate.weight))):
                owners.setdefault(point, index)
        self._points = array("d", sorted(owners))
        Table.__init__(self, [owners[point] for point in self._points])

    def place(self, key: int) -> int:
        return bisect.bisect_left(self._points, float(key)) % len(self._points)

    def step(self, key: int) -> int:  # noqa: ARG002
        return 1


def _points_of(key: bytes, count: int) -> list[float]:
    """On a ring that goes from 0 to 2**64; floats sort much faster than such numbers."""
    points: list[float] = []
    for number in range(0, count, _POINTS_A_HASH):
        points += map(float, _DIGEST.unpack(blake2b(b"%s_%d" % (key, number)).digest()))
    return points[:count]


class Maglev(Table):
    """A key's place in the table names the endpoint."""

    __slots__ = ()

    def __init__(self, candidates: Sequence[Hashed]) -> None:
        count = len(candidates)
        size = next((size for size in MAGLEV_SIZES if size >= 100 * count), MAGLEV_SIZES[-1])
        Table.__init__(self, _maglev_owners(candidates, size))

    def place(self, key: int) -> int:
        return key % len(self.owners)

    def step(self, key: int) -> int:
        """Neighbours are no strangers: each endpoint has its places at even distances. So each key goes a way of its
        own, as in double hashing, and those of an endpoint that gets nothing go evenly to all others."""
        return (key >> 32) % (len(self.owners) - 1) + 1


def _maglev_owners(candidates: Sequence[Hashed], size: int) -> list[int]:
    """All have the first turn; then the heavier an endpoint, the more often: `weight / heaviest` of all turns."""
    places = [hash_of(b"offset " + candidate.key) % size for candidate in candidates]
    skips = [hash_of(b"skip " + candidate.key) % (size - 1) + 1 for candidate in candidates]
    heaviest = max(candidate.weight for candidate in candidates)
    gains = [candidate.weight / heaviest for candidate in candidates]
    order = sorted(range(len(candidates)), key=lambda index: candidates[index].key)
    owners = [_FREE] * size
    due = [1.0] * len(candidates)
    left = size
    while True:
        for index in order:
            if due[index] >= 1.0:
                due[index] -= 1.0
                place, skip = places[index], skips[index]
                while owners[place] != _FREE:
                    place = (place + skip) % size
                owners[place] = index
                places[index] = place
                left -= 1
                if not left:
                    return owners
            due[index] += gains[index]


def make_table(kind: BalancerKind, candidates: Sequence[Hashed]) -> Table:
    """The table of `kind`, which is one that hashes, over `candidates`, at least one, all of positive weight. Takes
    up to 50 ms where they are a thousand, and depends on nothing but their keys and weights."""
    return Maglev(candidates) if kind == "maglev" else Ring(candidates)


class HashBalancer(Protocol):
    """Made anew for each set of endpoints; indexes are those of this set."""

    def pick(self, key: int, passed_over: Collection[int] = (), active: int = 0) -> int:
        """The index for a request of hash `key`; if it is one of `passed_over` or has too much load, the next on the
        way that is not. `active` are the requests in flight at all together, which bounded load goes by."""


class ByTable:
    """Goes by a table of the candidates, of which those in `closed` get nothing. At least one does."""

    __slots__ = ("_bound", "_candidates", "_closed", "_table", "_weight")

    def __init__(
        self,
        table: Table,
        candidates: Sequence[Hashed],
        bounded_load: float | None = None,
        closed: frozenset[int] = frozenset(),
    ) -> None:
        self._table = table
        self._candidates = candidates
        self._bound = bounded_load
        self._closed = closed
        self._weight = sum(each.weight for index, each in enumerate(candidates) if index not in closed)

    def pick(self, key: int, passed_over: Collection[int] = (), active: int = 0) -> int:
        table = self._table
        place = table.place(key)
        owner = table.owners[place]
        if owner not in self._closed and owner not in passed_over and self._has_room(owner, active, self._weight):
            return owner
        return self._pick_on_the_way(place, table.step(key), passed_over, active)

    def _pick_on_the_way(self, place: int, step: int, passed_over: Collection[int], active: int) -> int:
        """The first on the way that may have one more; where all are passed over, the first of them."""
        count, owners = len(self._candidates), self._table.owners
        others = [index for index in passed_over if index not in self._closed]
        weight = self._weight - sum(self._candidates[index].weight for index in others)
        seen = set(self._closed)
        first = full = -1
        for _ in range(len(owners)):
            index = owners[place]
            place = (place + step) % len(owners)
            if index in seen:
                continue
            seen.add(index)
            if first < 0:
                first = index
            if index not in others:
                if self._has_room(index, active, weight):
                    return index
                if full < 0:
                    full = index
            if len(seen) == count:
                break
        return full if full >= 0 else first

    def _has_room(self, index: int, active: int, weight: int) -> bool:
        """Whether it may have one more than it has, by its part of the `weight` of all that are left. Not all of these
        are above their mean."""
        candidate, bound = self._candidates[index], self._bound
        return bound is None or candidate.active < math.ceil(bound * (active + 1) * candidate.weight / weight)


class HashLevels:
    """First a group by its share, which a key draws for itself, then the group's own balancer. Indexes go on from group
    to group."""

    __slots__ = ("_balancers", "_bounds", "_offsets", "_shares")

    def __init__(self, balancers: Sequence[HashBalancer], sizes: Sequence[int], shares: Sequence[float]) -> None:
        self._balancers = balancers
        self._offsets = [0, *itertools.accumulate(sizes)]
        self._bounds = list(itertools.accumulate(shares))
        self._shares = shares

    def pick(self, key: int, passed_over: Collection[int] = (), active: int = 0) -> int:
        # Rings go by the key's upper half, so this takes the lower one.
        drawn = (key & 0xFFFFFFFF) / 2.0**32
        first = bisect.bisect_right(self._bounds, drawn * self._bounds[-1])
        for step in range(len(self._balancers)):
            level = (first + step) % len(self._balancers)
            begin, end = self._offsets[level], self._offsets[level + 1]
            among = [index - begin for index in passed_over if begin <= index < end]
            picked = self._balancers[level].pick(key, among, math.ceil(active * self._shares[level]))
            if picked not in among:
                return begin + picked
        return self._offsets[first] + self._balancers[first].pick(key)
