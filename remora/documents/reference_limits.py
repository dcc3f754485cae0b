"""What the reference says in words about RateLimitPolicy."""

from __future__ import annotations

SERVER_FORM = "HOST:PORT; an IPv6 address stands in brackets"

RATE_LIMIT_POLICY = """\
How many requests the services that it names take. A service may have several; a request must find room in all limits
that count it, and uses up none if one has no room. Each limit is a token bucket: `requests` in `per` on average, up to
`burst` at once.

What is too much is answered by the sidecar, with the flag `RL`: 429 with `Retry-After`, `RateLimit` and
`RateLimit-Policy` ([draft-ietf-httpapi-ratelimit-headers](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/)),
gRPC calls with RESOURCE_EXHAUSTED and `grpc-retry-pushback-ms`. `mesh_ratelimited_total` counts it.

```yaml
apiVersion: mesh.remora.dev/v1alpha1
kind: RateLimitPolicy
metadata:
  name: prices
spec:
  targetRefs:
    - {kind: Service, group: "", name: prices}
  limits:
    - name: everybody               # of each instance
      requests: 500
    - name: customer                # each customer for himself
      requests: 600
      per: 1m
      burst: 20
      keys: [{type: Header, name: x-customer}]
    - name: reports                 # what costs more
      requests: 5
      matches: [{path: {type: PathPrefix, value: /reports}}]
```

With `scope: Service` all that enforce a limit together let `requests` through: control splits it among them by what
each needs, and moves the parts as needs move, within about a second, or some twenty requests of a slow limit. No
request waits for that; until the parts have followed, some of the limit may stay unused. A sidecar that comes has its
part at once, the others yield it within half a second. When control is away each keeps its part, after a minute an
equal one. Without control (`--config` alone) each has all.

A part is of rate and burst, and of at least one request at once; so a limit should let through many more than there
are to enforce it, or some stays unused where requests come unevenly. Of a limit with keys each lets its part through
for each key. Most of that goes where requests come, a quarter to all equally: that is exact enough when the requests of
each key are spread as all are; a key whose requests reach few instances has less than the limit. So it is with the
workers of a sidecar (`--workers`), whatever the scope.

A limit with keys has a bucket for each value. When it has `maxKeys`, keys whose bucket is full again are forgotten; if
there are none, new keys share one bucket until there are: a flood of keys costs no memory and buys nobody more than the
limit.

Who runs a rate limit service already, such as [envoyproxy/ratelimit](https://github.com/envoyproxy/ratelimit), has it
asked (`external`) by Envoy's protocol, `envoy.service.ratelimit.v3`. Each request waits for its answer, `timeout` at
most. `limit` is the document's name in answers and metrics; what headers the service wants on answers and requests is
done.

```yaml
apiVersion: mesh.remora.dev/v1alpha1
kind: RateLimitPolicy
metadata:
  name: by-plan
spec:
  targetRefs:
    - {kind: Service, group: "", name: prices}
  external:
    address: ratelimit.infra.example:8081
    domain: prices
    descriptors:
      - entries:
          - {key: plan, type: Header, name: x-plan}
          - {key: path, type: Path}
```
"""

DEFAULTS: dict[str, str] = {
    "Limit.burst": "as `requests`",
    "Limit.matches": "everything",
    "Limit.keys": "one bucket for all",
    "LimitKey.name": "of the header",
    "RateLimitPolicySpec.external": "none",
    "External.failOpen": "`true`",
}

MEANINGS: dict[str, str] = {
    "RateLimitPolicySpec.targetRefs": "the services that it limits, of its own namespace; at least one",
    "RateLimitPolicySpec.enforcement": "`Shadow`: what is too much goes on, and is counted and logged",
    "RateLimitPolicySpec.enforcedBy": "`Service`: by the sidecar of each instance, before the app. `Callers`: by each "
    "caller's, before anything is sent",
    "RateLimitPolicySpec.limits": "all that hold",
    "Limit.name": "shown with the document's, as `prices/customer`, in answers and metrics",
    "Limit.requests": "how many in `per`",
    "Limit.per": "in what time `requests` come again, evenly",
    "Limit.burst": "how many at once, after a time of rest",
    "Limit.matches": "which requests count: any one of these",
    "Limit.keys": "what requests are counted apart by; with several, by all together. A request that lacks one of them "
    "is not counted",
    "Limit.scope": "`Instance`: each sidecar that enforces it lets so many through. `Service`: all together do",
    "Limit.maxKeys": "how many values of keys are told apart at a time",
    "LimitKey.type": "`Path` is without the query. `Peer` is who is connected, told by the address, so each instance "
    "of a caller is one (with `enforcedBy: Callers`: the caller's own app). `SourceAddress` is the first of "
    "`X-Forwarded-For`, as far as who says so is trusted, else that of the connection",
    "LimitKey.name": "of the header",
    "RateLimitPolicySpec.external": "a rate limit service that is asked about each request",
    "External.address": "where it listens for gRPC, in clear text",
    "External.domain": "which of its configurations counts",
    "External.descriptors": "what it is asked, all in one question; at least one. One that needs what a request has "
    "not is left out; without any left, nothing is asked",
    "External.timeout": "how long a request waits for the answer",
    "External.failOpen": "`true`: without an answer in time requests go on. `false`: they are answered 503 "
    "(flag `RLSE`)",
    "Descriptor.entries": "from the widest to the narrowest; at least one",
    "Entry.key": "as the service's configuration names it",
    "Entry.type": "where the value comes from",
    "Entry.value": "of type `Value`",
    "Entry.name": "of the header",
}
