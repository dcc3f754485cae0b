"""RateLimitPolicy → the limits of a service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from remora.documents import rate_limit_policy as documents
from remora.documents.durations import seconds
from remora.documents.kinds import origin_of
from remora.documents.rate_limit_policy import RateLimitPolicy
from remora.documents.routes import compile_match
from remora.model.base import Origin
from remora.model.limits import DescriptorEntry, ExternalLimit, LimitKey, LimitKeyKind, RateLimit, ServiceLimits
from remora.model.names import ServiceName, service_name, split_authority

_KINDS: dict[str, LimitKeyKind] = {
    "Header": "header",
    "Path": "path",
    "Method": "method",
    "Peer": "peer",
    "SourceAddress": "address",
}


def targets(policy: RateLimitPolicy) -> tuple[ServiceName, ...]:
    """The services that a policy is for."""
    return tuple(service_name(target.name, policy.metadata.namespace) for target in policy.spec.target_refs)


LimitsByService = Mapping[ServiceName, ServiceLimits]


def compile_limits(policy: RateLimitPolicy, revision: int) -> LimitsByService:
    """The model's limits of a checked document, for each of its targets."""
    origin = origin_of(policy, revision)
    return {service: _of_service(policy, service, origin) for service in targets(policy)}


def _of_service(policy: RateLimitPolicy, service: ServiceName, origin: Origin) -> ServiceLimits:
    external = policy.spec.external
    return ServiceLimits(
        tuple(_limit(policy, limit, service, origin) for limit in policy.spec.limits),
        () if external is None else (_external(policy, external, service, origin),),
    )


def join_limits(limits: Iterable[ServiceLimits]) -> ServiceLimits:
    """Those of several policies: by the policies' names."""
    found = tuple(limits)
    local = sorted((limit for each in found for limit in each.limits), key=lambda limit: limit.name)
    external = sorted((limit for each in found for limit in each.external), key=lambda limit: limit.name)
    return ServiceLimits(tuple(local), tuple(external))


def _limit(policy: RateLimitPolicy, limit: documents.Limit, service: ServiceName, origin: Origin) -> RateLimit:
    spec = policy.spec
    return RateLimit(
        service=service,
        name=f"{policy.metadata.name}/{limit.name}",
        origin=origin,
        requests=limit.requests,
        per_s=seconds(limit.per),
        burst=limit.burst,
        matches=tuple(compile_match(match) for match in limit.matches),
        keys=tuple(LimitKey(_KINDS[key.type], (key.name or "").lower()) for key in limit.keys),
        max_keys=limit.max_keys,
        scope="service" if limit.scope == "Service" else "instance",
        at_callers=spec.enforced_by == "Callers",
        shadow=spec.enforcement == "Shadow",
    )


def _external(
    policy: RateLimitPolicy, external: documents.External, service: ServiceName, origin: Origin
) -> ExternalLimit:
    spec = policy.spec
    host, port = split_authority(external.address)
    assert port is not None, "its form has one"
    return ExternalLimit(
        service=service,
        name=policy.metadata.name,
        origin=origin,
        host=host,
        port=port,
        domain=external.domain,
        descriptors=tuple(tuple(map(_entry, descriptor.entries)) for descriptor in external.descriptors),
        timeout_s=seconds(external.timeout),
        fail_open=external.fail_open,
        at_callers=spec.enforced_by == "Callers",
        shadow=spec.enforcement == "Shadow",
    )


def _entry(entry: documents.Entry) -> DescriptorEntry:
    if entry.type == "Value":
        return DescriptorEntry(entry.key, entry.value or "")
    return DescriptorEntry(entry.key, source=LimitKey(_KINDS[entry.type], (entry.name or "").lower()))
