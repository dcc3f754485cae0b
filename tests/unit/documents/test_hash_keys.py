"""Keys that tell users apart, as documents name them."""

from __future__ import annotations

from typing import Any

from remora.documents.errors import DocumentError
from remora.documents.mesh import TrafficPolicy
from remora.documents.parse import parse_raw
from remora.documents.policies import compile_policy
from remora.model.policies import HashKey


def policy(*keys: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "mesh.remora.dev/v1alpha1",
        "kind": "TrafficPolicy",
        "metadata": {"name": "shop"},
        "spec": {"targetRefs": [{"kind": "Service", "name": "shop"}], "split": {"stickyBy": list(keys)}},
    }


def test_keys_of_all_kinds() -> None:
    parsed = parse_raw(
        policy(
            {"type": "Header", "name": "X-User"},
            {"type": "Cookie", "name": "Uid", "ttl": "1h"},
            {"type": "Cookie", "name": "other", "ttl": "0s"},
            {"type": "QueryParam", "name": "User Name"},
            {"type": "SourceAddress"},
        )
    )
    assert isinstance(parsed, TrafficPolicy)
    assert compile_policy(parsed, 1).sticky_by == (
        HashKey("header", "x-user"),
        HashKey("cookie", "Uid", 3600.0),
        HashKey("cookie", "other", 0.0),
        HashKey("query", "User Name"),
        HashKey("address"),
    )


def test_faults_of_keys() -> None:
    found = parse_raw(
        policy(
            {"type": "Header"},
            {"type": "Cookie", "name": "a b"},
            {"type": "SourceAddress", "name": "x"},
            {"type": "QueryParam", "name": "u", "ttl": "1s"},
            {"type": "QueryParam", "name": "u"},
        )
    )
    assert isinstance(found, tuple)
    assert all(isinstance(error, DocumentError) for error in found)
    assert {error.path: error.message for error in found} == {
        "spec.split.stickyBy[0].name": "name the header",
        "spec.split.stickyBy[1].name": "'a b' is not the name of a cookie",
        "spec.split.stickyBy[2].name": "does not go with type SourceAddress; take it out",
        "spec.split.stickyBy[3].ttl": "does not go with type QueryParam; only cookies are made",
        "spec.split.stickyBy[4].name": "is there twice in this list; keep one",
    }
