"""RateLimitPolicy: what it may say, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from remora.control.compile import Catalog
from remora.control.store.interface import Event, EventKind, Revision
from remora.control.store.keys import config_key, instance_key
from remora.documents.load import compile_snapshot
from remora.documents.parse import parse_text
from remora.model.base import Origin
from remora.model.limits import DescriptorEntry, ExternalLimit, LimitKey, RateLimit, ServiceLimits
from remora.model.names import ServiceName
from remora.model.routes import PathMatch, RouteMatch
from tests.support import documents

SHOP, SHOP_V2 = ServiceName("shop.default"), ServiceName("shop-v2.default")
ORIGIN = Origin("RateLimitPolicy", "default", "shop")
ENTRY = {"key": "user", "type": "Header", "name": "X-User"}


def faults(*limits: dict[str, Any], **spec: Any) -> list[str]:
    parsed = parse_text(yaml.safe_dump(documents.rate_limit_policy("shop", *limits, **spec)))
    return [f"{error.path}: {error.message}" for error in parsed.errors]


def compiled(*written: dict[str, Any]) -> dict[ServiceName, ServiceLimits]:
    parsed = parse_text(yaml.safe_dump_all(written))
    assert not parsed.errors
    return {name: service.limits for name, service in compile_snapshot(parsed.documents).services.items()}


def test_a_limit_in_full() -> None:
    limit = {
        "name": "user",
        "requests": 90,
        "per": "1m30s",
        "burst": 10,
        "scope": "Service",
        "matches": [{"path": {"type": "Exact", "value": "/a"}}],
        "keys": [{"type": "Header", "name": "X-User"}, {"type": "SourceAddress"}, {"type": "Peer"}],
        "maxKeys": 5,
    }
    found = compiled(documents.rate_limit_policy("shop", limit, enforcedBy="Callers", enforcement="Shadow"))
    expected = RateLimit(
        SHOP,
        "shop/user",
        ORIGIN,
        90,
        90.0,
        burst=10,
        matches=(RouteMatch(PathMatch("exact", "/a")),),
        keys=(LimitKey("header", "x-user"), LimitKey("address"), LimitKey("peer")),
        max_keys=5,
        scope="service",
        at_callers=True,
        shadow=True,
    )
    assert found[SHOP] == ServiceLimits((expected,))
    assert expected.rate == 1.0


def test_a_limiter_in_full() -> None:
    external = {
        "address": "[::1]:8081",
        "domain": "shop",
        "descriptors": [{"entries": [{"key": "kind", "value": "slow"}, ENTRY]}],
        "timeout": "50ms",
        "failOpen": False,
    }
    entries = (DescriptorEntry("kind", "slow"), DescriptorEntry("user", source=LimitKey("header", "x-user")))
    expected = ExternalLimit(SHOP, "shop", ORIGIN, "::1", 8081, "shop", (entries,), 0.05, fail_open=False)
    found = compiled(documents.rate_limit_policy("shop", external=external))
    assert found[SHOP] == ServiceLimits(external=(expected,))


def test_several_policies_of_a_service_all_hold() -> None:
    other = documents.rate_limit_policy("shop", {"name": "a", "requests": 2})
    other["metadata"]["name"] = "more"
    found = compiled(documents.rate_limit_policy("shop", {"name": "a", "requests": 1}), other)
    assert [(limit.name, limit.requests) for limit in found[SHOP].limits] == [("more/a", 2), ("shop/a", 1)]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ({"requests": 1}, "spec.limits[0].name: this field is required and missing"),
        ({"name": "a", "requests": 0}, "spec.limits[0].requests: 0 is not from 1 to 1000000000"),
        ({"name": "a", "requests": 1, "per": "0s"}, "spec.limits[0].per: '0s' is not a duration above zero"),
        (
            {"name": "a", "requests": 1, "keys": [{"type": "Header"}]},
            "spec.limits[0].keys[0].name: goes with type Header, which needs it, and with no other",
        ),
        (
            {"name": "a", "requests": 1, "keys": [{"type": "Path"}, {"type": "Path"}]},
            "spec.limits[0].keys[1].type: is there twice in this list; keep one",
        ),
        (
            {"name": "a", "requests": 1, "matches": [{"path": {"type": "RegularExpression", "value": "("}}]},
            "spec.limits[0].matches[0].path.value: '(' is not a regular expression of RE2",
        ),
        ({"name": "a", "requests": 1, "keys": [{"type": "Name"}]}, "spec.limits[0].keys[0].type: unknown value 'Name'"),
    ],
)
def test_what_is_wrong_with_a_limit_is_told(limit: dict[str, Any], expected: str) -> None:
    assert any(fault.startswith(expected) for fault in faults(limit)), faults(limit)


@pytest.mark.parametrize(
    ("external", "expected"),
    [
        ({"address": "limiter"}, "spec.external.address: 'limiter' is not HOST:PORT"),
        ({"address": "limiter:70000"}, "spec.external.address: 'limiter:70000' has no port from 1 to 65535"),
        ({"descriptors": []}, "spec.external.descriptors: write at least one descriptor"),
        ({"descriptors": [{"entries": []}]}, "spec.external.descriptors[0].entries: write at least one entry"),
        (
            {"descriptors": [{"entries": [{"key": "a"}]}]},
            "spec.external.descriptors[0].entries[0].value: goes with type Value",
        ),
        (
            {"descriptors": [{"entries": [{**ENTRY, "value": "x"}]}]},
            "spec.external.descriptors[0].entries[0].value: goes with type Value",
        ),
    ],
)
def test_what_is_wrong_with_a_limiter_is_told(external: dict[str, Any], expected: str) -> None:
    whole = {"address": "limiter:1", "domain": "d", "descriptors": [{"entries": [ENTRY]}], **external}
    assert any(fault.startswith(expected) for fault in faults(external=whole)), faults(external=whole)


def test_nothing_limited_and_names_twice_are_told() -> None:
    assert faults() == ["spec: write limits, external, or both; without them nothing is limited"]
    twice = {"name": "a", "requests": 1}
    assert faults(twice, twice) == ["spec.limits[1].name: is there twice in this list; keep one"]


def test_versions_keep_to_what_instances_of_their_service_enforce() -> None:
    at_callers = documents.rate_limit_policy("shop", {"name": "c", "requests": 3}, enforcedBy="Callers")
    at_callers["metadata"]["name"] = "callers"
    policies = [
        documents.rate_limit_policy("shop", {"name": "a", "requests": 1}),
        documents.rate_limit_policy("shop-v2", {"name": "b", "requests": 2}),
        at_callers,
    ]
    from_file = compiled(documents.endpoints("shop", "127.0.0.1:1", version="v2"), *policies)
    catalog = Catalog("test")
    puts = [
        (config_key("test", "RateLimitPolicy", "default", each["metadata"]["name"]), yaml.safe_dump(each))
        for each in policies
    ]
    instance = '{"id": "s-1", "address": "127.0.0.1", "port": 1, "version": "v2"}'
    puts.append((instance_key("test", SHOP, "s-1"), instance))
    catalog.apply([Event(EventKind.PUT, key, value.encode(), Revision(1)) for key, value in puts], 1)
    pushed = {name: service.limits for name in (SHOP, SHOP_V2) if (service := catalog.service(name)) is not None}
    for found in (from_file, pushed):
        assert [limit.name for limit in found[SHOP].limits] == ["callers/c", "shop/a"]
        assert [(limit.name, limit.service) for limit in found[SHOP_V2].limits] == [
            ("shop-v2/b", SHOP_V2),
            ("shop/a", SHOP),
        ]
