"""What is answered, or asked, where a service has no answer: a text, its last good answer, or another service."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Literal

from remora.model.names import ServiceName
from remora.model.policies import Fallback, FallbackCause
from remora.model.snapshot import Service
from remora.sidecar.exchange import failures
from remora.sidecar.exchange.decision import Decision
from remora.sidecar.exchange.gate import Gate
from remora.sidecar.policy.last_good import MAX_BODY_BYTES, LastGoodCache, may_keep
from remora.sidecar.upstream.cluster import Clusters
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead

FALLBACK_FIELD = b"x-mesh-fallback"
"""Says in the answer which kind of fallback it is."""

CAUSES: dict[str, FallbackCause] = {
    failures.NO_ENDPOINT.flag: "no_endpoint",
    failures.ADMISSION_SHED.flag: "breaker",
    failures.BREAKER_OPEN.flag: "breaker",
    failures.CONNECT_FAILURE.flag: "failure",
    failures.UPSTREAM_RESET.flag: "failure",
    failures.UPSTREAM_PROTOCOL.flag: "failure",
    failures.FAULT.flag: "failure",
    failures.TIMEOUT.flag: "timeout",
    failures.IDLE_TIMEOUT.flag: "timeout",
}
"""By flag."""

_WITHOUT_LENGTH = (204, 304)
"""Statuses whose answers say none: not any (RFC 9110 §8.6), or that of an answer of 200."""

FallbackKind = Literal["answer", "last-good", "service"]


@dataclasses.dataclass(frozen=True, slots=True)
class Fallen:
    """A request whose service has not answered, as it counts."""

    service: str
    route: str
    flag: str


@dataclasses.dataclass(frozen=True, slots=True)
class MadeAnswer:
    """An answer of our own."""

    kind: FallbackKind
    head: ResponseHead
    body: bytes


class Recording:
    """An answer that is being passed on and may be kept."""

    __slots__ = ("_cache", "_head", "_pieces", "_request", "_route", "_size")

    def __init__(self, cache: LastGoodCache, route: str, request: RequestHead, head: ResponseHead) -> None:
        self._cache = cache
        self._route = route
        self._request = request
        # What is done to the answer on its way to this caller is done again on the way to the next.
        self._head = ResponseHead(head.status, head.fields)
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> bool:
        """More of the body; whether it may still be kept."""
        self._size += len(data)
        self._pieces.append(data)
        return self._size <= MAX_BODY_BYTES

    def keep(self) -> None:
        """It is complete."""
        self._cache.keep(self._route, self._request, self._head, b"".join(self._pieces), time.monotonic())


GatesOf = Callable[[ServiceName], tuple[Gate, ...]]
"""What protects a service from all who ask it, in place of another one too."""


class FallbackRule:
    """Of one service; keeps its last good answers over snapshots."""

    __slots__ = ("_clusters", "_config", "_gates", "cache", "causes")

    def __init__(self, config: Fallback, clusters: Clusters, gates: GatesOf) -> None:
        self._clusters = clusters
        self._gates = gates
        self._config = config
        self.causes = frozenset(config.on)
        self.cache = LastGoodCache(config.last_good) if config.last_good is not None else None

    def configure(self, config: Fallback) -> None:
        """Go on with `config`."""
        if config.last_good is None:
            self.cache = None
        elif self.cache is None:
            self.cache = LastGoodCache(config.last_good)
        else:
            self.cache.configure(config.last_good)
        self._config = config
        self.causes = frozenset(config.on)

    def made_answer(self, decision: Decision, head: RequestHead, *, bare: bool) -> MadeAnswer | None:
        """What can be answered here; None: nothing, or another service is asked. `bare`: the head is all of the
        request."""
        static, cache = self._config.answer, self.cache
        if static is not None:
            body = static.body.encode()
            fields: Fields = [(name.encode(), value.encode()) for name, value in static.headers]
            fields.append((FALLBACK_FIELD, b"answer"))
            length = None if static.status in _WITHOUT_LENGTH else len(body)
            return MadeAnswer("answer", ResponseHead(static.status, fields, content_length=length), body)
        if cache is None or not bare:
            return None
        now = time.monotonic()
        kept = cache.find(decision.route, head, now)
        if kept is None:
            return None
        fields = [*kept.fields, (b"age", b"%d" % kept.age(now)), (FALLBACK_FIELD, b"last-good")]
        return MadeAnswer("last-good", ResponseHead(200, fields, content_length=len(kept.body)), kept.body)

    def other_service(self, decision: Decision) -> Decision | None:
        """Where the request goes instead; None: another service is not what this falls back to."""
        name = self._config.service
        cluster = None if name is None else self._clusters.get(name)
        if name is None or cluster is None:
            return None
        timeouts = cluster.policy.timeouts
        other = Decision(
            decision.service,
            decision.route,
            cluster,
            cluster.policy.retry,
            timeouts.request_s,
            timeouts.idle_s,
            decision.filters,
            self._gates(name),
        )
        other.origin = decision.origin
        other.add_to_answer([*decision.answer_fields, (FALLBACK_FIELD, b"service")])
        return other

    def record(self, decision: Decision, request: RequestHead, head: ResponseHead, *, bare: bool) -> Recording | None:
        """Keeps the answer that begins with `head`, if that is asked for and allowed. `bare`: the request's head is all
        of it; what a GET asks for by its content nobody could tell."""
        cache = self.cache
        if cache is None:
            return None
        if bare and may_keep(request, head):
            return Recording(cache, decision.route, request, head)
        cache.note(request, head.status)
        return None


class Fallbacks:
    """Of all services."""

    __slots__ = ("_by_service", "_clusters", "_gates")

    def __init__(self, clusters: Clusters, gates: GatesOf) -> None:
        self._clusters = clusters
        self._gates = gates
        self._by_service: dict[ServiceName, FallbackRule] = {}

    def update(self, services: Mapping[ServiceName, Service]) -> None:
        """Follow the services of a newer snapshot."""
        rules: dict[ServiceName, FallbackRule] = {}
        for name, service in services.items():
            config, rule = service.policy.fallback, self._by_service.get(name)
            if config is None:
                continue
            if rule is None:
                rule = FallbackRule(config, self._clusters, self._gates)
            else:
                rule.configure(config)
            rules[name] = rule
        self._by_service = rules

    def of(self, service: ServiceName) -> FallbackRule | None:
        return self._by_service.get(service)
