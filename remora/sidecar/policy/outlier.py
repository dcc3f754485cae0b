"""Outlier ejection: endpoints that fail are left out for a while. Pure: the time is an argument.

Semantics are Envoy's: so many failures in a row eject at once; the n-th ejection of an endpoint lasts n times the base,
and each quiet interval of the base takes one off n again; who comes back has failed at nothing yet; no more than a
share of the endpoints is out at a time, but one always may be where there are others. Success rate: at the end of each
interval, endpoints whose rate is so many standard deviations below the mean of all are ejected.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from remora.model.policies import Outlier, SuccessRate


class OutlierState:
    """What is known of one endpoint."""

    __slots__ = ("ejected_until", "ejections", "failed", "failures", "returned_at", "succeeded")

    def __init__(self) -> None:
        self.failures = 0
        """In a row."""
        self.succeeded = 0
        """In this interval of the success rate."""
        self.failed = 0
        self.ejections = 0
        """How often it was ejected lately: the next one is so many times longer."""
        self.ejected_until = 0.0
        """0: it is not ejected."""
        self.returned_at = 0.0

    def on_success(self) -> None:
        self.failures = 0
        self.succeeded += 1


def may_eject(config: Outlier, ejected: int, endpoints: int) -> bool:
    """Whether one more of the endpoints may be left out."""
    if endpoints <= 1:
        return False
    return ejected == 0 or (ejected + 1) <= config.max_share * endpoints


def eject(config: Outlier, state: OutlierState, now: float) -> float:
    """Leave it out from now on; until when."""
    quiet = int(max(0.0, now - state.returned_at) / config.base_s) if state.ejections else 0
    longest_s = max(config.base_s, config.max_s)
    # More than those that make it longer are not remembered: so many quiet intervals would have to forgive them.
    state.ejections = min(max(0, state.ejections - quiet) + 1, math.ceil(longest_s / config.base_s))
    state.ejected_until = now + min(longest_s, config.base_s * state.ejections)
    return state.ejected_until


def return_due(state: OutlierState, now: float) -> bool:
    """Take it back if its time is over; whether it is."""
    if not state.ejected_until or now < state.ejected_until:
        return False
    take_back(state, state.ejected_until)
    return True


def take_back(state: OutlierState, now: float) -> None:
    """Use it again. What still failed while it was out is forgotten."""
    state.returned_at = now
    state.ejected_until = 0.0
    state.failures = 0


def below_the_others(config: SuccessRate, states: Sequence[OutlierState]) -> list[int]:
    """The indexes of those that succeed too rarely in this interval, the worst first; a new interval begins. Who is
    ejected is not judged."""
    rates = {
        index: state.succeeded / (state.succeeded + state.failed)
        for index, state in enumerate(states)
        if not state.ejected_until and state.succeeded + state.failed >= max(1, config.volume)
    }
    begin_interval(states)
    if len(rates) < config.min_endpoints:
        return []
    mean = statistics.fmean(rates.values())
    bound = mean - config.deviations * statistics.pstdev(rates.values(), mean)
    return sorted((index for index, rate in rates.items() if rate < bound), key=rates.__getitem__)


def begin_interval(states: Sequence[OutlierState]) -> None:
    """Count successes and failures from zero on."""
    for state in states:
        state.succeeded = state.failed = 0
