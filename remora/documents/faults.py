"""FaultPolicy → the faults of a service."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from remora.documents.durations import seconds
from remora.documents.fault_policy import Abort, FaultPolicy
from remora.documents.kinds import origin_of
from remora.documents.routes import compile_match
from remora.model.grpc import GRPC_OF_HTTP, GRPC_STATUS_NAMES, HTTP_OF_GRPC
from remora.model.limits import Fault
from remora.model.names import ServiceName, service_name

_UNKNOWN = 2


def targets(policy: FaultPolicy) -> tuple[ServiceName, ...]:
    """The services that a policy is for."""
    return tuple(service_name(target.name, policy.metadata.namespace) for target in policy.spec.target_refs)


def compile_faults(policy: FaultPolicy, revision: int) -> tuple[Fault, ...]:
    """The model's faults of a checked document."""
    spec = policy.spec
    until = 0.0 if spec.expires is None else unix_time(spec.expires)
    found = []
    for index, fault in enumerate(spec.faults):
        status, grpc_status = (0, 0) if fault.abort is None else _statuses(fault.abort)
        found.append(
            Fault(
                origin=origin_of(policy, revision, index),
                matches=tuple(compile_match(match) for match in fault.matches),
                share=fault.percent / 100,
                delay_s=0.0 if fault.delay is None else seconds(fault.delay),
                status=status,
                grpc_status=grpc_status,
                until=until,
                enabled=spec.enabled,
            )
        )
    return tuple(found)


def in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """The faults of several policies: by the policies' names."""
    return tuple(sorted(faults, key=lambda fault: (fault.origin.namespace, fault.origin.name, fault.origin.rule)))


def unix_time(text: str) -> float:
    """Of RFC 3339. Raises ValueError for what is no date."""
    return datetime.fromisoformat(text).timestamp()


def _statuses(abort: Abort) -> tuple[int, int]:
    """(HTTP, gRPC)."""
    if abort.grpc_status is None:
        status = abort.status or 0
        return status, GRPC_OF_HTTP.get(status, _UNKNOWN)
    grpc_status = GRPC_STATUS_NAMES.index(abort.grpc_status)
    return abort.status or HTTP_OF_GRPC[grpc_status], grpc_status
