"""Clusters: the endpoints of a service as this sidecar uses them, and the choice among them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence

from remora.model.names import ServiceName
from remora.model.policies import ServicePolicy
from remora.model.snapshot import Endpoint, Protocol, Snapshot
from remora.sidecar.policy.balancer import Balancer, make_balancer
from remora.sidecar.upstream.endpoint import UpstreamEndpoint

PANIC_SHARE = 0.5
"""When fewer than this share of the endpoints is healthy, health is not believed and all are used (Envoy's panic)."""


class Cluster:
    """The endpoints of one service."""

    __slots__ = ("_balancer", "_usable", "declared", "endpoints", "name", "policy")

    def __init__(self, name: str, policy: ServicePolicy) -> None:
        self.name = name
        self.policy = policy
        self.endpoints: tuple[UpstreamEndpoint, ...] = ()
        self.declared: Protocol = "auto"
        """What all its endpoints say that they speak; `auto` where they do not, or do not agree."""
        self._usable: Sequence[UpstreamEndpoint] = ()
        self._balancer: Balancer | None = None

    def pick(self, tried: Sequence[UpstreamEndpoint] = ()) -> UpstreamEndpoint | None:
        """The endpoint for the next attempt, none of `tried` if there is another; None when there is none at all.

        Endpoints that could not be connected to are passed over until their backoff has run out, unless all are.
        """
        balancer, usable = self._balancer, self._usable
        if balancer is None:
            return None
        picked = usable[balancer.pick(random.random)]
        if picked in tried or (picked.unreachable_until and picked.unreachable_until > time.monotonic()):
            return self._pick_better(picked, tried)
        return picked

    def _pick_better(self, picked: UpstreamEndpoint, tried: Sequence[UpstreamEndpoint]) -> UpstreamEndpoint:
        now = time.monotonic()
        fresh = [endpoint for endpoint in self._usable if endpoint not in tried]
        reachable = [endpoint for endpoint in fresh if endpoint.unreachable_until <= now]
        candidates = reachable or fresh
        if not candidates:
            return picked
        return candidates[make_balancer(self.policy.balancer.kind, candidates, random.random).pick(random.random)]

    def update(self, endpoints: Iterable[Endpoint], policy: ServicePolicy) -> None:
        """Take over a newer set. Endpoints that stay keep their connections; those that go are drained."""
        known = {endpoint.endpoint.id: endpoint for endpoint in self.endpoints}
        self.policy = policy
        self.endpoints = tuple(_kept_or_new(known, endpoint, policy) for endpoint in endpoints)
        for gone in set(known.values()).difference(self.endpoints):
            gone.drain()
        said = {endpoint.endpoint.protocol for endpoint in self.endpoints}
        self.declared = said.pop() if len(said) == 1 else "auto"
        healthy = [endpoint for endpoint in self.endpoints if endpoint.endpoint.healthy]
        self._usable = healthy if len(healthy) >= PANIC_SHARE * len(self.endpoints) else self.endpoints
        self._balancer = make_balancer(policy.balancer.kind, self._usable, random.random) if self._usable else None

    def drain(self) -> None:
        """Let go of all endpoints."""
        self.update((), self.policy)

    def abort(self) -> None:
        for endpoint in self.endpoints:
            endpoint.abort()


def _kept_or_new(known: dict[str, UpstreamEndpoint], endpoint: Endpoint, policy: ServicePolicy) -> UpstreamEndpoint:
    kept = known.get(endpoint.id)
    if kept is None or not kept.is_same_place(endpoint):
        return UpstreamEndpoint(endpoint, policy.timeouts)
    kept.update(endpoint, policy.timeouts)
    return kept


class Clusters:
    """All clusters of one sidecar's mesh services, by name."""

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name: dict[ServiceName, Cluster] = {}

    def __iter__(self) -> Iterator[Cluster]:
        return iter(self._by_name.values())

    def get(self, name: ServiceName) -> Cluster | None:
        return self._by_name.get(name)

    def update(self, snapshot: Snapshot) -> None:
        """Follow `snapshot`: only clusters whose endpoints or policy changed are touched."""
        policies = _policies(snapshot)
        for name in set(self._by_name) - set(snapshot.endpoints):
            self._by_name.pop(name).drain()
        for name, endpoint_set in snapshot.endpoints.items():
            policy = policies.get(name, ServicePolicy())
            cluster = self._by_name.get(name)
            if cluster is None:
                cluster = self._by_name[name] = Cluster(name, policy)
            elif cluster.policy == policy and tuple(e.endpoint for e in cluster.endpoints) == endpoint_set.endpoints:
                continue
            cluster.update(endpoint_set.endpoints, policy)

    def abort(self) -> None:
        for cluster in self:
            cluster.abort()


def _policies(snapshot: Snapshot) -> dict[ServiceName, ServicePolicy]:
    """Each service's policy; a backend without one of its own (a version) has that of the service that routes to it."""
    policies: dict[ServiceName, ServicePolicy] = {}
    for service in snapshot.services.values():
        for route in service.routes:
            policies.update((backend.service, service.policy) for backend in route.backends)
    own = {name: service.policy for name, service in snapshot.services.items()}
    return {**policies, **{name: policy for name, policy in own.items() if policy.origin or name not in policies}}
