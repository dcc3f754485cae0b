"""What the reference says of the fields that protect a service."""

from __future__ import annotations

_ENFORCEMENT = "`Shadow`: what it would refuse is counted (`mesh_shadowed_total`) and logged, and goes on"

MEANINGS: dict[str, str] = {
    "TrafficPolicySpec.admission": "sheds requests at the caller while the service fails most of them (client-side "
    "throttling, Google SRE book, ch. 21): each is refused by chance, with 503, `admission_shed`. Each sidecar "
    "counts for itself, each backend of a route by itself. What was refused here in another way (a breaker, a limit, "
    "no instance) does not count",
    "Admission.multiplierPercent": "requests beyond so many percent of the accepted ones are shed, by the chance "
    "`(requests - accepted * multiplier) / (requests + 1)`; 200: none are while half is accepted. When the service is "
    "back, each window lets so much more through than the one before",
    "Admission.window": "over which requests are counted",
    "Admission.volume": "with fewer requests in the window nothing is shed",
    "Admission.maxPercent": "never more is shed, so that it shows when the service is back",
    "Admission.enforcement": _ENFORCEMENT,
    "TrafficPolicySpec.concurrency": "bounds the requests in flight at the service's own sidecar (`--service`), by how "
    "latency grows (gradient, as Envoy's adaptive concurrency): every window it becomes "
    "`limit * (latency without load + buffer) / latency + sqrt(limit)`. What is over it is refused with 503, "
    "`concurrency_limit`; calling sidecars try another instance, with a POST too. Not for services that stream: how "
    "long a stream lasts is no latency",
    "Concurrency.min": "the least; also while latency without load is measured",
    "Concurrency.max": "the most",
    "Concurrency.window": "how long latency is gathered before the limit moves",
    "Concurrency.measureEvery": "how often latency without load is measured anew; sooner if the limit is at its least "
    "for 5 windows",
    "Concurrency.measureRequests": "how many good answers make a measurement; until then no more than `min` are in "
    "flight, after a start too",
    "Concurrency.bufferPercent": "by how much latency may grow before the limit falls",
    "Concurrency.enforcement": _ENFORCEMENT + ". Latency without load is measured under load then",
    "TrafficPolicySpec.fallback": "what the caller's sidecar answers, once for each request, where the service has "
    "not; the answer says so in `x-mesh-fallback`. The policy of the service that is asked for counts, not that of "
    "a backend",
    "Fallback.causes": "`NoEndpoint`: there is no instance; `BreakerOpen`: a breaker, a cap or admission control keeps "
    "the request back; `Failure`: connecting failed, the answer broke off before it began, or is of 5xx (gRPC: "
    "DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS, before any message); `Timeout`: no answer in time. All "
    "after the retries",
    "Fallback.answer": "this, to HTTP requests",
    "StaticAnswer.status": "of the answer",
    "StaticAnswer.headers": "of the answer; `content-type` for one",
    "StaticAnswer.body": "at most 64 KiB",
    "Fallback.service": "an instance of this service, of the policy's namespace, is asked instead, past its routes. "
    "After `Failure` and `Timeout` only for requests that may be executed twice (but for failed connects), and "
    "never for those with a body over 64 KiB; it has the time of a new request, and passes the `admission` of the "
    "service that it goes to",
    "Fallback.lastGood": "the last answer of 200 to the same GET without content, if a shared cache may keep it (RFC "
    "9111): not with `no-store`, `private` or `no-cache`; with Cookie, Authorization or Set-Cookie only if `public`; "
    "by Vary; with `Age`. What is not `public` is for requests that have the same fields, but for those that surely do "
    "not say who asks (`Accept…`, `User-Agent`, conditions, fields of tracing). Up to 64 KiB each; stale unless "
    "`must-revalidate` or `s-maxage` forbid it; forgotten when something else than GET, HEAD, OPTIONS or TRACE of the "
    "same URL goes well, or a GET gets 404 or 410. Each sidecar keeps its own",
    "LastGood.maxAge": "older ones are not used",
    "LastGood.maxBytes": "of all of them together; the longest unused goes first",
}

DEFAULTS: dict[str, str] = {
    "TrafficPolicySpec.admission": "off",
    "TrafficPolicySpec.concurrency": "off",
    "TrafficPolicySpec.fallback": "none",
    "Fallback.causes": "`[NoEndpoint, BreakerOpen]`",
    "Fallback.answer": "one of the three",
    "Fallback.service": "one of the three",
    "Fallback.lastGood": "one of the three",
}
