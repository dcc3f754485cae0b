"""TrafficPolicy → how callers reach a service."""

from __future__ import annotations

from remora.documents.durations import seconds
from remora.documents.kinds import origin_of
from remora.documents.mesh import PolicyTimeouts, Retry, TrafficPolicy
from remora.model.grpc import GRPC_STATUS_NAMES, GrpcFailureName
from remora.model.names import ServiceName, service_name
from remora.model.policies import Balancer, BalancerKind, RetryPolicy, ServicePolicy, Timeouts

_BALANCERS: dict[str, BalancerKind] = {
    "LeastRequest": "least_request",
    "RoundRobin": "round_robin",
    "Random": "random",
}
_GRPC_STATUSES: dict[str, int] = {name: number for number, name in enumerate(GRPC_STATUS_NAMES)}


def targets(policy: TrafficPolicy) -> tuple[ServiceName, ...]:
    """The services that a policy is for."""
    return tuple(service_name(target.name, policy.metadata.namespace) for target in policy.spec.target_refs)


def compile_policy(policy: TrafficPolicy, revision: int) -> ServicePolicy:
    """The model's policy of a checked document; what it leaves out has the model's defaults."""
    return ServicePolicy(
        balancer=Balancer(_BALANCERS[policy.spec.balancer.type]),
        retry=_retry(policy.spec.retry),
        timeouts=_timeouts(policy.spec.timeouts),
        origin=origin_of(policy, revision),
    )


def _retry(retry: Retry) -> RetryPolicy:
    default = RetryPolicy()
    return RetryPolicy(
        attempts=default.attempts if retry.attempts is None else retry.attempts,
        codes=default.codes if retry.codes is None else retry.codes,
        grpc_statuses=_statuses(retry.grpc_statuses, default.grpc_statuses),
        safe_methods=retry.safe_methods,
    )


def _statuses(names: tuple[GrpcFailureName, ...] | None, default: tuple[int, ...]) -> tuple[int, ...]:
    return default if names is None else tuple(_GRPC_STATUSES[name] for name in names)


def _timeouts(timeouts: PolicyTimeouts) -> Timeouts:
    default = Timeouts()
    return Timeouts(
        connect_s=_seconds(timeouts.connect, default.connect_s),
        request_s=_seconds(timeouts.request, default.request_s),
        idle_s=_seconds(timeouts.idle, default.idle_s),
        keep_alive_s=_seconds(timeouts.keep_alive, default.keep_alive_s),
    )


def _seconds(duration: str | None, default: float) -> float:
    return default if duration is None else seconds(duration)
