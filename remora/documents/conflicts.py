"""What one document cannot say: two policies for one service, and references that nobody has granted.

* The older of two policies keeps the service; a policy gets all of its targets or is refused as a whole.
* A route that sends requests to a service of another namespace needs a ReferenceGrant there (Gateway API, GEP-709),
  unless the route is for that very service: its callers could reach it without the route (GAMMA, GEP-1426).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from remora.documents.errors import Fault
from remora.documents.gateway import GRPCRoute, HTTPRoute, ReferenceGrant
from remora.documents.kinds import Document, DocumentKey, Route, key_of
from remora.documents.mesh import TrafficPolicy
from remora.documents.policies import targets
from remora.documents.routes import age, backend_places, parents
from remora.model.names import ServiceName, split_service_name

CONTESTED = frozenset(kind.__name__ for kind in (HTTPRoute, GRPCRoute, ReferenceGrant, TrafficPolicy))
"""Kinds whose documents say something about each other."""


class Candidate(msgspec.Struct, frozen=True):
    """A document as last written and, if that one cannot be used, as it last worked."""

    created: int
    latest: Document | None
    """None: it is refused for itself."""
    active: Document | None


class Verdict(msgspec.Struct, frozen=True):
    used: Document | None
    faults: tuple[Fault, ...] = ()
    """Why `latest` is not the one used."""


def settle(candidates: Iterable[Candidate], *, all_known: bool = True) -> dict[DocumentKey, Verdict]:
    """What is used of documents of CONTESTED kinds, together. `all_known`: there are no others; else a grant that is
    not among them may be elsewhere."""
    table = _Table(all_known)
    verdicts: dict[DocumentKey, Verdict] = {}
    for candidate in sorted(candidates, key=_order):
        document = candidate.latest or candidate.active
        if document is not None:
            verdicts[key_of(document)] = table.judge(candidate)
    return verdicts


def _order(candidate: Candidate) -> tuple[object, ...]:
    """Grants first, then the oldest."""
    document = candidate.latest or candidate.active
    return (not isinstance(document, ReferenceGrant), *age(document, candidate.created)) if document else ()


class _Table:
    """What has been decided so far."""

    def __init__(self, all_known: bool) -> None:
        self._all_known = all_known
        self._owners: dict[ServiceName, DocumentKey] = {}
        self._grants: set[tuple[str, str, str, str | None]] = set()
        """(kind and namespace of who refers, namespace of the service, its name or None for all)."""

    def judge(self, candidate: Candidate) -> Verdict:
        faults: tuple[Fault, ...] = ()
        for document in (candidate.latest, candidate.active):
            if document is None:
                continue
            found = tuple(self._faults(document))
            if not found:
                self._take(document)
                return Verdict(document, faults)
            faults = faults or found
        return Verdict(None, faults)

    def _take(self, document: Document) -> None:
        match document:
            case TrafficPolicy():
                self._owners.update(dict.fromkeys(targets(document), key_of(document)))
            case ReferenceGrant():
                here = document.metadata.namespace
                self._grants.update(
                    (source.kind, source.namespace, here, target.name)
                    for source in document.spec.from_
                    for target in document.spec.to
                )

    def _faults(self, document: Document) -> Iterator[Fault]:
        match document:
            case TrafficPolicy():
                yield from self._taken(document)
            case HTTPRoute() | GRPCRoute() if self._all_known:
                yield from self._not_granted(document)

    def _taken(self, policy: TrafficPolicy) -> Iterator[Fault]:
        for index, target in enumerate(targets(policy)):
            if target in self._owners:
                message = (
                    f"{self._owners[target]}, which is older, is the policy of {target} already; "
                    "change that one or delete it"
                )
                yield Fault(f"spec.targetRefs[{index}]", message)

    def _not_granted(self, route: Route) -> Iterator[Fault]:
        own, asked_for = route.metadata.namespace, parents(route)
        for place, service in backend_places(route):
            name, namespace = split_service_name(service)
            if namespace == own or service in asked_for:
                continue
            if self._grants.isdisjoint(((route.kind, own, namespace, None), (route.kind, own, namespace, name))):
                message = (
                    f"{service} is in another namespace, and no ReferenceGrant there allows "
                    f"{route.kind}s of {own} to refer to it"
                )
                yield Fault(place, message)
