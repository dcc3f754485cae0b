"""What is told of requests that happened."""

from __future__ import annotations

import re
import time

import msgspec

from remora.model.happened import Happened, Tried
from remora.sidecar.explain.history import MAX_LISTED, render_history, render_list
from remora.sidecar.explain.paint import Paint

GONE = Happened(
    time.time() - 12,
    0.5,
    "outbound",
    "GET",
    "shop",
    "/a",
    "shop.default",
    "shop/all",
    503,
    "r1",
    "t1",
    flag="UF",
    why="shop.default: connection refused",
    attempts=(Tried("10.0.0.1:80", "connection refused", 0.01), Tried("10.0.0.2:80", "answered 503", 0.25)),
)


def test_a_request_is_told_try_by_try() -> None:
    page = render_history([GONE], Paint())
    assert page.startswith("GET http://shop/a\n  ended ")
    assert re.search(r" UTC, [\d.]+ (s|min) ago, after 500 ms, outbound\n", page)
    for line in (
        "  request id r1, trace id t1",
        "service   shop.default, route shop/all",
        "attempts  1  10.0.0.1:80  connection refused, 10 ms",
        "          2  10.0.0.2:80  answered 503, 250 ms",
        "answer    503",
        "why       flag UF: shop.default: connection refused",
    ):
        assert line in page.splitlines(), page


def test_failures_that_are_alike_are_one_line() -> None:
    refused = msgspec.structs.replace(GONE, flag="UO", attempts=(), request_id="r2")
    call = msgspec.structs.replace(GONE, grpc_status="UNAVAILABLE", request_id="r3")
    lines = render_list([refused] * 40 + [GONE, call], Paint()).splitlines()
    assert [" ".join(line.split()[1:]) for line in lines[:3]] == [
        "(40 in a row) shop.default GET /a 503, UO r2",
        "shop.default GET /a 2 attempts, 503, UF r1",
        "shop.default GET /a 2 attempts, gRPC UNAVAILABLE, UF r3",
    ]
    assert render_list([], Paint()).startswith("no request has failed here")
    many = [msgspec.structs.replace(GONE, path=f"/{number}") for number in range(MAX_LISTED + 5)]
    lines = render_list(many, Paint()).splitlines()
    assert (len(lines), lines[0][:10]) == (MAX_LISTED + 2, "and others")
    assert f"/{MAX_LISTED + 4}" in lines[-2]
