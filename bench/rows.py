"""What is measured: the rows of the table, with their bars (the least that we accept) and aims."""

from __future__ import annotations

import dataclasses
from typing import Literal

from bench import held, loads
from bench.backends import Family

Better = Literal["higher", "lower"]
RowKey = Literal[
    "small",
    "post",
    "large",
    "grpc",
    "p99",
    "idle",
    "live",
    "hops",
    "held",
    "per_idle",
    "beside",
    "per_idle_h2",
    "workers",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One kind of work. `bar` and `aim` bound Remora's ratio to Envoy, from below or above as `better` says.

    Rows without a bar are there to be known: the ratio is told, and no verdict.
    """

    key: RowKey
    title: str
    tool: str
    """The load generator; empty for our own client, or none."""
    family: Family
    unit: str
    scale: float
    """Measured values (per second, bytes, seconds) are divided by it for the report."""
    better: Better
    bar: float | None = None
    aim: float | None = None
    once: bool = False
    """Memory is measured once: a second time would find what the first one left."""

    def meets(self, ratio: float, bound: float) -> bool:
        """Whether a ratio to Envoy is as good as `bound`."""
        return ratio >= bound if self.better == "higher" else ratio <= bound


IDLE = Row("idle", "RSS idle", "", "http1", "MiB", 2**20, "lower", 0.6, 0.4, once=True)
WORKERS_AT_ONCE = 2
WORKERS = Row("workers", f"RSS idle, {WORKERS_AT_ONCE} workers", "", "http1", "MiB", 2**20, "lower", once=True)
_LIVE = f"RSS with {loads.MANY_CONNECTIONS:,} live connections"
LIVE = Row("live", _LIVE, "wrk", "http1", "MiB", 2**20, "lower", 0.8, 0.6, once=True)
_MANY = f"{held.HELD_CONNECTIONS:,} idle connections"
_MANY_H2 = f"{held.HELD_H2_CONNECTIONS:,} idle HTTP/2 connections"
HELD = Row("held", f"RSS with {_MANY}", "", "http1", "MiB", 2**20, "lower", once=True)
PER_IDLE = Row("per_idle", f"RSS for each of {_MANY}", "", "http1", "KiB", 2**10, "lower", once=True)
PER_IDLE_H2 = Row("per_idle_h2", f"RSS for each of {_MANY_H2}", "", "h2", "KiB", 2**10, "lower", once=True)
BESIDE = Row("beside", f"HTTP/1.1 small GET beside {_MANY}", "wrk", "http1", "rps", 1, "higher")
SMALL = Row(
    "small", f"HTTP/1.1 small GET, {loads.CONNECTIONS} connections", "wrk", "http1", "rps", 1, "higher", 1.0, 1.4
)
POST = Row("post", "HTTP/1.1 POST 10 KiB", "wrk", "http1", "rps", 1, "higher", 1.0, 1.3)
LARGE = Row("large", "HTTP/1.1 GET 1 MiB bodies", "wrk", "http1", "MiB/s", 2**20, "higher", 0.9, 1.0)
P99 = Row("p99", "p99 at half of Envoy's top rate", "", "http1", "ms", 1e-3, "lower", 1.0, 0.7)
GRPC = Row(
    "grpc",
    f"HTTP/2 gRPC unary, {loads.H2_CONNECTIONS} x {loads.H2_STREAMS} streams",
    "h2load",
    "h2",
    "rps",
    1,
    "higher",
    0.9,
    1.2,
)
HOPS = Row("hops", "two hops, added p50", "", "http1", "ms", 1e-3, "lower", 1.0, 0.8)

ROWS = (SMALL, POST, GRPC, LARGE, P99, IDLE, WORKERS, LIVE, HELD, PER_IDLE, BESIDE, PER_IDLE_H2, HOPS)
"""In the order of the report."""
