"""What the reference says in words: about each kind, and about each field (`Type.field`)."""

from __future__ import annotations

from remora.documents import reference_breaking as breaking
from remora.documents import reference_faults as faults
from remora.documents import reference_filters as filters
from remora.documents import reference_limits as limits
from remora.documents import reference_protection as protection
from remora.documents import reference_routes as routes
from remora.documents import reference_traffic as traffic

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
* Durations are those of Gateway API: `5s`, `100ms`, `1m30s`. `0s` means no limit. Shares are whole percents,
  sizes bytes.
* What a Kubernetes API server adds (`metadata.uid`, `metadata.resourceVersion`, `status` …) is accepted and ignored.
* What is wrong with a document is told with [its kind](#what-is-refused-everywhere); what a request is answered that a
  policy stops, with its code and status, [there](operations.md#error-codes).
* What a file would do to a request is told before it is applied: `sidecar explain GET http://reviews/ --config FILE`.
  See the [examples](../examples/policies/README.md).

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
    **routes.ABOUT,
    **filters.ABOUT,
    "TrafficPolicy": traffic.TRAFFIC_POLICY,
    "RateLimitPolicy": limits.RATE_LIMIT_POLICY,
    "FaultPolicy": faults.FAULT_POLICY,
    "ServiceEndpoints": _SERVICE_ENDPOINTS,
}

PARTS: dict[str, str] = {
    "HTTPRouteMatch": "Match of HTTP",
    "HTTPFilter": "Filter of HTTP",
    "GRPCFilter": "Filter of gRPC",
    "SessionPersistence": "Session persistence",
}
"""Types that stand in several places, and what their sections are called."""

DEFAULTS: dict[str, str] = {
    **routes.DEFAULTS,
    **filters.DEFAULTS,
    **traffic.DEFAULTS,
    **faults.DEFAULTS,
    **protection.DEFAULTS,
    **limits.DEFAULTS,
    **breaking.DEFAULTS,
}

MEANINGS: dict[str, str] = {
    **routes.MEANINGS,
    **filters.MEANINGS,
    **traffic.MEANINGS,
    **faults.MEANINGS,
    **protection.MEANINGS,
    **limits.MEANINGS,
    **breaking.MEANINGS,
    "Metadata.name": "unique among the kind and namespace",
    "Metadata.namespace": "of the document and of the services that it names",
    "Metadata.labels": "yours; the mesh does not read them",
    "Metadata.annotations": "yours; the mesh does not read them",
    "Metadata.creationTimestamp": "which of two documents is older, where etcd does not know",
    "ServiceEndpointsSpec.service": "the service, of the document's namespace",
    "ServiceEndpointsSpec.endpoints": "its instances",
    "StaticEndpoint.address": "where it is",
    "StaticEndpoint.port": "where it listens",
    "StaticEndpoint.protocol": "what it speaks; `auto`: what the caller spoke; `h2`, `grpc`: HTTP/2 in clear text; "
    "`tcp`: bytes that nobody reads into",
    "StaticEndpoint.version": "makes it an instance of `SERVICE-VERSION` too",
    "StaticEndpoint.zone": "where it runs; see `locality` of TrafficPolicy",
    "StaticEndpoint.weight": "its share among its equals",
}
