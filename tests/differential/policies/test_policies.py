"""A short cut of the comparison of policies with Envoy; `make differential ARGS=--policies` has the long one."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from tests.differential.policies.asks import LONG_BODY, Act, Ask
from tests.differential.policies.draws import TOO_FAR
from tests.differential.policies.explained import EXPLAINED, explanation
from tests.differential.policies.grpc_tables import MESSAGE
from tests.differential.policies.run import ASKS, Report, by_chance, compare
from tests.differential.policies.scenes import budgets, ejection, limits
from tests.differential.policies.scenes.run import KINDS, compare_scenes
from tests.differential.policies.scenes.run import by_chance as scenes_by_chance
from tests.differential.policies.scenes.scene import get
from tests.differential.policies.tables import (
    COLD,
    LONG,
    SHADOW,
    SHORT,
    Document,
    Table,
    marking,
    policy_document,
    route_document,
)
from tests.differential.proxies import envoy_problem

TABLES = 30
SEED = 4
SCENES = 5 * len(KINDS)
PAGE = Path(__file__).parents[3] / "docs" / "envoy-differences.md"


@pytest.fixture
def envoy() -> None:
    problem = envoy_problem()
    if problem:
        pytest.skip(problem)


@pytest.mark.usefixtures("envoy")
async def test_policies_mean_to_us_what_they_mean_to_envoy() -> None:
    report = Report()
    await compare(itertools.islice(by_chance(SEED), TABLES), report)
    assert report.played == TABLES * ASKS
    assert [str(finding) for finding in report.found if explanation(finding) is None] == []
    assert report.our_draws.count > 50
    assert report.our_draws.deviations < TOO_FAR


def table(service: str, retry: Document, *rules: Document, timeout: str = LONG) -> Table:
    return Table(service, (route_document(service, service, list(rules)),), policy_document(service, retry, timeout))


def to(backend: str, **fields: object) -> Document:
    return {"backendRefs": [{"name": backend}], **fields}


def edits(way: str, name: str, value: str) -> Document:
    kind = f"{way}HeaderModifier"
    return {"type": kind[0].upper() + kind[1:], kind: {"set": [{"name": name, "value": value}]}}


def calls(service: str, retry: Document, timeout: str = LONG) -> Table:
    route = route_document(service, service, [marking("rule-0", **to("g0"))])
    return Table(service, ({**route, "kind": "GRPCRoute"},), policy_document(service, retry, timeout), grpc=True)


def call(service: str, act: Act) -> Ask:
    return Ask(service, "POST", "/shop.v1.Orders/Get", (), MESSAGE, (act,), grpc=True)


COLOR = {"headers": [{"name": "x-color", "value": "red"}]}
QUERY = {"queryParams": [{"name": "q", "value": "a b"}]}
ELSEWHERE = {"type": "RequestRedirect", "requestRedirect": {"hostname": "other.example"}}
MIRROR = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": SHADOW}}}
LETTING_IN = {"type": "CORS", "cors": {"allowOrigins": ["https://shop.example"]}}
EXPOSING = {
    "type": "CORS",
    "cors": {"allowOrigins": ["https://shop.example"], "allowCredentials": True, "exposeHeaders": ["*"]},
}
ORIGIN = ("origin", "https://shop.example")
EDITING = {"name": "b0", "filters": [edits("request", "x-edit", "backend")]}

SHOWN: dict[str, tuple[Table, Ask]] = {
    "What is not safe is not tried again": (
        table("unsafe", {}, marking("rule-0", **to("b0"))),
        Ask("unsafe", "POST", "/", body=b"hello", script=(Act(status=503),)),
    ),
    "A server that asks to wait is obeyed": (
        table("waits", {}, marking("rule-0", **to("b0"))),
        Ask("waits", "GET", "/", script=(Act(status=503, retry_after="100"),)),
    ),
    "A long body is sent once": (
        table("long", {}, marking("rule-0", **to("b0"))),
        Ask("long", "PUT", "/", body=b"x" * LONG_BODY, script=(Act(status=503),)),
    ),
    "A reset is neither a failed connect nor a refused stream": (
        table("reset", {"conditions": ["Reset"]}, marking("rule-0", **to(COLD))),
        Ask("reset", "GET", "/"),
    ),
    "Query parameters are compared decoded": (
        table("query", {}, marking("rule-0", matches=[QUERY], **to("b0")), marking("rule-1", **to("b1"))),
        Ask("query", "GET", "/?q=a%20b"),
    ),
    "A repeated field is matched as one": (
        table("joined", {}, marking("rule-0", matches=[COLOR], **to("b0")), marking("rule-1", **to("b1"))),
        Ask("joined", "GET", "/", (("x-color", "red"), ("x-color", "blue"))),
    ),
    "A field that can be there once is there once": (
        table("once", {}, marking("rule-0", **to("b0"))),
        Ask("once", "GET", "/", (("content-type", "text/plain"), ("content-type", "text/html"))),
    ),
    "A copy for a mirror is not what a backend made of it": (
        table("copies", {}, marking("rule-0", filters=[MIRROR], backendRefs=[EDITING])),
        Ask("copies", "GET", "/"),
    ),
    "A streamed answer has no total": (
        table("stream", {}, marking("rule-0", **to("b0")), timeout=SHORT),
        Ask("stream", "GET", "/", script=(Act("trickle"),)),
    ),
    "Retries of gRPC are told": (
        calls("told", {}),
        call("told", Act("refuse")),
    ),
    "The status of a unary call may come in its trailers": (
        calls("trailers", {"safeMethods": ["/shop.v1.Orders/Get"]}),
        call("trailers", Act("trailers", 14)),
    ),
    "A call that is out of time ends with DEADLINE_EXCEEDED": (
        calls("time", {}, SHORT),
        call("time", Act("hang")),
    ),
    "A redirect to another host keeps the port": (
        table("port", {}, marking("rule-0", filters=[ELSEWHERE])),
        Ask("port:8080", "GET", "/"),
    ),
    "A preflight has no content": (
        table("preflight", {}, marking("rule-0", filters=[LETTING_IN], **to("b0"))),
        Ask("preflight", "OPTIONS", "/", (ORIGIN, ("access-control-request-method", "PUT"))),
    ),
    "What depends on the origin says so": (
        table("varies", {}, marking("rule-0", filters=[LETTING_IN], **to("b0"))),
        Ask("varies", "GET", "/", (ORIGIN,)),
    ),
    "Redirects tell other origins too": (
        table("led", {}, marking("rule-0", filters=[LETTING_IN, ELSEWHERE])),
        Ask("led", "GET", "/", (ORIGIN,)),
    ),
    "With credentials, headers are exposed by name": (
        table("exposed", {}, marking("rule-0", filters=[EXPOSING], **to("b0"))),
        Ask("exposed", "GET", "/", (ORIGIN,)),
    ),
    "A rule edits a request before its backend does": (
        table("twice", {}, marking("rule-0", filters=[edits("request", "x-edit", "rule")], backendRefs=[EDITING])),
        Ask("twice", "GET", "/"),
    ),
}


@pytest.mark.usefixtures("envoy")
async def test_every_difference_that_is_meant_is_there() -> None:
    assert SHOWN.keys() == EXPLAINED.keys()
    cases = {case.service: name for name, (case, _) in SHOWN.items()}
    report = Report()
    await compare([(case, [ask]) for case, ask in SHOWN.values()], report)
    told = {(cases[finding.table.service], explanation(finding)) for finding in report.found}
    assert told >= {(name, name) for name in SHOWN}
    assert [str(finding) for finding in report.found if explanation(finding) is None] == []


@pytest.mark.usefixtures("envoy")
async def test_scenes_end_as_they_do_at_envoy() -> None:
    found = await compare_scenes(list(itertools.islice(scenes_by_chance(SEED), SCENES)))
    assert [str(finding) for finding in found if finding.explanation is None] == []


def limit(name: str, requests: int, **fields: object) -> Document:
    return {"name": name, "requests": requests, "per": "1h", **fields}


DEAR = limit("dear", 1, matches=[{"headers": [{"name": "x-kind", "value": "dear"}]}])
CUSTOMER = limit("customer", 2, keys=[{"type": "Header", "name": "x-customer"}])
SHOWN_SCENES = {
    "A retry budget does not count retries as requests": budgets.budget_scene("budget", 20, 0, 100),
    "What says something of a call says nothing of its server": ejection.of_the_call_scene("call", 2),
    "Trailers tell how a call went": ejection.by_trailers_scene("told", 2),
    "Who is over one limit uses up no other": limits.limit_scene(
        "over",
        [DEAR, CUSTOMER],
        [
            get("over", ("x-customer", "1")),
            get("over", ("x-customer", "1")),
            get("over", ("x-customer", "1"), ("x-kind", "dear")),
            get("over", ("x-customer", "2"), ("x-kind", "dear")),
        ],
    ),
}


@pytest.mark.usefixtures("envoy")
async def test_every_difference_that_is_meant_is_there_in_a_scene() -> None:
    found = await compare_scenes(list(SHOWN_SCENES.values()))
    assert [finding.explanation for finding in found] == list(SHOWN_SCENES)


def test_every_difference_that_is_meant_has_its_reason() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("\n## Compared")[2].partition("\n## ")[0]
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == [*EXPLAINED, *SHOWN_SCENES]
