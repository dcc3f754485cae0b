"""What the reference says in words about limits and breakers."""

from __future__ import annotations

from remora.model.policies import Breaker, Caps

_CAPS = Caps()
_BREAKER = Breaker()

DEFAULTS: dict[str, str] = {
    "Limits.connections": f"`{_CAPS.connections}`",
    "Limits.pending": f"`{_CAPS.pending}`",
    "Limits.requests": f"`{_CAPS.requests}`",
    "TrafficPolicySpec.breaker": "none",
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
    "Breaker.probes": "so many at once; when as many have gone well it closes, when one fails it is open again; when "
    "they are not answered within another `sleep`, others go",
    "Breaker.enforcement": "`Shadow`: nothing is refused; tries that would have been are counted "
    "(`mesh_shadowed_total`), changes of state are logged and counted as ever",
}
