"""What the reference says in words about filters."""

from __future__ import annotations

_HTTP_FILTER = """\
What is done to a request or its answer on the way. The filters of a rule come first, then those of the backend that was
chosen. Each type may stand once in a list, `RequestMirror` several times. Headers that frame a message or name its
connection (`Host`, `Content-Length`, `Connection` …) cannot be edited; write `URLRewrite` to change the host.
"""

_GRPC_FILTER = """\
What is done to a call or its answer on the way. The filters of a rule come first, then those of the backend that was
chosen. Each type may stand once in a list, `RequestMirror` several times.
"""

ABOUT: dict[str, str] = {
    "HTTPFilter": _HTTP_FILTER,
    "GRPCFilter": _GRPC_FILTER,
}

DEFAULTS: dict[str, str] = {
    "RequestMirror.percent": "`100`",
    "MirrorBackend.namespace": "the route's",
    "RequestRedirect.scheme": "the request's",
    "RequestRedirect.hostname": "the request's",
    "RequestRedirect.port": "the request's, or that of the scheme if one is written",
    "RequestRedirect.path": "the request's",
    "UrlRewrite.hostname": "the request's",
    "UrlRewrite.path": "the request's",
}

MEANINGS: dict[str, str] = {
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
    "HeaderValue.name": "in any case; each once in a filter",
    "HeaderValue.value": "printable ASCII, without a space at either end",
    "PathModifier.type": "which of the two fields is set",
    "PathModifier.replaceFullPath": "instead of the whole path; the query stays",
    "PathModifier.replacePrefixMatch": "instead of the prefix that the rule has matched, in whole segments; "
    "all of its matches are of type `PathPrefix` then. Beside a backend: of what the rule has made of it",
    "RequestRedirect.scheme": "of the URL that the client is sent to",
    "RequestRedirect.hostname": "of that URL",
    "RequestRedirect.path": "of that URL; the query stays",
    "RequestRedirect.port": "of that URL; 80 of http and 443 of https are not written",
    "RequestRedirect.statusCode": "of the answer; 307 and 308 keep method and body",
    "UrlRewrite.hostname": "the host that the backend sees",
    "UrlRewrite.path": "the path that the backend sees",
    "RequestMirror.backendRef": "the service that gets the copies",
    "RequestMirror.percent": "how many of the requests are copied",
    "RequestMirror.fraction": "the same as a fraction; one of the two",
    "Fraction.numerator": "not more than the denominator",
    "Fraction.denominator": "of so many requests",
    "MirrorBackend.name": "the service",
    "MirrorBackend.group": 'must be `""`',
    "MirrorBackend.kind": "must be `Service`",
    "MirrorBackend.namespace": "of the service; another one than the route's needs a ReferenceGrant there",
    "MirrorBackend.port": "accepted and not needed",
    "CorsFilter.allowOrigins": "who may ask; at least one. `*.` takes in any labels; without a port it is that of the "
    "scheme, `:*` is any. Preflights of others are answered without a word of CORS",
    "CorsFilter.allowCredentials": "whether cookies and the like are sent along",
    "CorsFilter.allowMethods": "beside GET, HEAD and POST, which always may; `*`: all",
    "CorsFilter.allowHeaders": "headers that requests may have; `*`: all",
    "CorsFilter.exposeHeaders": "headers of answers that pages may read; `*`: all",
    "CorsFilter.maxAge": "for how many seconds a browser remembers a preflight's answer",
}
