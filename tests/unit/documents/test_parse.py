"""Texts → documents: every fault is found, and told with document, path and what could stand there."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.documents.kinds import find_kind, key_of
from remora.documents.parse import MAX_NODES, parse_one, parse_raw, parse_text, read_plain
from remora.documents.render import to_yaml

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: shop, labels: {a: b}, creationTimestamp: 2026-01-01T00:00:00Z}
spec:
  parentRefs: [{kind: Service, group: "", name: reviews}]
  hostnames: ["*.example.com", example.com]
  rules:
  - name: all.of-them
    matches:
    - {path: {type: Exact, value: /a}, method: GET, headers: [{name: X-A, value: b}]}
    backendRefs: [{name: a, weight: 1, port: 80}, {name: b, namespace: other, weight: 0}]
    timeouts: {request: 1m30s}
    retry: {attempts: 1, codes: [500]}
"""
POLICY = """
apiVersion: mesh.remora.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: reviews}
spec:
  targetRefs: [{kind: Service, group: "", name: reviews}]
"""


def _bomb() -> str:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"{c}: &{c} [{','.join([f'*{p}'] * 10)}]" for p, c in zip("abcde", "bcdef", strict=True)]
    return "\n".join(lines)


def faults(text: str) -> dict[str, str]:
    """Message by path."""
    parsed = parse_text(text, "file.yaml")
    assert parsed.errors
    assert all(str(error).startswith("file.yaml: ") for error in parsed.errors)
    return {error.path: error.message for error in parsed.errors}


def test_a_full_route_parses() -> None:
    parsed = parse_text(ROUTE)
    assert not parsed.errors
    (document,) = parsed.documents
    assert str(key_of(document)) == "HTTPRoute shop/reviews"
    assert parsed.raws[0]["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"


def test_yaml_documents_json_and_lists_give_the_same() -> None:
    many = parse_text(f"---\n{ROUTE}\n---\n{POLICY}---\n")
    as_json = json.dumps({"apiVersion": "v1", "kind": "List", "items": many.raws})
    assert parse_text(as_json).documents == many.documents
    assert parse_text(to_yaml(many.raws)).documents == many.documents


def test_all_faults_of_all_documents_are_found() -> None:
    bad = ROUTE.replace("weight: 0", "weigth: 0").replace("method: GET", "method: get")
    bad = bad.replace(", example.com", ", a_b")
    found = faults(f"{bad}---\n{POLICY.replace('Service', 'Pod')}")
    assert set(found) == {
        "spec.rules[0].backendRefs[1].weigth",
        "spec.rules[0].matches[0].method",
        "spec.hostnames[1]",
        "spec.targetRefs[0].kind",
    }
    assert "did you mean weight?" in found["spec.rules[0].backendRefs[1].weigth"]
    assert "allowed: CONNECT, DELETE, GET" in found["spec.rules[0].matches[0].method"]


def test_an_error_names_its_document() -> None:
    (error,) = parse_text(ROUTE.replace("weight: 0", "weigth: 0")).errors
    assert error.document == "HTTPRoute shop/reviews"
    assert error.allowed == ("name", "group", "kind", "namespace", "port", "weight", "filters")


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


@pytest.mark.parametrize(
    ("before", "after", "path", "said"),
    [
        ("kind: HTTPRoute", "kind: HttpRoute", "kind", "did you mean HTTPRoute?"),
        ("kind: HTTPRoute\n", "", "kind", "required and missing"),
        ("/v1\n", "/v1beta1\n", "apiVersion", "gateway.networking.k8s.io/v1"),
        ("{name: reviews, namespace", "{namespace", "metadata.name", "required and missing"),
        ("{name: reviews, namespace: shop", "{name: Reviews", "metadata.name", "lower case"),
        ("1m30s", "90", "spec.rules[0].timeouts.request", "must be a string, not 90"),
        ("1m30s", "1.5s", "spec.rules[0].timeouts.request", "a duration such as 5s"),
        ("[500]", "[200]", "spec.rules[0].retry.codes[0]", "200 is not from 400 to 599"),
        ("attempts: 1", "attempts: true", "spec.rules[0].retry.attempts", "a whole number, not true"),
        ("weight: 0", "weight: -1", "spec.rules[0].backendRefs[1].weight", "-1 is not from 0"),
        ("value: /a}", "value: /a/../b}", "spec.rules[0].matches[0].path.value", "must not contain '/../'"),
        ("value: /a}", "value: /a/..}", "spec.rules[0].matches[0].path.value", "must not end with"),
        ('group: "", name', "name", "spec.parentRefs[0].group", 'needs group: ""'),
        ('kind: Service, group: "",', "", "spec.parentRefs[0].kind", "not a Gateway"),
        ("name: reviews}]", "name: reviews, sectionName: a}]", "spec.parentRefs[0].sectionName", "means nothing"),
        ("backendRefs: [{", "backendRefs: {a: [{", "", "line"),
        ("example.com]", "1.2.3.4:80]", "spec.hostnames[1]", "without a port"),
        ("{a: b}", "{a: 1}", "metadata.labels.a", "must be a string, not 1"),
        ("  - name: all.of-them", "  - 3", "", "line"),
    ],
)
def test_faults(before: str, after: str, path: str, said: str) -> None:
    assert before in ROUTE
    found = faults(ROUTE.replace(before, after, 1))
    assert said in found[path]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\n", "line 2, column 1"),
        ("a: 1\nb: {\n", "line 3, column 1"),
        ("a: 1\na: 2\n", "line 2, column 1: the key 'a' is there twice"),
        ("[" * 200_000 + "]" * 200_000, "nested too deeply"),
        ("- " * 200_000, "nested too deeply"),
        ('{"a":' * 200_000 + "1" + "}" * 200_000, "nested too deeply"),
        ("&a [*a]", "aliases"),
        (_bomb(), f"more than {MAX_NODES}"),
        ("a: !!python/object:os.system {}", "python/object"),
        ("\x00", "not"),
        ("just text", "must be a map"),
    ],
)
def test_unreadable_texts_say_where(text: str, said: str) -> None:
    (error,) = parse_text(text).errors
    assert said in str(error)


