"""What an explanation says, as values: the admin port sends them as JSON, and people get them rendered."""

from __future__ import annotations

from typing import Literal

import msgspec

from remora.model.base import Origin

Outcome = Literal["chosen", "missed", "not reached", "for others"]


class Fact(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of all."""


class Asked(Fact, frozen=True):
    """The request that is asked about."""

    method: str
    authority: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    service: str = ""
    """The service whose own port it comes by; empty: it comes by the port of all services."""
    inbound: bool = False
    """It comes to the app, instead of from it."""


class From(Fact, frozen=True):
    """Where a rule stands."""

    document: str = "defaults"
    revision: int = 0
    """Of the store; 0: it comes from a file, or is a default."""
    rule: int | None = None
    """Index in the document."""

    @classmethod
    def of(cls, origin: Origin | None) -> From:
        """None: it is a default."""
        if origin is None:
            return cls()
        return cls(str(origin), origin.revision, origin.rule if origin.kind in _OF_RULES else None)


_OF_RULES = frozenset(("FaultPolicy", "GRPCRoute", "HTTPRoute"))
"""Kinds whose documents have several of what is told of, without a name for each."""


class Considered(Fact, frozen=True):
    """A route of the service, in order of precedence."""

    route: str
    source: From
    asks_for: str
    outcome: Outcome
    why: tuple[str, ...] = ()
    """What of it does not hold; empty where it matches."""
    filters: tuple[str, ...] = ()
    """What it does on the way, whatever the backend."""


class EndpointFacts(Fact, frozen=True):
    """An instance, and how it is seen from here."""

    id: str
    address: str
    state: str
    usable: bool
    """Whether it is among those that requests are given to now."""
    weight: float = 1
    """Less than it asks for while it starts slowly."""
    active: int = 0
    """Requests in flight, from this sidecar."""
    connections: int = 0
    score: float | None = None
    """By which the balancer compares; lower is better. None: it compares nothing."""
    version: str = ""
    zone: str = ""
    note: str = ""
    """More about its state."""


class BackendFacts(Fact, frozen=True):
    """Where a share of the requests goes."""

    service: str
    weight: int
    share: float
    balancer: str = ""
    endpoints: tuple[EndpointFacts, ...] = ()
    filters: tuple[str, ...] = ()
    """What is done to requests that go here, beside the filters of the route."""
    sees: tuple[str, ...] = ()
    """What it sees otherwise than it was sent."""
    zones: tuple[str, ...] = ()
    """What each zone takes, where zones count; where health is not believed."""
    chosen: bool = False
    """All such requests go here: it is the only one, or its user stays with it."""
    place: str = ""
    """Where the request's key leads, for a balancer that hashes."""
    session: str = ""
    """Where the request's session leads, before weights and balancers."""


class Failing(Fact, frozen=True):
    """What the mesh would answer itself."""

    flag: str
    status: int
    """Of HTTP."""
    code: str
    sentence: str
    grpc_status: str = ""
    """Of a gRPC call; empty: it is none."""

    @property
    def answer(self) -> str:
        """For people."""
        return f"gRPC {self.grpc_status}" if self.grpc_status else str(self.status)


class Rule(Fact, frozen=True):
    """Something that applies to the request, or would to another one."""

    name: str
    says: tuple[str, ...]
    source: From = From()
    now: str = ""
    """How it stands at the moment."""
    missed: str = ""
    """Why it is not for this request; empty: it is."""
    failing: Failing | None = None
    """What it would have answered now, by chance or for sure."""
    chance: float = 0.0
    """Of that."""


class Explanation(Fact, frozen=True):
    """What would happen now to a request that leaves the app."""

    asked: Asked
    revision: int
    config: str
    """Where the configuration comes from."""
    live: bool = True
    """False: of a file, about which nothing is known but what stands in it."""
    service: str = ""
    """Empty: it is none of the mesh."""
    found: str = ""
    """How the service was found, or why none was."""
    considered: tuple[Considered, ...] = ()
    route: str = ""
    backends: tuple[BackendFacts, ...] = ()
    rules: tuple[Rule, ...] = ()
    ruled: str = ""
    """The backend that `rules` are told of: the one that gets the most, where chance decides."""
    now: tuple[str, ...] = ()
    """What would happen, a sentence each."""
    failing: Failing | None = None
