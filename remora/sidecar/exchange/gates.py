"""The gates of all services, made from snapshots; what a gate has learnt outlives the snapshot that it was made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from remora.model.names import ServiceName
from remora.model.snapshot import Service
from remora.sidecar.exchange.gate import Gate

GateMaker = Callable[[Service, Gate | None], Gate | None]
"""Makes the gate of one kind for a service; None: the service has none. It is given the one that it made before, and
may return that, configured anew."""


class Gates:
    """The gates that requests pass on one side of a sidecar, in the order of their makers."""

    __slots__ = ("_by_service", "_made", "_makers")

    def __init__(self, makers: Sequence[GateMaker]) -> None:
        self._makers = tuple(makers)
        self._made: dict[ServiceName, tuple[Gate | None, ...]] = {}
        self._by_service: dict[ServiceName, tuple[Gate, ...]] = {}

    def __iter__(self) -> Iterator[Gate]:
        """All of them."""
        return (gate for gates in self._by_service.values() for gate in gates)

    def update(self, services: Mapping[ServiceName, Service]) -> None:
        """Follow the services of a newer snapshot."""
        before = set(self)
        nothing: tuple[Gate | None, ...] = (None,) * len(self._makers)
        self._made = {
            name: tuple(
                make(service, before) for make, before in zip(self._makers, self._made.get(name, nothing), strict=True)
            )
            for name, service in services.items()
        }
        gates = {name: tuple(gate for gate in made if gate is not None) for name, made in self._made.items()}
        self._by_service = {name: found for name, found in gates.items() if found}
        for gate in before.difference(self):
            gate.close()

    def of(self, service: ServiceName) -> tuple[Gate, ...]:
        """What requests for `service` pass."""
        return self._by_service.get(service, ())
