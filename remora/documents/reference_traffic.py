"""What the reference says in words about TrafficPolicy, but for limits, breakers and protection."""

from __future__ import annotations

from remora.model.policies import Balancer, Outlier, RetryPolicy, Timeouts

_RETRY = RetryPolicy()
_TIMEOUTS = Timeouts()
_OUTLIER = Outlier()

TRAFFIC_POLICY = """\
How callers reach the services that it names: balancer, retries, timeouts. A service has one policy; a second one for
the same service is refused, the older one keeps it. A version (`reviews-v2`) without a policy of its own has that of
the service whose route sends requests to it.

```yaml
apiVersion: mesh.remora.dev/v1alpha1
kind: TrafficPolicy
metadata:
  name: prices
spec:
  targetRefs:
    - {kind: Service, group: "", name: prices}
  balancer: {type: LeastRequest}
  retry:
    attempts: 2
    grpcStatuses: [UNAVAILABLE]
    safeMethods: [/prices.v1.Prices/GetPrice]
  timeouts: {request: 5s, connect: 1s}
```

What may be retried: a request whose connection failed or whose stream was refused (it was surely not executed), always;
any other failure only if the request is safe to execute twice: GET, HEAD, OPTIONS, TRACE, PUT, DELETE, what
`safeMethods` names, and what has an `Idempotency-Key`. Each retry prefers an instance that was not tried, after a
random wait of up to 25 ms, then 50, at most 250 ms, or as long as the answer asks for by `Retry-After` or
`grpc-retry-pushback-ms`: where that is more than the request's time allows, the answer is passed on instead. A request
body of more than 64 KiB is streamed and not retried. gRPC's retries have `grpc-previous-rpc-attempts`, as gRPC's own
have.
"""

DEFAULTS: dict[str, str] = {
    # What a document leaves out is the model's to decide.
    "Retry.attempts": f"`{_RETRY.attempts}`",
    "Retry.codes": f"`[{', '.join(map(str, _RETRY.codes))}]`",
    "Retry.grpcStatuses": "`[UNAVAILABLE]`",
    "Outlier.consecutiveFailures": f"`{_OUTLIER.consecutive}`",
    "Outlier.baseEjection": f"`{_OUTLIER.base_s:g}s`",
    "Outlier.maxEjection": f"`{_OUTLIER.max_s / 60:g}m`",
    "Outlier.maxEjectedPercent": f"`{_OUTLIER.max_share * 100:g}`",
    "Outlier.successRate": "off",
    "TrafficPolicySpec.hedging": "off",
    "Retry.conditions": "all",
    "Retry.idempotencyHeader": "`Idempotency-Key`",
    "Retry.perTryTimeout": "no limit of its own",
    "Backoff.base": f"`{_RETRY.backoff_base_s * 1000:g}ms`",
    "Backoff.max": f"`{_RETRY.backoff_cap_s * 1000:g}ms`",
    "RetryBudget.percent": f"`{_RETRY.budget.share * 100:g}`",
    "RetryBudget.minimum": f"`{_RETRY.budget.minimum}`",
    "RetryBudget.minimumPerSecond": f"`{_RETRY.budget.minimum_per_s}`",
    "Balancer.panicThreshold": f"`{Balancer().panic_share * 100:g}`",
    "PolicyTimeouts.connect": f"`{_TIMEOUTS.connect_s:g}s`",
    "PolicyTimeouts.request": f"`{_TIMEOUTS.request_s:g}s`",
    "PolicyTimeouts.idle": f"`{_TIMEOUTS.idle_s / 60:g}m`",
    "PolicyTimeouts.keepAlive": f"`{_TIMEOUTS.keep_alive_s / 60:g}m`",
}

