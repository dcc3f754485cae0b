"""What a cluster chooses from: made anew when an endpoint or the policy has changed, so that requests need not look.

endpoints ─► levels by zone (`policy/priorities.py`) ─► the usable ones of each, or all in panic ─► a balancer
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence

from remora.model.policies import Balancer as BalancerPolicy
from remora.model.policies import BalancerKind, Locality, ServicePolicy
from remora.sidecar.policy.balancer import Balancer, LeastRequest, Levels, PeakEwmaChoice, make_balancer
from remora.sidecar.policy.ewma import PeakEwma
from remora.sidecar.policy.hashing import ByTable, HashBalancer, HashLevels, Table, make_table
from remora.sidecar.policy.priorities import LevelLoad, levels_of_zones, load_levels
from remora.sidecar.policy.slow_start import UNITS, weights
from remora.sidecar.upstream.endpoint import UpstreamEndpoint

HASHING = ("ring_hash", "maglev")


class Level:
    """Endpoints that are equally near."""

    __slots__ = ("endpoints", "load", "panics", "usable", "well")

    def __init__(self, endpoints: Sequence[UpstreamEndpoint], well: Sequence[UpstreamEndpoint], load: LevelLoad):
        self.endpoints = endpoints
        self.well = well
        self.load = load
        self.usable = [endpoint for endpoint in endpoints if endpoint.takes_attempts] if load.panic else well
        """Those that get its requests. In panic ejections and what endpoints say are not believed, breakers are."""
        self.panics = len(self.usable) > len(well)
        """Some are used that do not seem well."""


Recipe = tuple[BalancerKind, tuple[tuple[bytes, int], ...]]
"""All that a table is made of."""


class Choice:
    """`balancer` or `hashed` is set, by policy; neither when nothing is usable. The indexes of the one are those of
    `usable`, of the other those of `members`."""

    __slots__ = ("balancer", "easing", "hashed", "levels", "members", "tables", "usable")

    def __init__(
        self,
        levels: Sequence[Level],
        usable: Sequence[UpstreamEndpoint],
        balancer: Balancer | None,
        hashed: HashBalancer | None,
        easing: bool,
        members: Sequence[UpstreamEndpoint],
        tables: dict[Recipe, Table],
    ) -> None:
        self.levels = levels
        """The nearest first."""
        self.usable = usable
        self.balancer = balancer
        self.hashed = hashed
        self.easing = easing
        """An endpoint is in its slow start: weights are to be reckoned anew soon."""
        self.members = members
        """All endpoints of the levels in use, those that get nothing too."""
        self.tables = tables
        """Of `hashed`: the same is not made twice."""

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


NOTHING = Choice((), (), None, None, False, (), {})


def choose(
    endpoints: Sequence[UpstreamEndpoint], policy: ServicePolicy, zone: str, now: float, before: Choice
) -> Choice:
    """The choice among `endpoints`, seen from `zone`, in place of the one `before`; sets their weights."""
    easing = _prepare(endpoints, policy.balancer, now)
    levels = _levels(endpoints, policy, zone)
    used = [level for level in levels if level.load.share > 0.0 and level.usable]
    usable = [endpoint for level in used for endpoint in level.usable]
    if policy.balancer.kind not in HASHING:
        balancer = _balancer(policy.balancer, used) if used else None
        return Choice(levels, usable, balancer, None, easing, (), {})
    tables = _tables(policy.balancer.kind, levels, used, before.tables)
    hashed = _hash_balancer(policy.balancer, used, tables) if used else None
    members = [endpoint for level in used for endpoint in level.endpoints]
    return Choice(levels, usable, None, hashed, easing, members, tables)


def balancer_among(policy: BalancerPolicy, candidates: Sequence[UpstreamEndpoint]) -> Balancer:
    """For once, among candidates that are not the usual ones."""
    kind = "least_request" if policy.kind in HASHING else policy.kind
    return make_balancer(kind, candidates, random.random, time.monotonic)


def note_wellness(endpoints: Sequence[UpstreamEndpoint], now: float, *, new: bool) -> None:
    """Note since when each is well. `new`: those that are well now, and were not, or were not there, have begun now;
    else they have been there before us."""
    for endpoint in endpoints:
        if not endpoint.is_well:
            endpoint.well_since = None
        elif endpoint.well_since is None:
            endpoint.well_since = now if new else -math.inf


def _prepare(endpoints: Sequence[UpstreamEndpoint], policy: BalancerPolicy, now: float) -> bool:
    ages = [math.inf if endpoint.well_since is None else now - endpoint.well_since for endpoint in endpoints]
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


def _tables(
    kind: BalancerKind, levels: Sequence[Level], used: Sequence[Level], known: dict[Recipe, Table]
) -> dict[Recipe, Table]:
    """Those of the levels in use. Those of others that are known stay: they may be in use again soon."""
    tables: dict[Recipe, Table] = {}
    for level in levels:
        recipe = _recipe(kind, level)
        table = known.get(recipe)
        if table is None and level in used:
            table = make_table(kind, level.endpoints)
        if table is not None:
            tables[recipe] = table
    return tables


def _recipe(kind: BalancerKind, level: Level) -> Recipe:
    return kind, tuple((endpoint.key, endpoint.weight) for endpoint in level.endpoints)


def _hash_balancer(policy: BalancerPolicy, levels: Sequence[Level], tables: dict[Recipe, Table]) -> HashBalancer:
    made = [_by_table(policy, level, tables[_recipe(policy.kind, level)]) for level in levels]
    if len(made) == 1:
        return made[0]
    return HashLevels(made, [len(level.endpoints) for level in levels], [level.load.share for level in levels])


def _by_table(policy: BalancerPolicy, level: Level, table: Table) -> ByTable:
    usable = frozenset(level.usable)
    closed = frozenset(index for index, endpoint in enumerate(level.endpoints) if endpoint not in usable)
    return ByTable(table, level.endpoints, policy.bounded_load, closed)
