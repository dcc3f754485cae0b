"""What is decided about a request before it goes anywhere, and who decides it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Literal, Protocol

from remora.model.names import ServiceName
from remora.model.policies import RetryPolicy
from remora.sidecar.exchange.failures import Failure
from remora.sidecar.exchange.gate import Gate
from remora.sidecar.exchange.persistence import Persistence
from remora.sidecar.routing.filters import CompiledFilters
from remora.sidecar.upstream.cluster import Cluster
from remora.sidecar.wire.heads import Fields, RequestHead

if TYPE_CHECKING:
    from remora.sidecar.exchange.fallback import FallbackRule

Direction = Literal["inbound", "outbound"]

_NO_FIELDS: Fields = []


@dataclasses.dataclass(frozen=True, slots=True)
class MirrorTarget:
    """Where a copy of a request goes."""

    service: ServiceName
    cluster: Cluster | None
    """None: no endpoint of the service is known."""
    filters: tuple[CompiledFilters, ...]
    """What is done to the copy: as to the request, as far as the filter beside the mirror."""


class Decision:
    """Where a request goes and under which rules."""

    __slots__ = (
        "answer_fields",
        "cluster",
        "edits_answer",
        "fallback",
        "filters",
        "gates",
        "idle_timeout_s",
        "key",
        "mirrors",
        "origin",
        "persistence",
        "request_timeout_s",
        "retry",
        "route",
        "service",
    )

    def __init__(
        self,
        service: str,
        route: str,
        cluster: Cluster,
        retry: RetryPolicy,
        request_timeout_s: float,
        idle_timeout_s: float,
        filters: tuple[CompiledFilters, ...] = (),
        gates: tuple[Gate, ...] = (),
    ) -> None:
        self.service = service
        """The service that was asked for."""
        self.route = route
        self.cluster = cluster
        """What the route chose: the service itself, or one of its backends."""
        self.retry = retry
        self.request_timeout_s = request_timeout_s
        self.idle_timeout_s = idle_timeout_s
        self.filters = filters
        """Of the route, then of the backend."""
        self.gates = gates
        """What the request passes first, in this order."""
        self.key: int | None = None
        """Hash of what keeps requests with one endpoint, where the cluster's balancer hashes; None: there is none."""
        self.answer_fields = _NO_FIELDS
        """Added to the answer, whoever makes it: cookies that keep a user where they are."""
        self.mirrors: tuple[MirrorTarget, ...] = ()
        """Where copies of the request go."""
        self.origin = b""
        """The page's that asks, if it is another one and may (CORS): edits may take it out of the request."""
        self.persistence: Persistence | None = None
        """Its session, if the route keeps sessions."""
        self.fallback: FallbackRule | None = None
        """What takes the place of a failure."""
        self.edits_answer = bool(filters)
        """Whether something is done to the answer."""

    def add_to_answer(self, fields: Fields) -> None:
        """Add `fields` to the answer."""
        self.answer_fields = [*self.answer_fields, *fields]
        self.edits_answer = True

    def keep_session(self, persistence: Persistence) -> None:
        """Go where the session is, and tell the client."""
        self.persistence = persistence
        self.edits_answer = True

    def with_gates(self, gates: tuple[Gate, ...]) -> Decision:
        """The same with other gates."""
        copy = self.copy()
        copy.gates = gates
        return copy

    def with_answer_fields(self, fields: Fields) -> Decision:
        """The same with `fields` added to the answer."""
        copy = self.copy()
        copy.add_to_answer(fields)
        return copy

    def with_request_timeout(self, seconds: float) -> Decision:
        """The same with another total."""
        copy = self.copy()
        copy.request_timeout_s = seconds
        return copy

    def with_idle_timeout(self, seconds: float) -> Decision:
        """The same with another limit of silence."""
        copy = self.copy()
        copy.idle_timeout_s = seconds
        return copy

    def copy(self) -> Decision:
        """The same, to be changed for one request."""
        copy = Decision(
            self.service,
            self.route,
            self.cluster,
            self.retry,
            self.request_timeout_s,
            self.idle_timeout_s,
            self.filters,
            self.gates,
        )
        copy.key = self.key
        copy.fallback = self.fallback
        copy.answer_fields, copy.edits_answer = self.answer_fields, self.edits_answer
        copy.persistence, copy.mirrors = self.persistence, self.mirrors
        copy.origin = self.origin
        return copy


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """The request goes nowhere."""

    failure: Failure
    detail: str
    service: str = ""
    route: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class LocalAnswer:
    """The sidecar answers by itself: a redirect, a preflight."""

    status: int
    fields: Fields
    service: str
    route: str


@dataclasses.dataclass(frozen=True, slots=True)
class Discovery:
    """The request waits until control has said whether it knows the service; then it is decided again."""

    answer: asyncio.Future[bool]


Decided = Decision | Refusal | LocalAnswer | Discovery


class Router(Protocol):
    """Decides requests of one listener."""

    direction: Direction

    def decide(self, head: RequestHead, *, final: bool) -> Decided:
        """`final`: a Discovery has been waited for, there is no other."""
