"""What is wrong with routes and grants: each fault is told, with its place."""

from __future__ import annotations

import pytest

from remora.documents.parse import parse_text
from tests.unit.documents.texts import ROUTE, faults

RULE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: a}}
spec:
  parentRefs: [{{kind: Service, group: "", name: a}}]
  rules:
  - {}
"""
"""With its rule left out."""


@pytest.mark.parametrize(
    ("rule", "path", "said"),
    [
        ("filters: [{type: ExtensionRef, extensionRef: {name: a}}]", "filters[0].extensionRef", "not something that"),
        ("filters: [{type: Rewrite}]", "filters[0].type", "did you mean URLRewrite?"),
        ("filters: [{type: CORS}]", "filters[0].cors", "needs this field"),
        ("filters: [{type: CORS, cors: {allowOrigins: [a.b]}}]", "filters[0].cors.allowOrigins[0]", "an origin"),
        ("filters: [{type: CORS, cors: {allowCredentials: 1}}]", "filters[0].cors.allowCredentials", "true or false"),
        ("filters: [{type: CORS, cors: {allowMethods: ['*', GET]}}]", "filters[0].cors.allowMethods", "all there is"),
        ("filters: [{type: RequestRedirect, requestRedirect: {}}]", "backendRefs", "answers by itself"),
        (
            "filters: [{type: URLRewrite, urlRewrite: {hostname: a}, requestMirror: {backendRef: {name: a}}}]",
            "filters[0].requestMirror",
            "does not go with type URLRewrite",
        ),
        ("filters: [{type: URLRewrite, urlRewrite: {}}]", "filters[0].urlRewrite", "a hostname or a path"),
        (
            "filters: [{type: URLRewrite, urlRewrite: {hostname: '*.a'}}]",
            "filters[0].urlRewrite.hostname",
            "without '*'",
        ),
        (
            "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replacePrefixMatch: /a}}}]",
            "filters[0].urlRewrite.path.replaceFullPath",
            "needs this field",
        ),
        (
            "matches: [{path: {type: Exact, value: /a}}]\n    filters: "
            "[{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]",
            "filters[0]",
            "needs matches of type PathPrefix",
        ),
        (
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: a}]}}]",
            "filters[0].requestHeaderModifier.set[0].name",
            "cannot be edited",
        ),
        (
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: "
            "{remove: [a], add: [{name: A, value: b}]}}]",
            "filters[0].requestHeaderModifier.remove[0]",
            "one header, one action",
        ),
        (
            'filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: a, value: "a\\r\\nb"}]}}]',
            "filters[0].responseHeaderModifier.set[0].value",
            "no line breaks",
        ),
        (
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: 'b '}]}}]",
            "filters[0].requestHeaderModifier.set[0].value",
            "no space at either end",
        ),
        (
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [Expect]}}]",
            "filters[0].requestHeaderModifier.remove[0]",
            "cannot be edited",
        ),
        (
            "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: a}}}]",
            "filters[0].urlRewrite.path.replacePrefixMatch",
            "an absolute path, or nothing",
        ),
        (
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}, "
            "{type: RequestHeaderModifier, requestHeaderModifier: {remove: [b]}}]",
            "filters[1].type",
            "already",
        ),
        (
            "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a}, percent: 101}}]",
            "filters[0].requestMirror.percent",
            "from 0 to 100",
        ),
        (
            "filters: [{type: RequestMirror, requestMirror: "
            "{backendRef: {name: a}, percent: 1, fraction: {numerator: 1}}}]",
            "filters[0].requestMirror.fraction",
            "not both",
        ),
        (
            "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, kind: Pod}}}]",
            "filters[0].requestMirror.backendRef.kind",
            "to Services only",
        ),
        (
            "filters: [{type: RequestMirror, requestMirror: "
            "{backendRef: {name: a}, fraction: {numerator: 3, denominator: 2}}}]",
            "filters[0].requestMirror.fraction.numerator",
            "more than the denominator",
        ),
        ("filters: [{type: CORS, cors: {}}]", "filters[0].cors.allowOrigins", "allows nobody"),
        (
            "filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {hostname: a}}]",
            "filters[0].type",
            "cannot be in one rule",
        ),
        (
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {}}]",
            "filters[0].requestHeaderModifier",
            "at least one of set, add and remove",
        ),
        (
            "filters: [{type: URLRewrite, urlRewrite: "
            "{path: {type: ReplaceFullPath, replaceFullPath: /b, replacePrefixMatch: /a}}}]",
            "filters[0].urlRewrite.path.replacePrefixMatch",
            "does not go with type ReplaceFullPath",
        ),
        (
            "sessionPersistence: {type: Header, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}",
            "sessionPersistence.cookieConfig",
            "does not go with type Header",
        ),
        ("sessionPersistence: {sessionName: 'a b'}", "sessionPersistence.sessionName", "a name of letters"),
        (
            "sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}",
            "sessionPersistence.absoluteTimeout",
            "after which it ends",
        ),
        (
            "sessionPersistence: {absoluteTimeout: 0s, cookieConfig: {lifetimeType: Permanent}}",
            "sessionPersistence.absoluteTimeout",
            "after which it ends",
        ),
        ("timeouts: {request: 1s, backendRequest: 2s}", "timeouts.backendRequest", "must not have more time"),
        ("matches: [{path: {type: RegularExpression, value: '/('}}]", "matches[0].path.value", "of RE2: missing )"),
        ("matches: [{path: {type: RegularExpression, value: '(/a{1000}){1000}'}}]", "matches[0].path.value", "of RE2"),
        (
            "matches: [{headers: [{type: RegularExpression, name: a, value: '['}]}]",
            "matches[0].headers[0].value",
            "of RE2",
        ),
    ],
)
def test_faults_of_rules(rule: str, path: str, said: str) -> None:
    found = faults(RULE.format(f"backendRefs: [{{name: a}}]\n    {rule}"))
    assert said in found[f"spec.rules[0].{path}"]


@pytest.mark.parametrize(
    ("rule", "path", "said"),
    [
        ("matches: [{method: GET}]", "backendRefs", "nothing could answer"),
        ("backendRefs: [{name: a, filters: [{type: CORS, cors: {allowOrigins: ['*']}}]}]", "0].type", "move it up"),
        ("backendRefs: [{name: a, filters: [{type: RequestRedirect, requestRedirect: {}}]}]", "0].type", "move it up"),
        (
            "matches: [{path: {type: Exact, value: /a}}]\n    backendRefs: [{name: a, filters: [{type: URLRewrite, "
            "urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]}]",
            "backendRefs[0].filters[0]",
            "needs matches of type PathPrefix",
        ),
        ("name: a\n    backendRefs: [{name: a}]\n  - name: a\n    backendRefs: [{name: a}]", "[1].name", "twice"),
    ],
)
def test_faults_of_backends(rule: str, path: str, said: str) -> None:
    ((place, message),) = faults(RULE.format(rule)).items()
    assert place.endswith(path)
    assert said in message


def test_a_route_without_rules_is_none() -> None:
    assert "at least one rule" in faults(RULE.replace("rules:\n  - {}", "rules: []").format())["spec.rules"]


def test_one_try_may_have_an_end_where_the_request_has_none() -> None:
    timeouts = "timeouts: {request: 0s, backendRequest: 2s}"
    assert not parse_text(RULE.format(f"backendRefs: [{{name: a}}]\n    {timeouts}")).errors


def test_grpc_names() -> None:
    text = r"""
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: a}
spec:
  parentRefs: [{kind: Service, group: "", name: a}]
  rules:
  - backendRefs: [{name: a}]
    matches:
    - {method: {method: Get}}
    - {method: {service: ""}}
    - {method: {service: a/b, method: "1"}}
    - {method: {type: RegularExpression, service: "a("}}
    - {method: {type: RegularExpression, service: '\Qa.b'}}
    - {method: {type: RegularExpression, service: "LONG", method: "LONG"}}
    - {method: {type: RegularExpression, service: "LONG"}}
