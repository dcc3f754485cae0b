"""What a cluster chooses from: made anew when an endpoint or the policy has changed, so that requests need not look.

endpoints ─► levels by zone (`policy/priorities.py`) ─► the usable ones of each, or all in panic ─► a balancer
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from remora.model.policies import Balancer as BalancerPolicy
from remora.model.policies import Locality, ServicePolicy
from remora.sidecar.policy.balancer import Balancer, LeastRequest, Levels, PeakEwmaChoice, make_balancer
from remora.sidecar.policy.ewma import PeakEwma
from remora.sidecar.policy.hashing import HashBalancer, HashLevels, make_hash_balancer
from remora.sidecar.policy.priorities import LevelLoad, levels_of_zones, load_levels
from remora.sidecar.policy.slow_start import UNITS, weights
from remora.sidecar.upstream.endpoint import UpstreamEndpoint

HASHING = ("ring_hash", "maglev")


class Level:
    """Endpoints that are equally near."""

    __slots__ = ("endpoints", "load", "usable", "well")

    def __init__(self, endpoints: Sequence[UpstreamEndpoint], well: Sequence[UpstreamEndpoint], load: LevelLoad):
        self.endpoints = endpoints
        self.well = well
        self.load = load
        self.usable = [endpoint for endpoint in endpoints if endpoint.takes_attempts] if load.panic else well
        """Those that get its requests. In panic ejections and what endpoints say are not believed, breakers are."""


Recipe = tuple[object, ...]


class Choice:
    """`balancer` or `hashed` is set, by policy; neither when nothing is usable. Their indexes are those of `usable`."""

    __slots__ = ("balancer", "easing", "hashed", "levels", "recipe", "usable")

    def __init__(
        self,
        levels: Sequence[Level],
        usable: Sequence[UpstreamEndpoint],
        balancer: Balancer | None,
        hashed: HashBalancer | None,
        easing: bool,
        recipe: Recipe = (),
    ) -> None:
        self.levels = levels
        """The nearest first."""
        self.usable = usable
        self.balancer = balancer
        self.hashed = hashed
        self.easing = easing
        """An endpoint is in its slow start: weights are to be reckoned anew soon."""
        self.recipe = recipe
        """Of `hashed`, which takes milliseconds to make: the same is not made twice."""

    def shares(self) -> dict[UpstreamEndpoint, float]:
        """The part of the requests that each gets while all are idle; those that are not there get none."""
        found: dict[UpstreamEndpoint, float] = {}
        for level in self.levels:
            weight = sum(endpoint.weight for endpoint in level.usable)
            for endpoint in level.usable:
                found[endpoint] = level.load.share * endpoint.weight / weight
        return found

    def weight_of(self, endpoint: UpstreamEndpoint) -> float:
        """Its weight, of which slow start lets only a part count."""
        return endpoint.weight / UNITS if self.easing else endpoint.weight

    def scores(self, now: float) -> dict[UpstreamEndpoint, float]:
        """What the balancer compares of each, the lower the better; empty where it compares nothing."""
        found: dict[UpstreamEndpoint, float] = {}
        for level, balancer in zip(self._used(), self._balancers(), strict=True):
            for index, endpoint in enumerate(level.usable):
                if isinstance(balancer, PeakEwmaChoice):
                    found[endpoint] = balancer.cost(index, now)
                elif isinstance(balancer, LeastRequest):
                    found[endpoint] = endpoint.active / self.weight_of(endpoint)
        return found

    def _used(self) -> list[Level]:
        return [level for level in self.levels if level.load.share > 0.0 and level.usable]

    def _balancers(self) -> Sequence[Balancer | None]:
        if isinstance(self.balancer, Levels):
            return self.balancer.balancers
        return [self.balancer] * len(self._used())


NOTHING = Choice((), (), None, None, False)


def choose(
    endpoints: Sequence[UpstreamEndpoint], policy: ServicePolicy, zone: str, now: float, before: Choice
) -> Choice:
    """The choice among `endpoints`, seen from `zone`, in place of the one `before`; sets their weights."""
    easing = _prepare(endpoints, policy.balancer, now)
    levels = _levels(endpoints, policy, zone)
    used = [level for level in levels if level.load.share > 0.0 and level.usable]
    if not used:
        return Choice(levels, (), None, None, easing)
    usable = [endpoint for level in used for endpoint in level.usable]
    if policy.balancer.kind in HASHING:
        recipe = _recipe(policy.balancer, used)
        hashed = before.hashed if recipe == before.recipe else _hash_balancer(policy.balancer, used)
        return Choice(levels, usable, None, hashed, easing, recipe)
    return Choice(levels, usable, _balancer(policy.balancer, used), None, easing)


def balancer_among(policy: BalancerPolicy, candidates: Sequence[UpstreamEndpoint]) -> Balancer:
    """For once, among candidates that are not the usual ones."""
    kind = "least_request" if policy.kind in HASHING else policy.kind
    return make_balancer(kind, candidates, random.random, time.monotonic)


def note_wellness(endpoints: Sequence[UpstreamEndpoint], now: float, *, new: bool) -> None:
    """Note since when each is well. `new`: those that come now have begun now; else they have been there before us."""
    for endpoint in endpoints:
        if not endpoint.is_well:
            endpoint.well_since = None
            endpoint.was_away = True
        elif endpoint.well_since is None:
            endpoint.well_since = now if new or endpoint.was_away else float("-inf")


def _prepare(endpoints: Sequence[UpstreamEndpoint], policy: BalancerPolicy, now: float) -> bool:
    ages = [now - endpoint.well_since if endpoint.well_since is not None else 0.0 for endpoint in endpoints]
    plain = [max(1, endpoint.endpoint.weight) for endpoint in endpoints]
    eased = weights(policy.slow_start, plain, ages)
    for endpoint, weight in zip(endpoints, eased or plain, strict=True):
        endpoint.weight = weight
    for endpoint in endpoints:
        if policy.kind != "peak_ewma":
            endpoint.ewma = None
        elif endpoint.ewma is None:
            endpoint.ewma = PeakEwma()
    return eased is not None


def _levels(endpoints: Sequence[UpstreamEndpoint], policy: ServicePolicy, zone: str) -> list[Level]:
    groups = _groups(endpoints, policy.locality, zone)
    well = [[endpoint for endpoint in group if endpoint.is_well and endpoint.takes_attempts] for group in groups]
    numbers = [(len(usable), len(group)) for usable, group in zip(well, groups, strict=True)]
    loads = load_levels(numbers, policy.balancer.panic_share)
    return [Level(group, usable, load) for group, usable, load in zip(groups, well, loads, strict=True)]


def _groups(
    endpoints: Sequence[UpstreamEndpoint], locality: Locality | None, zone: str
) -> list[Sequence[UpstreamEndpoint]]:
    if not endpoints:
        return []
    if locality is None or not zone:
        return [endpoints]
    zones = [endpoint.endpoint.zone for endpoint in endpoints]
    return [[endpoints[index] for index in level] for level in levels_of_zones(zones, zone, locality.failover)]


def _balancer(policy: BalancerPolicy, levels: Sequence[Level]) -> Balancer:
    made = [make_balancer(policy.kind, level.usable, random.random, time.monotonic) for level in levels]
    if len(made) == 1:
        return made[0]
    return Levels(made, [len(level.usable) for level in levels], [level.load.share for level in levels])


def _recipe(policy: BalancerPolicy, levels: Sequence[Level]) -> Recipe:
    """All that a hash balancer is made of."""
    usable = [(endpoint, endpoint.weight) for level in levels for endpoint in level.usable]
    return policy.kind, policy.bounded_load, [(len(level.usable), level.load.share) for level in levels], usable


def _hash_balancer(policy: BalancerPolicy, levels: Sequence[Level]) -> HashBalancer:
    made = [make_hash_balancer(policy.kind, level.usable, policy.bounded_load) for level in levels]
    if len(made) == 1:
        return made[0]
    return HashLevels(made, [len(level.usable) for level in levels], [level.load.share for level in levels])