def test_the_same_document_twice_is_refused() -> None:
    parsed = parse_text(f"{POLICY}---{POLICY}")
    assert [error.path for error in parsed.errors] == ["metadata.name"]


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


def test_duplicates_in_lists_are_refused() -> None:
    text = ROUTE.replace("{name: b, namespace: other, weight: 0}", "{name: a}").replace(
        "[{name: X-A, value: b}]", "[{name: X-A, value: b}, {name: x-a, value: c}]"
    )
    assert set(faults(text)) == {"spec.rules[0].backendRefs[1].name", "spec.rules[0].matches[0].headers[1].name"}


def test_a_namespace_that_is_written_out_makes_no_other_service() -> None:
    text = ROUTE.replace("{name: b, namespace: other, weight: 0}", "{name: a, namespace: shop}").replace(
        'group: "", name: reviews}]',
        'group: "", name: reviews}, {kind: Service, group: "", name: reviews, namespace: shop}]',
    )
    assert set(faults(text)) == {"spec.rules[0].backendRefs[1].name", "spec.parentRefs[1].name"}


def test_a_prefix_may_be_replaced_by_nothing() -> None:
    rewrite = "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}"
    assert not parse_text(RULE.format(f"backendRefs: [{{name: a}}]\n    filters: [{rewrite}]")).errors


def test_nulls_are_fields_left_out_and_kubernetes_bookkeeping_is_ignored() -> None:
    text = POLICY.replace("{name: reviews}", "{name: reviews, namespace: null, uid: x, generation: 3}") + "status: {}\n"
    assert parse_text(text).documents == parse_text(POLICY).documents


def test_policy_values() -> None:
    text = POLICY + "  balancer: {type: Leastrequest}\n  retry: {grpcStatuses: [unavailable], safeMethods: [post]}\n"
    found = faults(text)
    assert "did you mean LeastRequest?" in found["spec.balancer.type"]
    assert "UNAVAILABLE" in found["spec.retry.grpcStatuses[0]"]
    assert "upper case" in found["spec.retry.safeMethods[0]"]


def test_static_endpoints() -> None:
    text = """
apiVersion: mesh.remora.dev/v1alpha1
kind: ServiceEndpoints
metadata: {name: a}
spec:
  service: a
  endpoints:
  - {address: "10.0.0.1:80", port: 80}
  - {address: 10.0.0.1, port: 0}
  - {address: "::1", port: 80, protocol: http3}
"""
    assert set(faults(text)) == {"spec.endpoints[1].port", "spec.endpoints[2].protocol"}
    rest = text.replace("port: 0", "port: 1").replace("http3", "h2")
    assert set(faults(rest)) == {"spec.endpoints[0].address"}


def test_parse_one_wants_one() -> None:
    assert isinstance(parse_one(f"{POLICY}---{ROUTE}"), tuple)
    assert isinstance(parse_one(""), tuple)
    assert read_plain("a: 1") == {"a": 1}
    assert read_plain("[") is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["kind", "metadata", "spec", "rules", "name", "x"]), inner, max_size=4)
        ),
        max_leaves=12,
    ),
    st.sampled_from(["HTTPRoute", "GRPCRoute", "ReferenceGrant", "TrafficPolicy", "ServiceEndpoints"]),
)
def test_no_data_makes_parsing_raise(data: object, kind: str) -> None:
    assert isinstance(parse_raw(data), tuple)
    outcome = parse_raw({"apiVersion": "x", "kind": kind, "metadata": data, "spec": data})
    assert isinstance(outcome, tuple)
    assert all(error.message for error in outcome)


@given(st.text(max_size=60))
def test_no_text_makes_parsing_raise(text: str) -> None:
    parse_text(text)


def test_kinds_as_people_write_them() -> None:
    assert find_kind("httproutes") == "HTTPRoute"
    assert find_kind("trafficpolicies") == "TrafficPolicy"
    assert find_kind("ServiceEndpoints") == "ServiceEndpoints"
    assert find_kind("pods") is None
