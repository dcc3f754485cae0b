"""What the reference says in words: about each kind, and about each field (`Type.field`)."""

from __future__ import annotations

from remora.documents import reference_breaking as breaking
from remora.documents import reference_faults as faults
from remora.documents import reference_limits as limits
from remora.documents import reference_protection as protection
from remora.model.policies import Balancer, Outlier, RetryPolicy, Timeouts

_RETRY = RetryPolicy()
_TIMEOUTS = Timeouts()
_OUTLIER = Outlier()

INTRODUCTION = """\
<!-- Made by `make docs` from remora/documents. Do not edit. -->
# Policies: every kind and field

A policy is a document in the shape that Kubernetes made known: `apiVersion`, `kind`, `metadata`, `spec`. The same text
goes through `control apply -f`, straight into etcd, or into a file for `sidecar run --config`. YAML and JSON both do; a
file may hold several documents.

* A document with any fault is refused as a whole, and every fault is told: place, reason, what is allowed there.
  Unknown fields are faults: a misspelt field never goes unnoticed.
* The last good version of a refused document stays in use. See [operations](operations.md#a-document-is-refused).
* A service is named by `name` in a namespace (`default` unless said). Instances of `reviews` that run with version `v2`
  also answer to the name `reviews-v2`; an instance registered under that very name wins.
* Durations are those of Gateway API: `5s`, `100ms`, `1m30s`. `0s` means no limit.
* What a Kubernetes API server adds (`metadata.uid`, `metadata.resourceVersion`, `status` …) is accepted and ignored.

"""

_HTTP_ROUTE = """\
Where HTTP requests for a service go: [Gateway API](https://gateway-api.sigs.k8s.io/) as it is, with parents of kind
Service. A service without routes sends everything to its own instances. A service with routes answers 404 (flag `NR`)
to what none of them matches. Precedence is Gateway API's: exact path, longest regular expression, longest prefix,
method, more headers, more query parameters, then the older document. What is otherwise in Envoy is told
[there](envoy-differences.md).

```yaml
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: reviews
spec:
  parentRefs:
    - {kind: Service, group: "", name: reviews}
  rules:
    - name: beta-testers          # a header decides: they get v2
      matches:
        - headers: [{name: x-group, value: beta}]
      backendRefs:
        - {name: reviews-v2}
    - name: canary                # everybody else: 90 to 10
      backendRefs:
        - {name: reviews-v1, weight: 90}
        - {name: reviews-v2, weight: 10}
      timeouts: {request: 2s}
      retry: {attempts: 1, codes: [503]}
```
"""

_GRPC_ROUTE = """\
Where gRPC calls for a service go. Holds only for gRPC calls, and comes before HTTPRoutes. A call that no route matches
gets `UNIMPLEMENTED`.

```yaml
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata:
  name: prices
spec:
  parentRefs:
    - {kind: Service, group: "", name: prices}
  rules:
    - matches:
        - method: {service: prices.v1.Prices, method: GetPrice}
      backendRefs:
        - {name: prices}
```
"""

_REFERENCE_GRANT = """\
Lets routes of other namespaces send requests to services of the grant's own namespace: without one such a route is
refused. Whoever owns the services writes it.

```yaml
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata:
  name: shop-may-ask
  namespace: payments
spec:
  from:
    - {kind: HTTPRoute, group: gateway.networking.k8s.io, namespace: shop}
  to:
    - {kind: Service, group: "", name: payments}
```
"""

_TRAFFIC_POLICY = """\
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

_SERVICE_ENDPOINTS = """\
Instances that do not register themselves: of services outside the mesh, and of all services in a `--config` file.

