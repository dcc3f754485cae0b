"""What the reference says in words about routes and grants."""

from __future__ import annotations

_HTTP_ROUTE = """\
Where HTTP requests for a service go: [Gateway API](https://gateway-api.sigs.k8s.io/) as it is, with parents of kind
Service. A service without routes sends everything to its own instances. A service with routes answers 404 (flag `NR`)
to what none of them matches. Precedence is Gateway API's: exact path, longest regular expression, longest prefix,
method, more headers, more query parameters, then the older document. A `RegularExpression` is of RE2, of at most 1 MiB
when compiled, and matches the whole text, in a time that is linear in its length.

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
refused. Whoever owns the services writes it. Callers who write a route for themselves to a service of others need none
to send them to that service: they could without the route.

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

_HTTP_MATCH = """\
A request matches if all that is written holds.
"""

_SESSIONS = """\
Requests of one session go to the instance that answered its first one, as long as it is healthy; weights of backends
decide only where a session begins. The instance is named in a cookie or a header that the first answer brings, and that
the client sends back.
"""

ABOUT: dict[str, str] = {
    "HTTPRoute": _HTTP_ROUTE,
    "GRPCRoute": _GRPC_ROUTE,
    "ReferenceGrant": _REFERENCE_GRANT,
    "HTTPRouteMatch": _HTTP_MATCH,
    "SessionPersistence": _SESSIONS,
}

DEFAULTS: dict[str, str] = {
    "RouteTimeouts.request": "the TrafficPolicy's",
    "RouteRetry.attempts": "the TrafficPolicy's",
    "RouteRetry.codes": "the TrafficPolicy's",
    "RouteRetry.backoff": "the TrafficPolicy's",
    "RouteTimeouts.backendRequest": "the TrafficPolicy's",
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
    "GRPCMethodMatch.service": "any",
    "GRPCMethodMatch.method": "any",
}

_SESSION = (
    "keeps a session with one instance, whatever the weights, while it is there and well; the answer says so when "
    "there is something new to say"
)
_PARENTS = "the services that this route is for"
_HOSTNAMES = (
    "narrows the route to these hosts; callers reach the service by them too (those with `*.`, and those of a route of "
    "callers, only narrow)"
)
_RULES = "where what goes; at least one"
_RULE_NAME = "shown as `route` in metrics"
_MATCHES = "when the rule holds: any one of these"
_NAMESPACE = (
    "of the service; another one than the route's needs a ReferenceGrant there, but for a service that the route is for"
)
_BACKENDS = "where requests go, by weight; at least one"
_HEADERS = "headers that must be there, all of them"

MEANINGS: dict[str, str] = {
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
    "HeaderMatch.name": "in any case; `Host` is the authority, with its port if it came with one",
    "HeaderMatch.value": "the whole value, lines of a repeated field joined by commas; or an expression of RE2 that "
    "matches all of it",
    "HeaderMatch.type": "of the value",
    "QueryParamMatch.name": "case counts",
    "QueryParamMatch.value": "the whole value, decoded, or an expression of RE2 that matches all of it",
    "QueryParamMatch.type": "of the value",
    "RouteTimeouts.request": "from the end of the request to its answer, retries included; the next server is told",
    "RouteRetry.codes": "HTTP statuses worth a retry",
    "RouteRetry.attempts": "retries, beside the first try",
    "RouteRetry.backoff": "no retry is made sooner; the first waits up to twice as long, the next up to four times, "
    "none more than ten times",
    "RouteTimeouts.backendRequest": "of one try, from the end of the request to the answer's beginning",
    "ParentRef.name": "the service",
    "ParentRef.group": 'must be `""`',
    "ParentRef.kind": "must be `Service`",
    "ParentRef.namespace": "of the service; if it is another one, the route is for callers of its own namespace only, "
    "and those use no other routes to the service",
    "ParentRef.port": "narrows the route to requests for this port of the authority; one without a port has 80",
    "HTTPBackendRef.name": "a service, or a version of one such as `reviews-v2`",
    "HTTPBackendRef.group": 'must be `""`',
    "HTTPBackendRef.kind": "must be `Service`",
    "HTTPBackendRef.namespace": _NAMESPACE,
    "HTTPBackendRef.port": "accepted and not needed: instances know their port",
    "HTTPBackendRef.weight": "its share is weight / sum of weights; 0 takes nothing",
    "HTTPBackendRef.filters": "what is done to requests that go here, after the filters of the rule",
    "GRPCBackendRef.name": "a service, or a version of one such as `reviews-v2`",
    "GRPCBackendRef.group": 'must be `""`',
    "GRPCBackendRef.kind": "must be `Service`",
    "GRPCBackendRef.namespace": _NAMESPACE,
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
    "GrantFrom.kind": "of the routes",
    "GrantFrom.namespace": "of the routes",
    "GrantFrom.group": "of `kind`",
    "GrantTo.kind": "must be `Service`",
    "GrantTo.name": "one service",
    "GrantTo.group": 'must be `""`',
    "GRPCMethodMatch.type": "of both names",
    "GRPCMethodMatch.service": "the full name, or an expression of RE2 that matches all of it",
    "GRPCMethodMatch.method": "the method's name, or an expression of RE2 that matches all of it",
    "SessionPersistence.sessionName": "of the cookie or header; without it: `remora-DOCUMENT-RULE`",
    "SessionPersistence.absoluteTimeout": "a session ends after this",
    "SessionPersistence.idleTimeout": "a session that is not used for so long ends",
    "SessionPersistence.type": "how the client keeps it",
    "SessionPersistence.cookieConfig": "of type Cookie",
    "CookieConfig.lifetimeType": "`Permanent`: the cookie lives for `absoluteTimeout`; else until the browser closes",
}
