"""Clusters: the endpoints of a service as this sidecar uses them, and the choice among them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterable, Iterator, Sequence

from remora.model.names import ServiceName
from remora.model.policies import ServicePolicy
from remora.model.snapshot import Endpoint, Protocol, Snapshot
from remora.sidecar.policy.balancer import Balancer
from remora.sidecar.policy.retry_budget import Budget
from remora.sidecar.policy.slow_start import STEPS
from remora.sidecar.routing.keys import KeyReader
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.choice import NOTHING, balancer_among, choose, note_wellness
from remora.sidecar.upstream.ejections import Ejections
from remora.sidecar.upstream.endpoint import Traffic, UpstreamEndpoint
from remora.sidecar.upstream.guard import Breakers
from remora.sidecar.upstream.room import NO_LIMIT, Limit, Objection

log = logging.getLogger(__name__)


class Cluster:
    """The endpoints of one service."""

    __slots__ = (
        "_balancer",
        "_by_id",
        "_choosing",
        "_easing",
        "_ejections",
        "_usable",
        "_zone",
        "breakers",
        "budget",
        "choice",
        "copied_bytes",
        "copies",
        "declared",
        "endpoints",
        "is_shut",
        "keys",
        "name",
        "policy",
        "traffic",
    )

    def __init__(self, name: str, policy: ServicePolicy, metrics: Metrics, zone: str = "") -> None:
        """`zone`: ours."""
        self.name = name
        self.policy = policy
        self.endpoints: tuple[UpstreamEndpoint, ...] = ()
        self._by_id: dict[str, UpstreamEndpoint] = {}
        self.declared: Protocol = "auto"
        """What all its endpoints say that they speak; `auto` where they do not, or do not agree."""
        self.budget = Budget(policy.retry.budget)
        self.traffic = Traffic(self._on_failure)
        self.breakers = Breakers(name, metrics, self._choose)
        self._ejections = Ejections(name, metrics, self._choose)
        self.is_shut = False
        """The breakers let no attempt through now."""
        self._zone = zone
        self.keys: KeyReader | None = None
        """Set where the balancer hashes: somebody has to read the key of each request."""
        self.choice = NOTHING
        self.copies = 0
        """Of requests for other services, in flight to this one, which mirrors them."""
        self.copied_bytes = 0
        """What is kept of their bodies."""
        self._usable: Sequence[UpstreamEndpoint] = ()
        """Of the choice."""
        self._balancer: Balancer | None = None
        """Of the choice."""
        self._choosing: asyncio.Handle | None = None
        """Set while a new choice is due."""
        self._easing: asyncio.TimerHandle | None = None
        """For the next step of slow starts."""

    @property
    def usable(self) -> Sequence[UpstreamEndpoint]:
        """The endpoints that get requests now."""
        return self._usable

    @property
    def active(self) -> int:
        """Attempts in flight."""
        return self.traffic.active

    def find_well(self, endpoint_id: str) -> UpstreamEndpoint | None:
        """The endpoint of this id, if it is there and nothing speaks against it."""
        endpoint = self._by_id.get(endpoint_id)
        if endpoint is None or not endpoint.is_well or not endpoint.takes_attempts:
            return None
        # One that has enough requests for a moment is still where the session is.
        is_away = endpoint.is_unreachable and endpoint.passed_over_until > time.monotonic()
        return None if is_away else endpoint

    def pick(self, tried: Sequence[UpstreamEndpoint] = (), key: int | None = None) -> UpstreamEndpoint | None:
        """The endpoint for the next attempt, none of `tried` if there is another; None when there is none at all. `key`
        is for balancers that hash.

        Endpoints that could not be connected to are passed over until their backoff has run out, unless all are.
        """
        balancer, usable = self._balancer, self._usable
        if balancer is None:
            return self._pick_by_key(tried, key)
        picked = usable[balancer.pick(random.random)]
        if picked in tried or (picked.passed_over_until and picked.passed_over_until > time.monotonic()):
            return self._pick_better(picked, tried)
        return picked

    def _pick_by_key(self, tried: Sequence[UpstreamEndpoint], key: int | None) -> UpstreamEndpoint | None:
        hashed, members = self.choice.hashed, self.choice.members
        if hashed is None:
            return None
        if key is None:
            key = random.getrandbits(64)
        active = self.traffic.active
        picked = members[hashed.pick(key, (), active)]
        now = time.monotonic()
        if picked not in tried and picked.passed_over_until <= now:
            return picked
        # The next on the key's way, so that all sidecars go the same one.
        passed_over = {index for index, other in enumerate(members) if other in tried or other.passed_over_until > now}
        index = hashed.pick(key, passed_over, active)
        return members[index] if index not in passed_over else self._pick_better(picked, tried)

    def _pick_better(self, picked: UpstreamEndpoint, tried: Sequence[UpstreamEndpoint]) -> UpstreamEndpoint:
        """Instead of `picked`: another one that is used, or else one of another zone, the nearest first."""
        now = time.monotonic()
        levels = self.choice.levels
        for used in (self._usable, *(level.well for level in levels)):
            candidates = [other for other in used if other not in tried and other.passed_over_until <= now]
            if candidates:
                return self._pick_once(candidates)
        fresh = [endpoint for endpoint in self._usable if endpoint not in tried]
        return self._pick_once(fresh) if fresh else picked

    def _pick_once(self, candidates: Sequence[UpstreamEndpoint]) -> UpstreamEndpoint:
        return candidates[balancer_among(self.policy.balancer, candidates).pick(random.random)]

    def objection(self) -> Objection | None:
        """What stands against another attempt, if anything. Worth asking only from `traffic.asks_from` on, and where
        there is no endpoint to pick."""
        if self.is_shut:
            return Objection("breaker", self._document("breaker"), wait_s=self.breakers.wait_s(self.endpoints))
        most = self.policy.caps.requests
        return self.over("requests") if most and self.traffic.active >= most else None

    def over(self, limit: Limit) -> Objection:
        """`limit`, which is one of the caps, is reached."""
        caps = self.policy.caps
        most = {"connections": caps.connections, "pending": caps.pending}.get(limit, caps.requests)
        return Objection(limit, self._document(f"limits.{limit}"), most)

    def _document(self, field: str) -> str:
        origin = self.policy.origin
        return (
            f"spec.{field} of {origin}" if origin else f"the default of spec.{field}, which a TrafficPolicy can change"
        )

    def update(self, endpoints: Iterable[Endpoint], policy: ServicePolicy) -> None:
        """Take over a newer set. Endpoints that stay keep their connections; those that go are drained."""
        known = self._by_id
        self.policy = policy
        self.budget.configure(policy.retry.budget)
        self.traffic.room.configure(policy.caps)
        self.endpoints = tuple(self._kept_or_new(known.get(endpoint.id), endpoint) for endpoint in endpoints)
        self._by_id = {endpoint.endpoint.id: endpoint for endpoint in self.endpoints}
        for gone in set(known.values()).difference(self.endpoints):
            self.breakers.forget(gone)
            gone.drain()
        said = {endpoint.endpoint.protocol for endpoint in self.endpoints}
        self.declared = said.pop() if len(said) == 1 else "auto"
        self.breakers.update(policy.breaker, self.endpoints)
        self.traffic.counts = policy.outlier.success_rate is not None
        self._ejections.update(policy.outlier, self.endpoints)
        self._choose()

    def _choose(self) -> None:
        """Which endpoints get requests from now on. Called whenever one has changed, so that requests need not look."""
        self._choose_no_more()
        now = time.monotonic()
        note_wellness(self.endpoints, now, new=bool(self.choice.levels))
        passed = self.breakers.passed(self.endpoints)
        self.is_shut = not passed and bool(self.endpoints)
        self.traffic.asks_from = 0 if self.is_shut else self.policy.caps.requests or NO_LIMIT
        choice = self.choice = choose(self.endpoints, self.policy, self._zone, now, self.choice)
        self._usable, self._balancer = choice.usable, choice.balancer
        self.keys = KeyReader(self.policy.balancer.hash_on) if choice.hashed is not None else None
        self._ease_on()

    def _choose_soon(self) -> None:
        """The same for changes of which many come at once: each choice looks at all endpoints."""
        if self._choosing is None:
            self._choosing = asyncio.get_running_loop().call_soon(self._choose)

    def _choose_no_more(self) -> None:
        if self._choosing is not None:
            self._choosing.cancel()
            self._choosing = None

    def _ease_on(self) -> None:
        """Reckon the weights of slow starts anew, after a while."""
        if self._easing is not None:
            self._easing.cancel()
            self._easing = None
        slow_start = self.policy.balancer.slow_start
        if slow_start is not None and self.choice.easing:
            self._easing = asyncio.get_running_loop().call_later(slow_start.window_s / STEPS, self._choose)

    def _on_failure(self, endpoint: UpstreamEndpoint) -> None:
        """An attempt failed there."""
        if endpoint.ewma is not None:
            endpoint.ewma.observe_failure(time.monotonic())
        self._ejections.on_failure(endpoint)

    def check(self, endpoint_id: str, fault: str) -> None:
        """A health check has found that the endpoint is not well any more, or, without a fault, that it is again."""
        endpoint = self._by_id.get(endpoint_id)
        if endpoint is None or endpoint.check_fault == fault:
            return
        endpoint.check_fault = fault
        level = logging.WARNING if fault else logging.INFO
        log.log(level, "%s: endpoint %s: %s", self.name, endpoint_id, fault or "it passes its health check again")
        self._choose_soon()

    def drain(self) -> None:
        """Let go of all endpoints."""
        self.breakers.close(self.endpoints)
        self.update((), self.policy)

    def abort(self) -> None:
        self._choose_no_more()
        if self._easing is not None:
            self._easing.cancel()
            self._easing = None
        self._ejections.close()
        self.breakers.close(self.endpoints)
        for endpoint in self.endpoints:
            endpoint.abort()

    def _kept_or_new(self, known: UpstreamEndpoint | None, endpoint: Endpoint) -> UpstreamEndpoint:
        timeouts = self.policy.timeouts
        if known is not None and known.is_same_place(endpoint):
            known.update(endpoint, timeouts)
            return known
        made = UpstreamEndpoint(endpoint, timeouts, self.traffic)
        if known is not None and known.key == made.key:
            # Only what it speaks is new. Checks tell no more than what has changed.
            made.check_fault = known.check_fault
        return made


class Clusters:
    """All clusters of one sidecar's mesh services, by name."""

    __slots__ = ("_by_name", "_metrics", "_zone")

    def __init__(self, metrics: Metrics, zone: str = "") -> None:
        """`zone`: ours."""
        self._metrics = metrics
        self._zone = zone
        self._by_name: dict[ServiceName, Cluster] = {}

    def __iter__(self) -> Iterator[Cluster]:
        return iter(self._by_name.values())

    def get(self, name: ServiceName) -> Cluster | None:
        return self._by_name.get(name)

    def empty(self, name: ServiceName) -> Cluster:
        """One without endpoints, for a service of which nobody knows any."""
        return Cluster(name, ServicePolicy(), self._metrics, self._zone)

    def update(self, snapshot: Snapshot) -> None:
        """Follow `snapshot`: only clusters whose endpoints or policy changed are touched."""
        policies = policies_of(snapshot)
        for name in set(self._by_name) - set(snapshot.endpoints):
            self._by_name.pop(name).drain()
        for name, endpoint_set in snapshot.endpoints.items():
            policy = policies.get(name, ServicePolicy())
            cluster = self._by_name.get(name)
            if cluster is None:
                cluster = self._by_name[name] = Cluster(name, policy, self._metrics, self._zone)
            elif cluster.policy == policy and tuple(e.endpoint for e in cluster.endpoints) == endpoint_set.endpoints:
                continue
            cluster.update(endpoint_set.endpoints, policy)

    def check(self, service: ServiceName, endpoint_id: str, fault: str) -> None:
        """See Cluster.check."""
        cluster = self._by_name.get(service)
        if cluster is not None:
            cluster.check(endpoint_id, fault)

    def abort(self) -> None:
        for cluster in self:
            cluster.abort()


def policies_of(snapshot: Snapshot) -> dict[ServiceName, ServicePolicy]:
    """Each service's policy; a backend without one of its own (a version) has that of the service that routes to it, or
    falls back to it."""
    policies: dict[ServiceName, ServicePolicy] = {}
    for service in snapshot.services.values():
        fallback = service.policy.fallback
        if fallback is not None and fallback.service is not None:
            policies[fallback.service] = service.policy
        for route in service.routes:
            policies.update((name, service.policy) for name in route.services())
    own = {name: service.policy for name, service in snapshot.services.items()}
    return {**policies, **{name: policy for name, policy in own.items() if policy.origin or name not in policies}}
