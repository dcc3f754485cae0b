"""Load balancers: which of the usable endpoints gets the next request. Pure: chance and time are arguments.

* least request: power of two choices (Mitzenmacher; Envoy's LEAST_REQUEST), load is requests in flight by weight;
* round robin: in turns where the weights are equal, else by the earliest deadline (Envoy's);
* random: by weight;
* peak EWMA: power of two choices by the cost of `ewma.py`.

Those that keep a key with its endpoint are in `hashing.py`.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Protocol

from remora.model.policies import BalancerKind
from remora.sidecar.policy.ewma import PeakEwma

Random = Callable[[], float]
"""Gives numbers in [0, 1)."""

Clock = Callable[[], float]
"""Gives monotonic seconds."""


class Candidate(Protocol):
    """What a balancer looks at."""

    active: int
    """Requests in flight."""
    weight: int
    ewma: PeakEwma | None
    """Set where peak EWMA chooses."""


class Balancer(Protocol):
    """Made anew for each set of endpoints; `pick` gives an index into it."""

    def pick(self, random: Random) -> int: ...


class _Sampler:
    """Draws indexes in proportion to weights."""

    __slots__ = ("_bounds", "_count", "uniform")

    def __init__(self, weights: Sequence[int]) -> None:
        self._count = len(weights)
        self.uniform = len(set(weights)) <= 1
        """All weigh the same."""
        self._bounds = [] if self.uniform else list(itertools.accumulate(weights))

    def draw(self, random: Random) -> int:
        if not self._bounds:
            return int(random() * self._count)
        return bisect.bisect_right(self._bounds, random() * self._bounds[-1])


class LeastRequest:
    """Two drawn by weight, the one with fewer requests in flight for its weight wins; a tie goes to the first drawn.

    Ties are what idle endpoints have, so these get their weight's share. Where weights differ, both draws may be the
    same one: else the lighter of two would be looked at each time.
    """

    __slots__ = ("_candidates", "_sampler")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self._sampler = _Sampler([candidate.weight for candidate in candidates])

    def pick(self, random: Random) -> int:
        candidates, sampler = self._candidates, self._sampler
        if len(candidates) == 1:
            return 0
        first = sampler.draw(random)
        second = sampler.draw(random)
        if first == second and sampler.uniform:
            second = (first + 1) % len(candidates)
        a, b = candidates[first], candidates[second]
        return second if b.active * a.weight < a.active * b.weight else first


class PeakEwmaChoice:
    """Two drawn by weight, the cheaper one wins; a tie goes to the first drawn."""

    __slots__ = ("_candidates", "_clock", "_mean_weight", "_sampler")

    def __init__(self, candidates: Sequence[Candidate], clock: Clock) -> None:
        self._candidates = candidates
        self._clock = clock
        weights = [candidate.weight for candidate in candidates]
        self._sampler = _Sampler(weights)
        self._mean_weight = sum(weights) / len(weights)

    def pick(self, random: Random) -> int:
        sampler = self._sampler
        if len(self._candidates) == 1:
            return 0
        first = sampler.draw(random)
        second = sampler.draw(random)
        if first == second and sampler.uniform:
            second = (first + 1) % len(self._candidates)
        now = self._clock()
        return second if self.cost(second, now) < self.cost(first, now) else first

    def cost(self, index: int, now: float) -> float:
        """Of one more request there. What is idle and unknown costs nothing: the draw decides, which is by weight."""
        candidate = self._candidates[index]
        active = candidate.active * self._mean_weight / candidate.weight
        return active if candidate.ewma is None else candidate.ewma.cost(now, active)


class RoundRobin:
    """In turns. Where weights differ, each is due again after 1 / weight of a round, and who is due first is next: in
    any round of as many picks as all weigh together, each is picked as often as it weighs.

    Who begins is drawn by weight, so that many callers do not all begin with the same endpoint, and a balancer that is
    made anew for each change does not always begin with the heaviest. The others are due at any time of their first
    turn.
    """

    __slots__ = ("_count", "_due", "_gaps", "_next")

    def __init__(self, candidates: Sequence[Candidate], random: Random) -> None:
        weights = [candidate.weight for candidate in candidates]
        sampler = _Sampler(weights)
        self._count = len(weights)
        self._next = sampler.draw(random)
        self._gaps = [] if sampler.uniform else [1.0 / weight for weight in weights]
        self._due = [(gap * random(), index) for index, gap in enumerate(self._gaps)]
        """A heap; in rounds."""
        if self._due:
            self._due[self._next] = (0.0, self._next)
            heapq.heapify(self._due)

    def pick(self, random: Random) -> int:  # noqa: ARG002
        if not self._due:
            picked = self._next
            self._next = (picked + 1) % self._count
            return picked
        due, picked = self._due[0]
        heapq.heapreplace(self._due, (due + self._gaps[picked], picked))
        return picked


class RandomChoice:
    """By weight, without memory."""

    __slots__ = ("_sampler",)

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._sampler = _Sampler([candidate.weight for candidate in candidates])

    def pick(self, random: Random) -> int:
        return self._sampler.draw(random)


class Levels:
    """First draws a group by its share, then has the group's own balancer pick. Indexes go on from group to group."""

    __slots__ = ("_bounds", "_offsets", "balancers")

    def __init__(self, balancers: Sequence[Balancer], sizes: Sequence[int], shares: Sequence[float]) -> None:
        self.balancers = balancers
        self._offsets = [0, *itertools.accumulate(sizes)]
        self._bounds = list(itertools.accumulate(shares))

    def pick(self, random: Random) -> int:
        level = bisect.bisect_right(self._bounds, random() * self._bounds[-1])
        return self._offsets[level] + self.balancers[level].pick(random)


def make_balancer(kind: BalancerKind, candidates: Sequence[Candidate], random: Random, clock: Clock) -> Balancer:
    """The balancer of `kind`, which is none that hashes, over `candidates`, at least one, all of positive weight."""
    if kind == "round_robin":
        return RoundRobin(candidates, random)
    if kind == "random":
        return RandomChoice(candidates)
    if kind == "peak_ewma":
        return PeakEwmaChoice(candidates, clock)
    return LeastRequest(candidates)
