"""Messages counted from bytes that are cut anywhere, and their series: capped, rendered, added up over workers."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from remora.sidecar.admin.exposition import SidecarCollector, metrics_page
from remora.sidecar.admin.pages import Question
from remora.sidecar.telemetry.grpc import MAX_GRPC_SERIES, MessageScanner
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.workers.counts import add, take
from tests.support.grpc_frames import framed


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(0, 400)))
def test_messages_are_counted_however_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    body = b"".join(map(framed, messages))
    scanner = MessageScanner()
    places = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})
    found = sum(scanner.feed(body[a:b]) for a, b in itertools.pairwise(places))
    assert found == len(messages)


@given(st.lists(st.binary()))
def test_no_bytes_upset_it(pieces: list[bytes]) -> None:
    scanner = MessageScanner()
    for piece in pieces:
        scanner.feed(piece)


def test_series_are_capped() -> None:
    metrics = Metrics()
    for number in range(MAX_GRPC_SERIES + 5):
        metrics.new_grpc_series(("inbound", "app", f"/s/{number}")).streams += 1
    assert len(metrics.grpc) == MAX_GRPC_SERIES + 1
    assert metrics.grpc["inbound", "other", "other"].streams == 5


def test_scrapers_see_them() -> None:
    metrics = Metrics()
    series = metrics.new_grpc_series(("inbound", "app", "/s/M"))
    series.streams, series.request_messages, series.response_messages = 1, 2, 3
    page = metrics_page(SidecarCollector(metrics, lambda: iter(())))(Question("", ""))
    samples = {
        (sample.name, sample.labels.get("way")): (sample.value, sample.labels["direction"], sample.labels["method"])
        for family in text_string_to_metric_families(page.body.decode())
        for sample in family.samples
        if sample.name.startswith("mesh_grpc")
    }
    assert samples == {
        ("mesh_grpc_streams_total", None): (1, "inbound", "/s/M"),
        ("mesh_grpc_messages_total", "request"): (2, "inbound", "/s/M"),
        ("mesh_grpc_messages_total", "response"): (3, "inbound", "/s/M"),
    }


def test_workers_add_up() -> None:
    worker, parent = Metrics(), Metrics()
    series = worker.new_grpc_series(("inbound", "app", "/s/M"))
    tcp = worker.tcp_series(("outbound", "db.default", "", "tcp"))
    for _ in range(2):
        series.request_messages += 4
        tcp.opened += 1
        tcp.close("UC")
        add(parent, take(worker))
    assert parent.grpc["inbound", "app", "/s/M"].request_messages == 8
    assert parent.tcp["outbound", "db.default", "", "tcp"].opened == 2
    assert parent.tcp["outbound", "db.default", "", "tcp"].closed == {"UC": 2}
