"""Load balancers: which of the usable endpoints gets the next request. Pure: the random number source is an argument.

* least request: power of two choices (Mitzenmacher; Envoy's LEAST_REQUEST), load is requests in flight by weight;
* round robin: smooth weighted (nginx), which is plain round robin when the weights are equal;
* random: by weight.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from typing import Protocol

from remora.model.policies import BalancerKind

Random = Callable[[], float]
"""Gives numbers in [0, 1)."""


class Candidate(Protocol):
    """What a balancer looks at."""

    active: int
    """Requests in flight."""
    weight: int


class Balancer(Protocol):
    """Made anew for each set of endpoints; `pick` gives an index into it."""

    def pick(self, random: Random) -> int: ...


class _Sampler:
    """Draws indexes in proportion to weights."""

    __slots__ = ("_bounds", "_count")

    def __init__(self, weights: Sequence[int]) -> None:
        self._count = len(weights)
        uniform = len(set(weights)) <= 1
        self._bounds = [] if uniform else list(itertools.accumulate(weights))

    def draw(self, random: Random) -> int:
        if not self._bounds:
            return int(random() * self._count)
        return bisect.bisect_right(self._bounds, random() * self._bounds[-1])


class LeastRequest:
    """Two drawn by weight, the one with fewer requests in flight for its weight wins; a tie goes to the first drawn."""

    __slots__ = ("_candidates", "_sampler")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self._sampler = _Sampler([candidate.weight for candidate in candidates])

    def pick(self, random: Random) -> int:
        candidates = self._candidates
        if len(candidates) == 1:
            return 0
        first = self._sampler.draw(random)
        second = self._sampler.draw(random)
        if first == second:
            second = (first + 1) % len(candidates)
        a, b = candidates[first], candidates[second]
        return second if (b.active + 1) * a.weight < (a.active + 1) * b.weight else first


class RoundRobin:
    """Smooth weighted round robin: each turn everyone gains its weight, the highest is picked and pays the total."""

    __slots__ = ("_credits", "_next", "_total", "_weights")

    def __init__(self, candidates: Sequence[Candidate], start: float = 0.0) -> None:
        """`start` in [0, 1) is where the turn begins, so that many callers do not all begin with the same endpoint."""
        self._weights = [candidate.weight for candidate in candidates]
        self._credits = [0] * len(candidates)
        self._total = sum(self._weights) if len(set(self._weights)) > 1 else 0
        self._next = int(start * len(candidates))

    def pick(self, random: Random) -> int:  # noqa: ARG002
        if not self._total:
            picked = self._next
            self._next = (picked + 1) % len(self._weights)
            return picked
        balance = self._credits
        for index, weight in enumerate(self._weights):
            balance[index] += weight
        picked = balance.index(max(balance))
        balance[picked] -= self._total
        return picked


class RandomChoice:
    """By weight, without memory."""

    __slots__ = ("_sampler",)

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._sampler = _Sampler([candidate.weight for candidate in candidates])

    def pick(self, random: Random) -> int:
        return self._sampler.draw(random)


def make_balancer(kind: BalancerKind, candidates: Sequence[Candidate], random: Random) -> Balancer:
    """The balancer of `kind` over `candidates`, at least one, all of positive weight."""
    if kind == "round_robin":
        return RoundRobin(candidates, random())
    if kind == "random":
        return RandomChoice(candidates)
    return LeastRequest(candidates)
