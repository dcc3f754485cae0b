"""Parts of TrafficPolicy that keep a service from more than it stands."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from remora.documents.fields import DocumentPart, Percent, PositiveDuration

Enforcement = Literal["Enforce", "Shadow"]
"""Shadow: what would be refused is counted and logged, and goes on."""

MultiplierPercent = Annotated[int, Meta(ge=100, le=1000)]
Requests = Annotated[int, Meta(ge=1, le=1_000_000)]
InFlight = Annotated[int, Meta(ge=1, le=100_000)]
Buffer = Annotated[int, Meta(ge=0, le=1000)]


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
    measure_requests: Requests = 50
    buffer_percent: Buffer = 25
    enforcement: Enforcement = "Enforce"
