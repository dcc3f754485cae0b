"""What control counts about its sidecars."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class PushMetrics:
    """The metrics of one push server, in the registry that it was given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.push_duration = Histogram(
            "mesh_push_duration_seconds",
            "From a change seen by this control to its ack by a sidecar.",
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self.sidecars = Gauge("mesh_sidecars_connected", "Sidecars with a stream to this control.", registry=registry)
        self.nacks = Counter("mesh_push_nacks_total", "Deltas that a sidecar refused.", registry=registry)
        self.pushes = Counter("mesh_pushes_total", "Resources sent to sidecars, by kind.", ("kind",), registry=registry)
        self.registrations = Counter(
            "mesh_registrations_total", "Registrations of instances, by result.", ("result",), registry=registry
        )
