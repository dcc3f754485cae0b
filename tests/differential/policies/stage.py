"""What is played on the upstreams of one proxy, and what arrived at them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

from tests.differential.policies.asks import Act, Ask
from tests.differential.policies.tables import SHADOW

CASE = b"x-case"
"""Names the case that a request belongs to."""
ATTEMPT = b"x-attempt"
"""In an answer: of which attempt it is, from 0."""

Fields = tuple[tuple[bytes, bytes], ...]


@dataclasses.dataclass(frozen=True)
class Arrival:
    """A request as it arrived."""

    backend: str
    port: int
    method: bytes
    target: bytes
    fields: Fields
    """Names in lower case."""
    length: int
    """Of its body."""


class Playing(Protocol):
    """What upstreams are told to do."""

    def on_arrival(self, case: bytes, arrival: Arrival) -> tuple[int, Act]:
        """The number of the attempt, and what to do."""

    def hold(self, answer: Callable[[], None]) -> None:
        """Keep an answer until it is wanted."""


class Stage:
    """The cases that are played now."""

    def __init__(self) -> None:
        self._asks: dict[bytes, Ask] = {}
        self._arrivals: dict[bytes, list[Arrival]] = {}
        self._copies: dict[bytes, list[Arrival]] = {}

    def begin(self, case: bytes, ask: Ask) -> None:
        self._asks[case] = ask
        self._arrivals[case] = []
        self._copies[case] = []

    def copies(self, case: bytes) -> int:
        """How many have arrived so far."""
        return len(self._copies[case])

    def end(self, case: bytes) -> tuple[list[Arrival], list[Arrival]]:
        """What arrived: requests, and copies of them."""
        del self._asks[case]
        return self._arrivals.pop(case), self._copies.pop(case)

    def on_arrival(self, case: bytes, arrival: Arrival) -> tuple[int, Act]:
        arrivals = self._arrivals.get(case)
        if arrivals is None:
            return 0, Act("reset")
        if arrival.backend == SHADOW:
            self._copies[case].append(arrival)
            return 0, self._asks[case].mirrored
        arrivals.append(arrival)
        return len(arrivals) - 1, self._asks[case].act(len(arrivals) - 1)

    def hold(self, answer: Callable[[], None]) -> None:
        raise AssertionError("nobody would let it go")