MEANINGS: dict[str, str] = {
    "TrafficPolicySpec.targetRefs": "the services that this policy is for, of its own namespace; at least one",
    "TrafficPolicySpec.balancer": "who gets the next request",
    "TrafficPolicySpec.retry": "when to try again",
    "TrafficPolicySpec.hedging": "send requests that wait for their answer to other instances too; the first good "
    "answer counts, the others are given up. Only what is safe to execute twice, with at most 64 KiB of body, within "
    "the retry budget; not the requests of a session",
    "Hedging.delay": "without an answer so long after the request's end, or after the last hedge",
    "Hedging.attempts": "so many beside the first try",
    "TrafficPolicySpec.timeouts": "how long to wait",
    "TrafficPolicySpec.split": "how requests are split among backends with weights",
    "Split.stickyBy": "what keeps a user with one backend, on every sidecar: the first of these that a request has. A "
    "backend whose weight grows keeps those whom it had. Without any, and for requests without any, chance decides",
    "HashKey.type": "`SourceAddress`: the first address of `X-Forwarded-For`, else that of the connection",
    "HashKey.name": "of the header, cookie or query parameter",
    "HashKey.ttl": "of a cookie: where a request has none of the keys, one is made that lives for so long; `0s`: until "
    "the browser closes",
    "TargetRef.name": "the service",
    "TargetRef.group": 'must be `""`',
    "TargetRef.kind": "must be `Service`",
    "TrafficPolicySpec.locality": "whether the zone (`sidecar run --zone`) counts",
    "Balancer.type": "`LeastRequest`: of two drawn, the one with fewer requests in flight. `PeakEWMA`: of two drawn, "
    "the one that answers faster with less in flight; 429 and failures count as 5 s at least. `RingHash`, `Maglev`: "
    "the same key, the same instance, on every sidecar; Maglev is more even, a ring moves nothing when instances come "
    "or go. Weights count in all",
    "Balancer.hashOn": "the first of these that a request has; one that has none goes anywhere. Only for `RingHash` "
    "and `Maglev`, which need it",
    "Balancer.boundedLoad": "an instance with more requests in flight than so many percent of the mean is passed over "
    "for the next on the key's way. Only for `RingHash` and `Maglev`",
    "Balancer.slowStart": "a new instance, and one that is well again, gets little at first. Not for `RingHash` and "
    "`Maglev`: each step would move keys",
    "Balancer.panicThreshold": "when fewer percent of the instances are usable, health is not believed and all are "
    "used; 0: never, and no usable instance means 503 (`UH`)",
    "SlowStart.window": "after this it has its whole weight; the weight grows evenly",
    "SlowStart.minWeight": "percent of its weight at first",
    "Locality.mode": "`ZoneFirst`: instances of our own zone first. While fewer than 72 % of them are usable, part of "
    "the requests goes to the next zone (Envoy's overprovisioning of 1.4). A sidecar without `--zone` uses all alike",
    "Locality.failover": "which zones come next, in this order; all others come last, together",
    "Retry.attempts": "retries, beside the first try; 0: none",
    "Retry.codes": "HTTP statuses worth a retry",
    "Retry.grpcStatuses": "gRPC statuses worth a retry",
    "Retry.conditions": "failures of a try that count, beside statuses; what may have been executed is tried again "
    "only where that is safe; `ConnectFailure` and `RefusedStream` take in what an instance's sidecar could not give "
    "to its app, or has turned away, `Reset` a try without an answer in time",
    "Retry.idempotencyHeader": "a request with this header is safe to execute twice, whatever its method; "
    '`""`: no header says so',
    "Retry.perTryTimeout": "of one try, from the end of the request to the answer's beginning; of hedged tries, the "
    "newest counts",
    "Retry.backoff": "how long to wait before a retry, unless the answer says so (`Retry-After`, "
    "`grpc-retry-pushback-ms`)",
    "Backoff.base": "up to so long before the first retry, twice as long before the next",
    "Backoff.max": "never longer",
    "Retry.budget": "how much retries and hedges of one caller's sidecar may add to the load; both limits hold",
    "RetryBudget.percent": "requests that are being retried at a time, of those in flight that are not; and retries "
    "made in 10 s, of the requests that began in them",
    "RetryBudget.minimum": "so many requests may be retried at a time in any case",
    "RetryBudget.minimumPerSecond": "so many retries may be made in a second in any case, on average over 10 s",
    "Retry.safeMethods": "what may be executed twice though its method does not say so",
    "TrafficPolicySpec.outlier": "when an instance that fails is left out for a while",
    "Outlier.consecutiveFailures": "so many failures in a row at one instance: 5xx, no connection, a reset, no answer "
    "in time, gRPC UNAVAILABLE, INTERNAL, DEADLINE_EXCEEDED, DATA_LOSS; 0: off",
    "Outlier.baseEjection": "the first time; the n-th is n times as long, and each quiet one takes one off n",
    "Outlier.maxEjection": "no ejection is longer, unless `baseEjection` is",
    "Outlier.maxEjectedPercent": "so many of the instances at a time; one may always be, where there are others. When "
    "there are fewer instances, those come back that would be first",
    "Outlier.successRate": "leaves out instances that succeed less often than the others",
    "SuccessRate.interval": "how often it is judged",
    "SuccessRate.minEndpoints": "with fewer instances of enough volume nothing is judged",
    "SuccessRate.volume": "instances with fewer requests in the interval are not judged",
    "SuccessRate.deviationPercent": "so far below the mean of all, in hundredths of their standard deviation; one of n "
    "cannot be further below than the square root of n - 1, which is 200 for 5 instances",
    "PolicyTimeouts.connect": "for a connection",
    "PolicyTimeouts.request": "from the end of the request to its answer, retries included; not for streaming calls. "
    "What is configured is told the next server, as `grpc-timeout`, also without gRPC",
    "PolicyTimeouts.idle": "longest silence of a streaming call",
    "PolicyTimeouts.keepAlive": "for how long an idle connection is kept; less where the endpoint keeps it for less",
}
