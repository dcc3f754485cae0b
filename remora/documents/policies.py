"""TrafficPolicy → how callers reach a service."""

from __future__ import annotations

from remora.documents import mesh as documents
from remora.documents.breaking import compile_breaker, compile_caps, compile_health
from remora.documents.durations import seconds
from remora.documents.kinds import origin_of
from remora.documents.mesh import TrafficPolicy
from remora.documents.protection_policies import compile_admission, compile_concurrency, compile_fallback
from remora.model.grpc import GRPC_STATUS_NAMES, GrpcFailureName
from remora.model.names import ServiceName, service_name
from remora.model.policies import (
    Balancer,
    BalancerKind,
    HashKey,
    HashSource,
    Hedging,
    Locality,
    Outlier,
    RetryBudget,
    RetryPolicy,
    ServicePolicy,
    SlowStart,
    SuccessRate,
    Timeouts,
)

_BALANCERS: dict[str, BalancerKind] = {
    "LeastRequest": "least_request",
    "RoundRobin": "round_robin",
    "Random": "random",
    "PeakEWMA": "peak_ewma",
    "RingHash": "ring_hash",
    "Maglev": "maglev",
}
_HASH_SOURCES: dict[str, HashSource] = {
    "Header": "header",
    "Cookie": "cookie",
    "QueryParam": "query",
    "SourceAddress": "address",
}
_GRPC_STATUSES: dict[str, int] = {name: number for number, name in enumerate(GRPC_STATUS_NAMES)}


def targets(policy: TrafficPolicy) -> tuple[ServiceName, ...]:
    """The services that a policy is for."""
    return tuple(service_name(target.name, policy.metadata.namespace) for target in policy.spec.target_refs)


def compile_policy(policy: TrafficPolicy, revision: int) -> ServicePolicy:
    """The model's policy of a checked document; what it leaves out has the model's defaults."""
    return ServicePolicy(
        retry=_retry(policy.spec.retry, policy.spec.hedging, policy.spec.timeouts),
        balancer=_balancer(policy.spec.balancer),
        locality=Locality(policy.spec.locality.failover) if policy.spec.locality.mode == "ZoneFirst" else None,
        timeouts=_timeouts(policy.spec.timeouts),
        outlier=_outlier(policy.spec.outlier),
        sticky_by=tuple(hash_key(key) for key in policy.spec.split.sticky_by),
        admission=compile_admission(policy.spec.admission),
        concurrency=compile_concurrency(policy.spec.concurrency),
        caps=compile_caps(policy.spec.limits),
        breaker=None if policy.spec.breaker is None else compile_breaker(policy.spec.breaker),
        fallback=compile_fallback(policy.spec.fallback, policy.metadata.namespace),
        health=None if policy.spec.health is None else compile_health(policy.spec.health),
        origin=origin_of(policy, revision),
    )


def _balancer(balancer: documents.Balancer) -> Balancer:
    slow, panic = balancer.slow_start, balancer.panic_threshold
    return Balancer(
        _BALANCERS[balancer.type],
        hash_on=tuple(hash_key(key) for key in balancer.hash_on),
        bounded_load=None if balancer.bounded_load is None else balancer.bounded_load / 100,
        slow_start=None if slow is None else SlowStart(seconds(slow.window), slow.min_weight / 100),
        panic_share=Balancer().panic_share if panic is None else panic / 100,
    )


def hash_key(key: documents.HashKey) -> HashKey:
    """The model's key of a checked one."""
    name = key.name or ""
    ttl_s = None if key.ttl is None else seconds(key.ttl)
    return HashKey(_HASH_SOURCES[key.type], name.lower() if key.type == "Header" else name, ttl_s)


def _retry(
    retry: documents.Retry, hedging: documents.Hedging | None, timeouts: documents.PolicyTimeouts
) -> RetryPolicy:
    default, header = RetryPolicy(), retry.idempotency_header
    return RetryPolicy(
        attempts=default.attempts if retry.attempts is None else retry.attempts,
        codes=default.codes if retry.codes is None else retry.codes,
        grpc_statuses=_statuses(retry.grpc_statuses, default.grpc_statuses),
        safe_methods=retry.safe_methods,
        idempotency_header=default.idempotency_header if header is None else header.lower(),
        on_connect=retry.conditions is None or "ConnectFailure" in retry.conditions,
        on_refused=retry.conditions is None or "RefusedStream" in retry.conditions,
        on_reset=retry.conditions is None or "Reset" in retry.conditions,
        per_try_s=_seconds(retry.per_try_timeout, default.per_try_s),
        backoff_base_s=_seconds(retry.backoff.base, default.backoff_base_s),
        backoff_cap_s=_seconds(retry.backoff.max, default.backoff_cap_s),
        budget=_budget(retry.budget),
        hedging=None if hedging is None else Hedging(seconds(hedging.delay), hedging.attempts),
        tells_timeout=_seconds(timeouts.request, 0.0) > 0.0,
    )


def _budget(budget: documents.RetryBudget) -> RetryBudget:
    default = RetryBudget()
    return RetryBudget(
        share=default.share if budget.percent is None else budget.percent / 100,
        minimum=default.minimum if budget.minimum is None else budget.minimum,
        minimum_per_s=default.minimum_per_s if budget.minimum_per_second is None else budget.minimum_per_second,
    )


def _statuses(names: tuple[GrpcFailureName, ...] | None, default: tuple[int, ...]) -> tuple[int, ...]:
    return default if names is None else tuple(_GRPC_STATUSES[name] for name in names)


def _timeouts(timeouts: documents.PolicyTimeouts) -> Timeouts:
    default = Timeouts()
    return Timeouts(
        connect_s=_seconds(timeouts.connect, default.connect_s),
        request_s=_seconds(timeouts.request, default.request_s),
        idle_s=_seconds(timeouts.idle, default.idle_s),
        keep_alive_s=_seconds(timeouts.keep_alive, default.keep_alive_s),
    )


def _outlier(outlier: documents.Outlier) -> Outlier:
    default = Outlier()
    percent, rate = outlier.max_ejected_percent, outlier.success_rate
    return Outlier(
        consecutive=default.consecutive if outlier.consecutive_failures is None else outlier.consecutive_failures,
        base_s=_seconds(outlier.base_ejection, default.base_s),
        max_s=_seconds(outlier.max_ejection, default.max_s),
        max_share=default.max_share if percent is None else percent / 100,
        success_rate=None
        if rate is None
        else SuccessRate(seconds(rate.interval), rate.min_endpoints, rate.volume, rate.deviation_percent / 100),
    )


def _seconds(duration: str | None, default: float) -> float:
    return default if duration is None else seconds(duration)