```yaml
apiVersion: mesh.remora.dev/v1alpha1
kind: ServiceEndpoints
metadata:
  name: billing
spec:
  service: billing
  endpoints:
    - {address: 10.0.0.7, port: 8080}
    - {address: 10.0.0.8, port: 8080, version: v2}
```
"""

_HTTP_MATCH = """\
A request matches if all that is written holds.
"""

_HTTP_FILTER = """\
What is done to a request or its answer on the way. The filters of a rule come first, then those of the backend that was
chosen. Each type may stand once in a list, `RequestMirror` several times. Headers that frame a message or name its
connection (`Host`, `Content-Length`, `Connection` …) cannot be edited; write `URLRewrite` to change the host.
"""

_GRPC_FILTER = """\
What is done to a call or its answer on the way. The filters of a rule come first, then those of the backend that was
chosen. Each type may stand once in a list, `RequestMirror` several times.
"""

_SESSION = """\
Requests of one session go to the instance that answered its first one, as long as it is healthy; weights of backends
decide only where a session begins. The instance is named in a cookie or a header that the first answer brings, and that
the client sends back.
"""

FORMS: dict[str, str] = {
    "a name of lower case letters, digits and '-', at most 63, with no '-' at either end": "name",
    "a name of lower case letters, digits, '-' and '.' that starts and ends with a letter or digit": "name with dots",
    "a host name in lower case, maybe with '*.' in front, without a port": "host",
    "a host name or an IP address, without a port or brackets": "host or address",
    "a host name in lower case, without '*' and without a port": "plain host",
    "an origin: SCHEME://HOST, maybe with :PORT, where HOST may begin with '*.'; or '*'": "origin",
    "a header name (RFC 9110: letters, digits and !#$%&'*+-.^_`|~)": "header name",
    "a duration above zero such as 5s, 100ms or 1m30s": "duration above zero",
    "a duration such as 5s, 100ms or 1m30s (0s: no limit)": "duration",
    faults.TIME_FORM: "time",
    limits.SERVER_FORM: "host:port",
    "an absolute path: it starts with '/' and has only characters that a URL path may have": "path",
}
"""Forms as errors tell them, and what the tables call them."""

ABOUT: dict[str, str] = {
    "HTTPRoute": _HTTP_ROUTE,
    "GRPCRoute": _GRPC_ROUTE,
    "ReferenceGrant": _REFERENCE_GRANT,
    "TrafficPolicy": _TRAFFIC_POLICY,
    "RateLimitPolicy": limits.RATE_LIMIT_POLICY,
    "FaultPolicy": faults.FAULT_POLICY,
    "ServiceEndpoints": _SERVICE_ENDPOINTS,
    "HTTPRouteMatch": _HTTP_MATCH,
    "HTTPFilter": _HTTP_FILTER,
    "GRPCFilter": _GRPC_FILTER,
    "SessionPersistence": _SESSION,
}

PARTS: dict[str, str] = {
    "HTTPRouteMatch": "Match of HTTP",
    "HTTPFilter": "Filter of HTTP",
    "GRPCFilter": "Filter of gRPC",
    "SessionPersistence": "Session persistence",
}
"""Types that stand in several places, and what their sections are called."""

DEFAULTS: dict[str, str] = {
    **faults.DEFAULTS,
    **protection.DEFAULTS,
    **limits.DEFAULTS,
    **breaking.DEFAULTS,
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
    "Balancer.panicThreshold": f"`{Balancer().panic_share * 100:g}`",
    "PolicyTimeouts.connect": f"`{_TIMEOUTS.connect_s:g}s`",
    "PolicyTimeouts.request": f"`{_TIMEOUTS.request_s:g}s`",
    "PolicyTimeouts.idle": f"`{_TIMEOUTS.idle_s / 60:g}m`",
    "PolicyTimeouts.keepAlive": f"`{_TIMEOUTS.keep_alive_s / 60:g}m`",
    "RouteTimeouts.request": "the TrafficPolicy's",
    "RouteRetry.attempts": "the TrafficPolicy's",
    "RouteRetry.codes": "the TrafficPolicy's",
    "RouteRetry.backoff": "the TrafficPolicy's",
    "RouteTimeouts.backendRequest": "the TrafficPolicy's",
    "RequestMirror.percent": "`100`",
    "MirrorBackend.namespace": "the route's",
    "RequestRedirect.scheme": "the request's",
    "RequestRedirect.hostname": "the request's",
    "RequestRedirect.port": "the request's, or that of the scheme if one is written",
    "RequestRedirect.path": "the request's",
    "UrlRewrite.hostname": "the request's",
    "UrlRewrite.path": "the request's",
    "SessionPersistence.sessionName": "made from the names of document and rule",
    "SessionPersistence.absoluteTimeout": "no end",
    "SessionPersistence.idleTimeout": "no end",
    "GrantTo.name": "all of the namespace",
    "ParentRef.namespace": "the route's",
    "HTTPBackendRef.namespace": "the route's",
    "GRPCBackendRef.namespace": "the route's",
    "HTTPRouteRule.name": "made from the document's name",
    "GRPCRouteRule.name": "made from the document's name",
    "HTTPRouteRule.matches": "everything",
    "GRPCRouteRule.matches": "everything",
    "HTTPRouteSpec.hostnames": "all names of the service",
    "GRPCRouteSpec.hostnames": "all names of the service",
    "HTTPRouteMatch.method": "any",
    "GRPCRouteMatch.method": "any",
    "GRPCMethodMatch.method": "any",
}

_SESSION = (
    "keeps a session with one instance, whatever the weights, while it is there and well; the answer says so when "
    "there is something new to say"
)
_PARENTS = "the services that this route is for"
_HOSTNAMES = "narrows the route to these hosts; callers reach the service by them too (those with `*.` only narrow)"
_RULES = "where what goes; at least one"
_RULE_NAME = "shown as `route` in metrics"
_MATCHES = "when the rule holds: any one of these"
_BACKENDS = "where requests go, by weight; at least one"
_HEADERS = "headers that must be there, all of them"

MEANINGS: dict[str, str] = {
    **faults.MEANINGS,
    **protection.MEANINGS,
    **limits.MEANINGS,
    **breaking.MEANINGS,
    "Metadata.name": "unique among the kind and namespace",
    "Metadata.namespace": "of the document and of the services that it names",
    "Metadata.labels": "yours; the mesh does not read them",
    "Metadata.annotations": "yours; the mesh does not read them",
    "Metadata.creationTimestamp": "which of two documents is older, where etcd does not know",
    "HTTPRouteSpec.parentRefs": _PARENTS,
    "HTTPRouteSpec.hostnames": _HOSTNAMES,
    "HTTPRouteSpec.rules": _RULES,
    "HTTPRouteRule.name": _RULE_NAME,
    "HTTPRouteRule.matches": _MATCHES,
    "HTTPRouteRule.backendRefs": _BACKENDS,
    "HTTPRouteRule.timeouts": "limits of this rule",
    "HTTPRouteRule.retry": "retries of this rule",
    "HTTPRouteRule.filters": "what is done on the way",
    "HTTPRouteRule.sessionPersistence": _SESSION,
    "GRPCRouteRule.filters": "what is done on the way",
    "GRPCRouteRule.sessionPersistence": _SESSION,
    "HTTPRouteMatch.path": "what the path must be",
    "HTTPRouteMatch.headers": _HEADERS,
    "HTTPRouteMatch.queryParams": "query parameters that must be there, all; of a repeated one the first counts",
    "HTTPRouteMatch.method": "the request's method",
    "PathMatch.type": "`PathPrefix` matches whole segments: `/a` matches `/a` and `/a/b`, not `/ab`; "
    "`RegularExpression` matches the whole path, without the query",
    "PathMatch.value": "the path, its beginning, or an expression of RE2",
    "HeaderMatch.name": "in any case",
    "HeaderMatch.value": "the whole value, lines of a repeated field joined by commas; or an expression of RE2 that "
    "matches all of it",
    "HeaderMatch.type": "",
    "QueryParamMatch.name": "case counts",
    "QueryParamMatch.value": "the whole value, decoded, or an expression of RE2 that matches all of it",
    "QueryParamMatch.type": "",
    "RouteTimeouts.request": "from the end of the request to its answer, retries included; the next server is told",
    "RouteRetry.codes": "HTTP statuses worth a retry",
    "RouteRetry.attempts": "retries, beside the first try",
    "RouteRetry.backoff": "the longest wait before the first retry; it doubles with each, up to tenfold",
    "RouteTimeouts.backendRequest": "of one try, from the end of the request to the answer's beginning",
    "ParentRef.name": "the service",
    "ParentRef.group": 'must be `""`',
    "ParentRef.kind": "must be `Service`",
    "ParentRef.namespace": "of the service; if it is another one, the route is for callers of its own namespace only, "
    "and those use no other routes to the service",
    "ParentRef.port": "narrows the route to requests for this port",
    "HTTPBackendRef.name": "a service, or a version of one such as `reviews-v2`",
    "HTTPBackendRef.group": 'must be `""`',
    "HTTPBackendRef.kind": "must be `Service`",
    "HTTPBackendRef.namespace": "of the service; another one than the route's needs a ReferenceGrant there",
    "HTTPBackendRef.port": "accepted and not needed: instances know their port",
    "HTTPBackendRef.weight": "its share is weight / sum of weights; 0 takes nothing",
    "HTTPBackendRef.filters": "what is done to requests that go here, after the filters of the rule",
    "GRPCBackendRef.name": "a service, or a version of one such as `reviews-v2`",
    "GRPCBackendRef.group": 'must be `""`',
    "GRPCBackendRef.kind": "must be `Service`",
    "GRPCBackendRef.namespace": "of the service; another one than the route's needs a ReferenceGrant there",
    "GRPCBackendRef.port": "accepted and not needed: instances know their port",
    "GRPCBackendRef.weight": "its share is weight / sum of weights; 0 takes nothing",
    "GRPCBackendRef.filters": "what is done to requests that go here, after the filters of the rule",
    "GRPCRouteSpec.parentRefs": _PARENTS,
    "GRPCRouteSpec.hostnames": _HOSTNAMES,
    "GRPCRouteSpec.rules": _RULES,
    "GRPCRouteRule.name": _RULE_NAME,
    "GRPCRouteRule.matches": _MATCHES,
    "GRPCRouteRule.backendRefs": _BACKENDS,
    "GRPCRouteMatch.method": "which calls",
    "GRPCRouteMatch.headers": _HEADERS,
    "ReferenceGrantSpec.from": "whose routes may; at least one",
    "ReferenceGrantSpec.to": "what they may send requests to; at least one",
    "GrantFrom.kind": "",
    "GrantFrom.namespace": "of the routes",
    "GrantFrom.group": "",
    "GrantTo.kind": "",
    "GrantTo.name": "one service",
    "GrantTo.group": "",
    "GRPCMethodMatch.type": "of both names",
    "GRPCMethodMatch.service": "the full name, or an expression of RE2 that matches all of it",
    "GRPCMethodMatch.method": "the method's name, or an expression of RE2 that matches all of it",
    "HTTPFilter.type": "which one; the field of that name is set, and no other",
    "HTTPFilter.requestHeaderModifier": "edits headers of requests",
    "HTTPFilter.responseHeaderModifier": "edits headers of answers",
    "HTTPFilter.requestRedirect": "answers with a redirect; a rule that has one has no backends",
    "HTTPFilter.urlRewrite": "changes host or path of requests",
    "HTTPFilter.requestMirror": "sends a copy of requests to another service and drops its answers; the copy is never "
    "waited for",
    "HTTPFilter.cors": "lets pages of other origins ask, and answers their preflights",
    "GRPCFilter.type": "which one; the field of that name is set, and no other",
    "GRPCFilter.requestHeaderModifier": "edits headers of calls",
    "GRPCFilter.responseHeaderModifier": "edits headers of answers",
    "GRPCFilter.requestMirror": "sends a copy of calls to another service and drops its answers; the copy is never "
    "waited for",
    "HeaderModifier.set": "these take the place of what there is under the name",
    "HeaderModifier.add": "these come beside what there is under the name",
    "HeaderModifier.remove": "names that are taken out",
    "HeaderValue.name": "",
    "HeaderValue.value": "printable ASCII",
    "PathModifier.type": "",
    "PathModifier.replaceFullPath": "instead of the whole path; the query stays",
    "PathModifier.replacePrefixMatch": "instead of the prefix that the rule has matched",
    "RequestRedirect.scheme": "",
    "RequestRedirect.hostname": "",
    "RequestRedirect.path": "",
    "RequestRedirect.port": "",
    "RequestRedirect.statusCode": "",
    "UrlRewrite.hostname": "the host that the backend sees",
    "UrlRewrite.path": "the path that the backend sees",
    "RequestMirror.backendRef": "the service that gets the copies",
    "RequestMirror.percent": "how many of the requests are copied",
    "RequestMirror.fraction": "the same as a fraction; one of the two",
    "Fraction.numerator": "",
    "Fraction.denominator": "",
    "MirrorBackend.name": "the service",
    "MirrorBackend.group": 'must be `""`',
    "MirrorBackend.kind": "must be `Service`",
    "MirrorBackend.namespace": "of the service; another one than the route's needs a ReferenceGrant there",
    "MirrorBackend.port": "accepted and not needed",
    "CorsFilter.allowOrigins": "who may ask; at least one",
    "CorsFilter.allowCredentials": "whether cookies and the like are sent along",
    "CorsFilter.allowMethods": "",
    "CorsFilter.allowHeaders": "headers that requests may have",
    "CorsFilter.exposeHeaders": "headers of answers that pages may read",
    "CorsFilter.maxAge": "for how many seconds a browser remembers a preflight's answer",
    "SessionPersistence.sessionName": "of the cookie or header; without it: `remora-DOCUMENT-RULE`",
    "SessionPersistence.absoluteTimeout": "a session ends after this",
    "SessionPersistence.idleTimeout": "a session that is not used for so long ends",
    "SessionPersistence.type": "how the client keeps it",
    "SessionPersistence.cookieConfig": "of type Cookie",
    "CookieConfig.lifetimeType": "`Permanent`: the cookie lives for `absoluteTimeout`; else until the browser closes",
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
    "the same key, the same instance, on every sidecar; Maglev is more even, a ring moves less. Weights count in all",
    "Balancer.hashOn": "the first of these that a request has; one that has none goes anywhere. Only for `RingHash` "
    "and `Maglev`, which need it",
    "Balancer.boundedLoad": "an instance with more requests in flight than so many percent of the mean is passed over "
    "for the next on the key's way. Only for `RingHash` and `Maglev`",
    "Balancer.slowStart": "a new instance, and one that is well again, gets little at first. Not for `RingHash` and "
    "`Maglev`",
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
    "only where that is safe; `Reset` takes in a try without an answer in time",
    "Retry.idempotencyHeader": "a request with this header is safe to execute twice, whatever its method; "
    '`""`: no header says so',
    "Retry.perTryTimeout": "of one try, from the end of the request to the answer's beginning; of hedged tries, the "
    "newest counts",
    "Retry.backoff": "how long to wait before a retry, unless the answer says so (`Retry-After`, "
    "`grpc-retry-pushback-ms`)",
    "Backoff.base": "up to so long before the first retry, twice as long before the next",
    "Backoff.max": "never longer",
    "Retry.budget": "how many requests may be retried or hedged at a time",
    "RetryBudget.percent": "of the requests in flight that are not being retried",
    "RetryBudget.minimum": "so many in any case",
    "Retry.safeMethods": "what may be executed twice though its method does not say so",
    "TrafficPolicySpec.outlier": "when an instance that fails is left out for a while",
    "Outlier.consecutiveFailures": "so many failures in a row at one instance: 5xx, no connection, a reset, no answer "
    "in time, gRPC UNAVAILABLE, INTERNAL, DEADLINE_EXCEEDED, DATA_LOSS; 0: off",
    "Outlier.baseEjection": "the first time; the n-th is n times as long, and each quiet one takes one off n",
    "Outlier.maxEjection": "no ejection is longer",
    "Outlier.maxEjectedPercent": "so many of the instances at a time; one may always be, where there are others",
    "Outlier.successRate": "leaves out instances that succeed less often than the others",
    "SuccessRate.interval": "how often it is judged",
    "SuccessRate.minEndpoints": "with fewer instances of enough volume nothing is judged",
    "SuccessRate.volume": "instances with fewer requests in the interval are not judged",
    "SuccessRate.deviationPercent": "so far below the mean of all, in hundredths of their standard deviation",
    "PolicyTimeouts.connect": "for a connection",
    "PolicyTimeouts.request": "from the end of the request to its answer, retries included; not for streaming calls. "
    "What is configured is told the next server, as `grpc-timeout`, also without gRPC",
    "PolicyTimeouts.idle": "longest silence of a streaming call",
    "PolicyTimeouts.keepAlive": "for how long an idle connection is kept; less where the endpoint keeps it for less",
    "ServiceEndpointsSpec.service": "the service, of the document's namespace",
    "ServiceEndpointsSpec.endpoints": "its instances",
    "StaticEndpoint.address": "where it is",
    "StaticEndpoint.port": "",
    "StaticEndpoint.protocol": "what it speaks; `auto`: what the caller spoke; `h2`, `grpc`: HTTP/2 in clear text; "
    "`tcp`: bytes that nobody reads into",
    "StaticEndpoint.version": "makes it an instance of `SERVICE-VERSION` too",
    "StaticEndpoint.zone": "where it runs; see `locality` of TrafficPolicy",
    "StaticEndpoint.weight": "its share among its equals",
}
