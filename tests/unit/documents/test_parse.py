"""Texts → documents: every fault is found, and told with document, path and what could stand there."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.documents.kinds import find_kind, key_of
from remora.documents.parse import MAX_NODES, parse_one, parse_raw, parse_text, read_plain
from remora.documents.render import to_yaml
from tests.unit.documents.texts import ROUTE, faults

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


def test_duplicates_in_lists_are_refused() -> None:
    text = ROUTE.replace("{name: b, namespace: other, weight: 0}", "{name: a}").replace(
        "[{name: X-A, value: b}]", "[{name: X-A, value: b}, {name: x-a, value: c}]"
    )
    assert set(faults(text)) == {"spec.rules[0].backendRefs[1].name", "spec.rules[0].matches[0].headers[1].name"}


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
