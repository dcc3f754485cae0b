"""FaultPolicy: what is read from it, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from remora.documents.kinds import Document
from remora.documents.load import compile_snapshot
from remora.documents.parse import parse_text
from remora.model.limits import Fault
from remora.model.names import service_name
from remora.model.routes import FieldMatch, PathMatch, RouteMatch
from tests.support.documents import fault_policy


def parse(*written: dict[str, Any]) -> tuple[Document, ...]:
    parsed = parse_text(yaml.safe_dump_all(written))
    assert not parsed.errors, parsed.errors
    return parsed.documents


def faults(*written: dict[str, Any]) -> tuple[Fault, ...]:
    return compile_snapshot(parse(*written)).services[service_name("shop")].faults


def wrong(written: dict[str, Any]) -> str:
    (error,) = parse_text(yaml.safe_dump(written)).errors
    return str(error)


def test_everything_that_is_written_is_taken() -> None:
    match = {
        "path": {"type": "Exact", "value": "/pay"},
        "method": "POST",
        "headers": [{"name": "X-Group", "value": "beta"}],
    }
    (fault,) = faults(
        fault_policy(
            "shop",
            {"matches": [match], "percent": 5, "delay": "1s500ms", "abort": {"status": 503}},
            expires="2026-12-01T18:00:00Z",
            enabled=False,
        )
    )
    assert str(fault.origin) == "FaultPolicy default/shop"
    assert fault.matches == (RouteMatch(PathMatch("exact", "/pay"), "POST", (FieldMatch("x-group", "beta"),)),)
    assert (fault.share, fault.delay_s, fault.status, fault.grpc_status) == (0.05, 1.5, 503, 14)
    assert (fault.until, fault.enabled) == (1796148000.0, False)


@pytest.mark.parametrize(
    ("abort", "statuses"),
    [
        ({"status": 404}, (404, 12)),
        ({"status": 418}, (418, 2)),
        ({"grpcStatus": "RESOURCE_EXHAUSTED"}, (429, 8)),
        ({"status": 500, "grpcStatus": "ABORTED"}, (500, 10)),
    ],
)
def test_of_one_status_the_other_follows(abort: dict[str, Any], statuses: tuple[int, int]) -> None:
    (fault,) = faults(fault_policy("shop", {"abort": abort}))
    assert (fault.status, fault.grpc_status) == statuses


def test_several_policies_stand_in_the_order_of_their_names() -> None:
    first, second = fault_policy("shop", {"delay": "1s"}, {"delay": "2s"}), fault_policy("shop", {"delay": "3s"})
    first["metadata"]["name"], second["metadata"]["name"] = "b", "a"
    assert [fault.delay_s for fault in faults(first, second)] == [3.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (fault_policy("shop"), "spec.faults: write at least one fault"),
        (fault_policy("shop", {"percent": 5}), "spec.faults[0]: write a delay, an abort, or both"),
        (fault_policy("shop", {"abort": {}}), "spec.faults[0].abort: write a status, a grpcStatus, or both"),
        (fault_policy("shop", {"abort": {"status": 200}}), "spec.faults[0].abort.status"),
        (fault_policy("shop", {"delay": "0s"}), "spec.faults[0].delay"),
        (fault_policy("shop", {"delay": "1s", "percent": 101}), "spec.faults[0].percent"),
        (fault_policy("shop", {"delay": "1s"}, expires="tomorrow"), "a time of RFC 3339"),
        (fault_policy("shop", {"delay": "1s"}, expires="2026-02-30T00:00:00Z"), "no date that a calendar has"),
        (
            fault_policy("shop", {"delay": "1s", "matches": [{"path": {"type": "RegularExpression", "value": "/a("}}]}),
            "spec.faults[0].matches[0].path.value",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(written: dict[str, Any], told: str) -> None:
    assert told in wrong(written)
