"""Reading what sidecars count."""

from __future__ import annotations

from demo.traffic import parse

LABELS = 'service="reviews.default",peer="",route="",method="GET"'


def metrics(ok: int, failed: int, fast: int, slow: int) -> str:
    inbound = f'direction="inbound",{LABELS}'
    return f"""# TYPE mesh_requests_total counter
mesh_requests_total{{{inbound},status="2xx",flag=""}} {ok}
mesh_requests_total{{{inbound},status="5xx",flag="UF"}} {failed}
mesh_requests_total{{direction="outbound",{LABELS},status="2xx",flag=""}} 99
# TYPE mesh_request_duration_seconds histogram
mesh_request_duration_seconds_bucket{{{inbound},status="2xx",flag="",le="0.01"}} {fast}
mesh_request_duration_seconds_bucket{{{inbound},status="2xx",flag="",le="0.1"}} {fast + slow}
mesh_request_duration_seconds_bucket{{{inbound},status="2xx",flag="",le="+Inf"}} {fast + slow}
mesh_request_duration_seconds_count{{{inbound},status="2xx",flag=""}} {fast + slow}
mesh_request_duration_seconds_sum{{{inbound},status="2xx",flag=""}} 1
# TYPE mesh_retries_total counter
mesh_retries_total{{service="prices.default",reason="connect"}} 3
mesh_retries_total{{service="reviews.default",reason="status"}} 2
"""


def test_only_what_came_to_the_app_is_its_traffic() -> None:
    scrape = parse(metrics(ok=7, failed=2, fast=5, slow=4), at=1.0)
    assert (scrape.requests, scrape.failures, scrape.retries) == (9, 2, 5)
    assert scrape.buckets == {0.01: 5, 0.1: 9, float("inf"): 9}


def test_the_median_is_of_what_came_between_two_scrapes() -> None:
    before, now = (parse(metrics(100, 0, fast, slow), 0.0) for fast, slow in ((100, 0), (101, 3)))
    assert now.median_s(before) == 0.1
    assert before.median_s(before) == 0.0
