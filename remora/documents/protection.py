"""Parts of TrafficPolicy that keep a service from more than it stands."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from remora.documents.fields import DocumentPart, Label, Percent, PositiveDuration
from remora.documents.gateway_filters import HeaderValue

Enforcement = Literal["Enforce", "Shadow"]
"""Shadow: what would be refused is counted and logged, and goes on."""

MultiplierPercent = Annotated[int, Meta(ge=110, le=1000)]
"""At 100 as few would be let through as did well lately, for ever: each window lets so much more through."""
Requests = Annotated[int, Meta(ge=1, le=1_000_000)]
Measured = Annotated[int, Meta(ge=1, le=1000)]
InFlight = Annotated[int, Meta(ge=1, le=100_000)]
Buffer = Annotated[int, Meta(ge=0, le=1000)]


AnswerStatus = Annotated[int, Meta(ge=200, le=599)]
AnswerBody = Annotated[str, Meta(max_length=65536)]
CacheBytes = Annotated[int, Meta(ge=65536, le=1 << 30)]
Cause = Literal["NoEndpoint", "BreakerOpen", "Failure", "Timeout"]


class Admission(DocumentPart, frozen=True):
    """At the caller."""

    multiplier_percent: MultiplierPercent = 200
    window: PositiveDuration = "30s"
    volume: Requests = 20
    max_percent: Percent = 80
    enforcement: Enforcement = "Enforce"


class Concurrency(DocumentPart, frozen=True):
    """At the service's own sidecar."""

    min: InFlight = 3
    max: InFlight = 1000
    window: PositiveDuration = "100ms"
    measure_every: PositiveDuration = "1m"
    measure_requests: Measured = 50
    buffer_percent: Buffer = 25
    enforcement: Enforcement = "Enforce"


class StaticAnswer(DocumentPart, frozen=True):
    """To HTTP requests; gRPC calls need a service."""

    status: AnswerStatus = 200
    headers: tuple[HeaderValue, ...] = ()
    body: AnswerBody = ""


class LastGood(DocumentPart, frozen=True):
    """Answers to GET that a shared cache may keep."""

    max_age: PositiveDuration = "5m"
    max_bytes: CacheBytes = 8 << 20


class Fallback(DocumentPart, frozen=True):
    """One of `answer`, `service` and `lastGood`."""

    causes: tuple[Cause, ...] | None = None
    answer: StaticAnswer | None = None
    service: Label | None = None
    last_good: LastGood | None = None
