"""A file of documents → Snapshot: what `sidecar run --config FILE` runs on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from remora.documents.conflicts import Candidate, settle
from remora.documents.endpoints import service_of, static_endpoints
from remora.documents.errors import DocumentError
from remora.documents.fault_policy import FaultPolicy
from remora.documents.faults import compile_faults
from remora.documents.gateway import GRPCRoute, HTTPRoute
from remora.documents.kinds import Document, key_of
from remora.documents.limits import compile_limits
from remora.documents.mesh import ServiceEndpoints, TrafficPolicy
from remora.documents.parse import Parsed, parse_text
from remora.documents.policies import compile_policy, targets
from remora.documents.rate_limit_policy import RateLimitPolicy
from remora.documents.references import subjects
from remora.documents.routes import RankedRoute, compile_routes
from remora.documents.services import compile_service
from remora.model.limits import Fault, ServiceLimits
from remora.model.names import ServiceName, version_service
from remora.model.policies import ServicePolicy
from remora.model.snapshot import Endpoint, EndpointSet, Service, Snapshot, SnapshotError


def load_file(path: Path) -> Snapshot:
    """The Snapshot that a file describes. Raises SnapshotError, one line a fault, if anything is wrong with it."""
    parsed = read_file(path)
    errors = parsed.errors or conflicts(parsed.documents, str(path))
    if errors:
        raise SnapshotError("\n".join(str(error) for error in errors))
    return compile_snapshot(parsed.documents)


def read_file(path: Path) -> Parsed:
    """The documents of a file. Raises SnapshotError when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise SnapshotError(f"{path} is not UTF-8 text (at byte {error.start})") from None
    return parse_text(text, str(path))


def conflicts(documents: Iterable[Document], source: str = "", *, all_known: bool = True) -> tuple[DocumentError, ...]:
    """What is wrong with these documents together. `all_known`: they are all that there are."""
    candidates = [Candidate(0, document, None) for document in documents]
    return tuple(
        DocumentError.of(str(key), fault, source)
        for key, verdict in settle(candidates, all_known=all_known).items()
        for fault in verdict.faults
    )


def compile_snapshot(documents: Iterable[Document]) -> Snapshot:
    """All of these documents, checked and without conflicts, as a Snapshot of revision 0."""
    routes: dict[ServiceName, list[RankedRoute]] = defaultdict(list)
    policies: dict[ServiceName, ServicePolicy] = {}
    faults: dict[ServiceName, list[Fault]] = defaultdict(list)
    limits: dict[ServiceName, list[ServiceLimits]] = defaultdict(list)
    endpoints: dict[ServiceName, dict[str, Endpoint]] = defaultdict(dict)
    for document in sorted(documents, key=key_of):
        match document:
            case HTTPRoute() | GRPCRoute():
                for parent, compiled in compile_routes(document, 0, 0).items():
                    routes[parent] += compiled
            case TrafficPolicy():
                policies.update(dict.fromkeys(targets(document), compile_policy(document, 0)))
            case FaultPolicy():
                for target in subjects(document):
                    faults[target] += compile_faults(document, 0)
            case RateLimitPolicy():
                for target, limit in compile_limits(document, 0).items():
                    limits[target].append(limit)
            case ServiceEndpoints():
                endpoints[service_of(document)].update((e.id, e) for e in static_endpoints(document))
    _hand_down(_versions(endpoints), policies, limits)
    names = routes.keys() | policies.keys() | faults.keys() | limits.keys() | endpoints.keys()
    services: dict[ServiceName, Service] = {
        name: compile_service(
            name, routes.get(name, ()), policies.get(name), faults.get(name, ()), limits.get(name, ())
        )
        for name in sorted(names)
    }
    sets = {name: _endpoint_set(name, by_id) for name, by_id in sorted(endpoints.items())}
    return Snapshot(0, services, sets)


def _hand_down(
    versions: dict[ServiceName, ServiceName],
    policies: dict[ServiceName, ServicePolicy],
    limits: dict[ServiceName, list[ServiceLimits]],
) -> None:
    """What versions have of their bases: the policy, if they have none, and what instances enforce."""
    for version, base in versions.items():
        if version not in policies and base in policies:
            policies[version] = policies[base]
        if base in limits:
            limits[version] += [limit.enforced(at_callers=False) for limit in limits[base]]


def _versions(endpoints: dict[ServiceName, dict[str, Endpoint]]) -> dict[ServiceName, ServiceName]:
    """Adds the services that versions are to `endpoints`; returns the base of each. A service of that name wins."""
    bases: dict[ServiceName, ServiceName] = {}
    for base, by_id in list(endpoints.items()):
        for endpoint in by_id.values():
            version = version_service(base, endpoint.version)
            if version is None or (version in endpoints and version not in bases):
                continue
            bases.setdefault(version, base)
            endpoints[version][endpoint.id] = endpoint
    return bases


def _endpoint_set(name: ServiceName, by_id: dict[str, Endpoint]) -> EndpointSet:
    return EndpointSet(name, tuple(endpoint for _, endpoint in sorted(by_id.items())))
