"""Slots, the cap on series, and what Prometheus' own parser reads."""

from __future__ import annotations

import sys

from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from remora.sidecar.admin.exposition import Gauge, SidecarCollector, metrics_page
from remora.sidecar.admin.pages import Question
from remora.sidecar.telemetry.metrics import MAX_SERIES, Metrics, grpc_status_name


def labels(service: str) -> tuple[str, str, str, str, str, str, str]:
    return ("outbound", service, "", "r", "GET", "2xx", "")


def test_openmetrics_has_what_was_counted() -> None:
    metrics = Metrics()
    series = metrics.new_series(labels("a.default"))
    series.observe(0.003, 10, 20)
    series.observe(100.0, 1, 2)
    metrics.count_retry("a.default", "connect failure")
    collector = SidecarCollector(metrics, lambda: iter([Gauge("mesh_connections", "Open.", 3, listener="inbound")]))
    page = metrics_page(collector)(Question("", "application/openmetrics-text; version=1.0.0"))
    assert page.content_type.startswith("application/openmetrics-text")
    samples = {
        (sample.name, sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(page.body.decode())
        for sample in family.samples
    }
    assert samples["mesh_requests_total", None] == 2
    assert samples["mesh_request_bytes_total", None] == 11
    assert samples["mesh_response_bytes_total", None] == 22
    assert samples["mesh_retries_total", None] == 1
    assert samples["mesh_connections", None] == 3
    assert sys.platform != "linux" or samples["process_open_fds", None] > 0
    bucket = "mesh_request_duration_seconds_bucket"
    assert (samples[bucket, "0.0025"], samples[bucket, "0.005"], samples[bucket, "+Inf"]) == (0, 1, 2)


def test_series_are_capped_and_the_overflow_is_counted() -> None:
    metrics = Metrics()
    for number in range(MAX_SERIES + 50):
        metrics.new_series(labels(f"s{number}.default")).observe(0.1, 0, 0)
    assert len(metrics.requests) == MAX_SERIES + 1
    assert metrics.overflowed == 50
    assert sum(series.count for series in metrics.requests.values()) == MAX_SERIES + 50


def test_registering_twice_renders_twice() -> None:
    collector = SidecarCollector(Metrics(), lambda: iter(()))
    for _ in range(2):
        CollectorRegistry(auto_describe=False).register(collector)
        assert metrics_page(collector)(Question("", "")).status == 200


def test_grpc_status_names() -> None:
    assert [grpc_status_name(value) for value in (b"0", b"14", b"16", b"99", b"x", None)] == [
        "OK",
        "UNAVAILABLE",
        "UNAUTHENTICATED",
        "UNKNOWN",
        "UNKNOWN",
        "UNKNOWN",
    ]
