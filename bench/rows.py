"""What is measured: the rows of the table, with their bars (the least that we accept) and aims."""

from __future__ import annotations

import dataclasses
from typing import Literal

from bench import loads
from bench.backends import Family

Better = Literal["higher", "lower"]
RowKey = Literal["small", "post", "large", "grpc", "p99", "idle", "live", "hops"]


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One kind of work. `bar` and `aim` bound Remora's ratio to Envoy, from below or above as `better` says."""

    key: RowKey
    title: str
    tool: str
    """The load generator; empty for our own client, or none."""
    family: Family
    unit: str
    scale: float
    """Measured values (per second, bytes, seconds) are divided by it for the report."""
    better: Better
    bar: float
    aim: float

    def meets(self, ratio: float, bound: float) -> bool:
        """Whether a ratio to Envoy is as good as `bound`."""
        return ratio >= bound if self.better == "higher" else ratio <= bound


IDLE = Row("idle", "RSS idle", "", "http1", "MiB", 2**20, "lower", 0.6, 0.4)
LIVE = Row(
    "live", f"RSS with {loads.MANY_CONNECTIONS:,} live connections", "wrk", "http1", "MiB", 2**20, "lower", 0.8, 0.6
)
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

ROWS = (SMALL, POST, GRPC, LARGE, P99, IDLE, LIVE, HOPS)
"""In the order of the report."""
