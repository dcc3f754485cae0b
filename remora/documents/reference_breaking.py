"""What the reference says in words about limits and breakers."""

from __future__ import annotations

from remora.model.policies import Breaker, Caps, HealthCheck

_CAPS = Caps()
_BREAKER = Breaker()
_HEALTH = HealthCheck()

DEFAULTS: dict[str, str] = {
    "Limits.connections": f"`{_CAPS.connections}`",
    "Limits.pending": f"`{_CAPS.pending}`",
    "Limits.requests": f"`{_CAPS.requests}`",
    "TrafficPolicySpec.breaker": "none",
    "TrafficPolicySpec.health": "none",
    "HealthCheck.path": f"`{_HEALTH.path}`",
    "HealthCheck.service": "the server as a whole",
    "HealthCheck.port": "the instance's",
    "HealthCheck.statuses": f"{_HEALTH.statuses[0]} to {_HEALTH.statuses[1]}",
    "Breaker.window": f"`{_BREAKER.window_s:g}s`",
    "Breaker.volume": f"`{_BREAKER.volume}`",
    "Breaker.errorPercent": f"`{_BREAKER.error_share * 100:g}`",
    "Breaker.failures": f"`{_BREAKER.failures}`",
}

MEANINGS: dict[str, str] = {
    "TrafficPolicySpec.limits": "how much of each caller's sidecar the service may take; what is more is answered 503 "
    "at once, flag `UO`, and not retried; 0: no limit. Retries have a limit of their own: `retry.budget`",
    "Limits.connections": "open connections, to all instances together; requests wait then (`pending`), tunnels are "
    "refused (`connections_overflow`); one connection each instance may always have",
    "Limits.pending": "requests that wait for a connection (`pending_overflow`)",
    "Limits.requests": "requests in flight, those that wait and tunnels among them (`requests_overflow`)",
    "TrafficPolicySpec.breaker": "stops sending to what fails, and tries again after a while with a few requests; "
    "each sidecar judges by what it has seen itself. A try fails as for `outlier.consecutiveFailures`. While it is "
    "open requests are answered 503 `breaker_open`, flag `UO`, with `Retry-After` (gRPC: UNAVAILABLE, "
    "`grpc-retry-pushback-ms`), and nothing is retried",
    "Breaker.type": "`ErrorRatio`: opens when enough of the last tries failed; `Consecutive`: when so many failed "
    "in a row",
    "Breaker.per": "`Endpoint`: each instance has one, and is passed over while it is open; refused is only when that "
    "of every instance is",
    "Breaker.window": "of `ErrorRatio`: how far back it looks",
    "Breaker.volume": "of `ErrorRatio`: with fewer tries in the window it stays closed",
    "Breaker.errorPercent": "of `ErrorRatio`: opens when so many of the tries in the window failed, or more",
    "Breaker.failures": "of `Consecutive`: so many in a row",
    "Breaker.sleep": "how long it is open; then it is half open: probes go through, and nothing else",
    "Breaker.probes": "so many at once; when as many have gone well it closes, when one fails it is open again. "
    "After another `sleep` those whose answers still go on, as streams do, have gone well, and in place of those that "
    "are not answered others go",
    "TrafficPolicySpec.health": "each caller's sidecar asks each instance whether it is well, and leaves out those "
    "that are not (state `check-failed`; below `balancer.panicThreshold` they are used all the same). One that has not "
    "been asked yet counts as well. With `--workers` it is asked once for all",
    "HealthCheck.type": "`HTTP`: by GET over HTTP/1.1; `GRPC`: by `grpc.health.v1.Health/Check`; `TCP`: by connecting",
    "HealthCheck.path": "of `HTTP`: what is asked for",
    "HealthCheck.service": "of `GRPC`: which service is asked for",
    "HealthCheck.port": "where it is asked",
    "HealthCheck.interval": "how often, give or take a tenth; the first time within one interval, by chance",
    "HealthCheck.timeout": "an answer that takes longer is a failed check",
    "HealthCheck.healthyAfter": "so many good checks in a row and an instance is used again",
    "HealthCheck.unhealthyAfter": "so many failed checks in a row and it is left out",
    "HealthCheck.statuses": "of `HTTP`: which statuses are well",
    "HealthStatuses.first": "the lowest",
    "HealthStatuses.last": "the highest",
    "Breaker.enforcement": "`Shadow`: nothing is refused; tries that would have been are counted "
    "(`mesh_shadowed_total`), changes of state are logged and counted as ever",
}
