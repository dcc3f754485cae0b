"""The keys of a mesh, there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.control.store.keys import (
    ConfigKey,
    InstanceKey,
    StatusKey,
    config_key,
    config_prefix,
    instance_key,
    instances_prefix,
    parse_key,
    status_key,
    status_prefix,
)
from remora.model.names import ServiceName, service_name

LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
PART = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1)


def test_the_keys_are_those_of_the_contract() -> None:
    assert config_key("dev", "HTTPRoute", "default", "shop") == "/mesh/dev/config/HTTPRoute/default/shop"
    assert instance_key("dev", service_name("orders", "shop"), "i-1") == "/mesh/dev/instances/orders.shop/i-1"
    assert status_key("dev", "HTTPRoute", "default", "shop") == "/mesh/dev/status/HTTPRoute/default/shop"


def test_prefixes_end_with_a_slash_so_that_no_other_name_begins_with_them() -> None:
    assert config_prefix("dev") == "/mesh/dev/config/"
    assert config_prefix("dev", "HTTPRoute") == "/mesh/dev/config/HTTPRoute/"
    assert config_prefix("dev", "HTTPRoute", "shop") == "/mesh/dev/config/HTTPRoute/shop/"
    assert instances_prefix("dev") == "/mesh/dev/instances/"
    assert instances_prefix("dev", ServiceName("a.default")) == "/mesh/dev/instances/a.default/"
    assert status_prefix("dev") == "/mesh/dev/status/"


@given(PART, PART, PART, PART)
def test_a_document_key_comes_back(env: str, kind: str, namespace: str, name: str) -> None:
    assert parse_key(config_key(env, kind, namespace, name)) == ConfigKey(env, kind, namespace, name)
    assert parse_key(status_key(env, kind, namespace, name)) == StatusKey(env, kind, namespace, name)


@given(PART, LABEL, LABEL, PART)
def test_an_instance_key_comes_back(env: str, name: str, namespace: str, instance: str) -> None:
    service = service_name(name, namespace)
    assert parse_key(instance_key(env, service, instance)) == InstanceKey(env, service, instance)


def test_a_bare_service_is_in_the_default_namespace() -> None:
    assert parse_key("/mesh/dev/instances/orders/1") == InstanceKey("dev", ServiceName("orders.default"), "1")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "mesh/dev/config/HTTPRoute/default/shop",
        "/other/dev/config/HTTPRoute/default/shop",
        "/mesh/dev/config/HTTPRoute/default",
        "/mesh/dev/config/HTTPRoute/default/shop/more",
        "/mesh/dev/config/HTTPRoute//shop",
        "/mesh//config/HTTPRoute/default/shop",
        "/mesh/dev/secrets/HTTPRoute/default/shop",
        "/mesh/dev/instances/orders.default/",
        "/mesh/dev/instances/Orders.default/1",
        "/mesh/dev/instances/orders.a.b/1",
    ],
)
def test_what_is_none_of_ours_is_none(key: str) -> None:
    assert parse_key(key) is None


@pytest.mark.parametrize("part", ["", "a/b"])
def test_a_part_that_would_make_another_key_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match="cannot be part of a key"):
        config_key("dev", "HTTPRoute", "default", part)
    with pytest.raises(ValueError, match="cannot be part of a key"):
        config_prefix(part)