"""
    found = faults(text.replace("LONG", "a{1000}" * 60))
    assert set(found) == {
        "spec.rules[0].matches[1].method",
        "spec.rules[0].matches[2].method.service",
        "spec.rules[0].matches[2].method.method",
        "spec.rules[0].matches[3].method.service",
        # Each name is an expression; what both make is none, or too large a one.
        "spec.rules[0].matches[4].method",
        "spec.rules[0].matches[5].method",
    }
    assert "write a service" in found["spec.rules[0].matches[1].method"]


def test_grants_need_both_sides() -> None:
    text = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: a}
spec: {from: [], to: []}
"""
    assert set(faults(text)) == {"spec.from", "spec.to"}
    good = text.replace("from: []", "from: [{kind: HTTPRoute, group: gateway.networking.k8s.io, namespace: shop}]")
    assert not parse_text(good.replace("to: []", 'to: [{kind: Service, group: ""}]')).errors


def test_a_namespace_that_is_written_out_makes_no_other_service() -> None:
    text = ROUTE.replace("{name: b, namespace: other, weight: 0}", "{name: a, namespace: shop}").replace(
        'group: "", name: reviews}]',
        'group: "", name: reviews}, {kind: Service, group: "", name: reviews, namespace: shop}]',
    )
    assert set(faults(text)) == {"spec.rules[0].backendRefs[1].name", "spec.parentRefs[1].name"}


def test_a_prefix_may_be_replaced_by_nothing() -> None:
    rewrite = "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}"
    assert not parse_text(RULE.format(f"backendRefs: [{{name: a}}]\n    filters: [{rewrite}]")).errors
