"""What one sidecar has, what it should have, and the next delta between the two. No I/O, no clock.

One delta is under way at a time; the next is made from the newest state when the answer is here. So a slow sidecar gets
fewer and larger deltas, what waits for it is a set of names, and it holds up nobody else.

A delta is refused as a whole. Then its parts are sent one by one, to find the one that is refused by itself; that
version is not sent again, and what it would replace stays, with the endpoints that it needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from remora.control.push.resources import ENDPOINTS, SERVICE, Encoded, Key, Resources
from remora.model.names import ServiceName
from remora.proto.mesh.v1 import discovery_pb2 as pb


@dataclass(frozen=True, slots=True)
class InFlight:
    """A delta that is not answered yet."""

    nonce: int
    revision: int
    upserts: tuple[Encoded, ...]
    previous: dict[Key, Encoded | None]
    """What the sidecar had before, of all that the delta changes; comes back with a nack."""
    changed_at: float | None
    """When the oldest change in it was seen; None when it only answers a subscription."""


class Session:
    """A connected sidecar's configuration."""

    def __init__(self, resources: Resources, own: Iterable[ServiceName] = ()) -> None:
        """`own`: the names of the service that the sidecar stands before; the first of which something is said
        counts."""
        self._resources = resources
        self._own = tuple(own)
        self._sent: dict[Key, Encoded] = {}
        self._subscribed: set[ServiceName] = set()
        self._unanswered: set[ServiceName] = set()
        self._must_answer = False
        self._stale = False
        self._stale_endpoints: set[ServiceName] = set()
        self._changed_at: float | None = None
        self._rejected: dict[Key, Encoded] = {}
        self._suspects: dict[Key, Encoded] = {}
        self._nonce = 0
        self.in_flight: InFlight | None = None
        self.acked_revision = 0

    @property
    def subscribed(self) -> frozenset[ServiceName]:
        return frozenset(self._subscribed)

    @property
    def resources_sent(self) -> int:
        return len(self._sent)

    def watched(self) -> set[ServiceName]:
        """The services a change of which concerns this session."""
        return self._subscribed.union(self._own, (name for _, name in self._sent), (name for _, name in self._rejected))

    def holds(self, key: Key) -> list[Encoded]:
        """The versions of a resource that the sidecar may be using now: two while a change is under way."""
        versions = [self._sent.get(key)]
        if self.in_flight is not None:
            versions.append(self.in_flight.previous.get(key))
        return [version for version in versions if version is not None]

    def subscribe(self, services: Iterable[ServiceName]) -> None:
        """Each is answered, also when it was subscribed before."""
        for service in services:
            self._subscribed.add(service)
            self._unanswered.add(service)
            self._rejected.pop((SERVICE, service), None)
        self._must_answer = True
        self._stale = True

    def unsubscribe(self, services: Iterable[ServiceName]) -> None:
        self._subscribed.difference_update(services)
        self._unanswered.intersection_update(self._subscribed)
        self._stale = True

    def changed(self, services: set[ServiceName], endpoint_sets: set[ServiceName], at: float) -> bool:
        """These have new versions since time `at`; whether that concerns this session."""
        if self._subscribed & services or (self._nonce and not services.isdisjoint(self._own)):
            # Before the first delta there is nothing to change: it answers the first subscription.
            self._stale = True
        elif concerned := {name for name in endpoint_sets if self._uses_endpoints(name)}:
            self._stale_endpoints |= concerned
        else:
            return False
        if self._changed_at is None:
            self._changed_at = at
        return True

    def next_delta(self) -> pb.Delta | None:
        """The delta to send now, or None: one is under way, or there is nothing to say."""
        if self.in_flight is not None:
            return None
        if self._stale:
            return self._full()
        return self._endpoints_only() if self._stale_endpoints else None

    def ack(self, nonce: int) -> InFlight | None:
        """The sidecar uses the delta; returns it, or None when it is not the one under way."""
        done = self._land(nonce)
        if done is None:
            return None
        self.acked_revision = done.revision
        for encoded in done.upserts:
            self._suspects.pop(encoded.key, None)
            self._rejected.pop(encoded.key, None)
        return done

    def nack(self, nonce: int) -> InFlight | None:
        """The sidecar has changed nothing; returns the delta, or None when it is not the one under way."""
        done = self._land(nonce)
        if done is None:
            return None
        for key, encoded in done.previous.items():
            if encoded is None:
                self._sent.pop(key, None)
            else:
                self._sent[key] = encoded
        # What came again with a removal, or was asked for again, had been taken before.
        new = [encoded for encoded in done.upserts if done.previous[encoded.key] is not encoded]
        if len(new) == 1:
            self._suspects.pop(new[0].key, None)
            self._rejected[new[0].key] = new[0]
        else:
            self._suspects.update((encoded.key, encoded) for encoded in new)
        # With nothing new only removals were refused: nothing to isolate; they go out again with the next change.
        self._stale = self._stale or bool(new)
        return done

    def _uses_endpoints(self, name: ServiceName) -> bool:
        key = (ENDPOINTS, name)
        return key in self._sent or key in self._rejected

    def _land(self, nonce: int) -> InFlight | None:
        done = self.in_flight
        if done is None or done.nonce != nonce:
            return None
        self.in_flight = None
        return done

    def _wanted(self) -> dict[Key, Encoded]:
        wanted: dict[Key, Encoded] = {}
        own = self._usable(next(filter(None, map(self._resources.own, self._own)), None))
        if own is not None:
            wanted[own.key] = own
        for name in self._subscribed:
            service = self._usable(self._resources.service(name))
            if service is None:
                continue
            wanted[service.key] = service
            for backend in service.backends:
                endpoints = self._usable(self._resources.endpoints(backend))
                if endpoints is not None:
                    wanted[endpoints.key] = endpoints
        return wanted

    def _usable(self, encoded: Encoded | None) -> Encoded | None:
        """`encoded`, or the version before it when the sidecar has refused this one."""
        if encoded is not None and self._rejected.get(encoded.key) is encoded:
            return self._sent.get(encoded.key)
        return encoded

    def _full(self) -> pb.Delta | None:
        wanted = self._wanted()
        suspects = self._suspects.items()
        self._suspects = {key: e for key, e in suspects if wanted.get(key) is e and self._sent.get(key) is not e}
        # While the one at fault is looked for nothing is removed, or what comes again with a removal would never end.
        removals = set() if self._suspects else {name for kind, name in self._sent if (kind, name) not in wanted}
        upserts = [encoded for key, encoded in wanted.items() if self._must_send(key, encoded, removals)]
        # Endpoints before the routes that need them, which matters where a delta is taken apart.
        upserts.sort(key=lambda encoded: (-encoded.key[0], encoded.key[1]))
        self._stale = bool(self._suspects)
        self._stale_endpoints.clear()
        if self._suspects:
            upserts = self._isolated(upserts)
        unknown = {name for name in self._unanswered if (SERVICE, name) not in wanted}
        self._unanswered.clear()
        if not upserts and not removals and not unknown and not self._must_answer:
            self._changed_at = None
            return None
        self._must_answer = False
        return self._send(upserts, sorted(removals), sorted(unknown - removals))

    def _must_send(self, key: Key, encoded: Encoded, removals: set[ServiceName]) -> bool:
        # A removal takes both parts of a service away: what is still wanted of it comes again in the same delta.
        return self._sent.get(key) is not encoded or key[1] in self._unanswered or key[1] in removals

    def _isolated(self, upserts: list[Encoded]) -> list[Encoded]:
        """What to send while one of the suspects is at fault: first all others, then the suspects one by one."""
        innocent = [e for e in upserts if e.key not in self._suspects and not self._needs_suspect(e)]
        return innocent or [next(e for e in upserts if e.key in self._suspects)]

    def _needs_suspect(self, encoded: Encoded) -> bool:
        """Whether it is a service with routes to endpoints that the sidecar has no version of yet."""
        keys = [(ENDPOINTS, backend) for backend in encoded.backends]
        return any(key in self._suspects and key not in self._sent for key in keys)

    def _endpoints_only(self) -> pb.Delta | None:
        candidates = [self._resources.endpoints(name) for name in sorted(self._stale_endpoints)]
        self._stale_endpoints.clear()
        upserts = [e for e in candidates if self._sent.get(e.key) is not e and self._rejected.get(e.key) is not e]
        if not upserts:
            self._changed_at = None
            return None
        return self._send(upserts, [], [])

    def _send(self, upserts: list[Encoded], removals: list[ServiceName], unknown: list[ServiceName]) -> pb.Delta:
        removed = [(kind, name) for name in removals for kind in (SERVICE, ENDPOINTS)]
        changed = [*removed, *(encoded.key for encoded in upserts)]
        previous = {key: self._sent.get(key) for key in changed}
        for key in removed:
            self._sent.pop(key, None)
        self._sent.update((encoded.key, encoded) for encoded in upserts)
        self._nonce += 1
        revision = self._resources.revision
        self.in_flight = InFlight(self._nonce, revision, tuple(upserts), previous, self._changed_at)
        self._changed_at = None
        delta = pb.Delta(nonce=self._nonce, revision=revision, removals=removals, unknown=unknown)
        delta.upserts.extend(encoded.resource for encoded in upserts)
        return delta
