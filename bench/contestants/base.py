"""What the bench asks of a contestant."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from bench.backends import REQUESTED_ROUTE, ROUTES, Address, Family, route_prefix
from bench.processes import Process

Hop = Literal["first", "second"]
"""Where in a chain of two proxies it stands: at the caller (outbound), or in front of the backend (inbound)."""

CONNECT_TIMEOUT_S = 5
REQUEST_TIMEOUT_S = 15
RETRIES = 2
RETRY_CODES = (502, 503, 504)
DOWNSTREAM_CONNECTIONS = 12_000
"""For those that must be told: more than any row opens."""
IDLE_TIMEOUT_S = 3600
"""How long an idle keep-alive connection stays: Envoy's default."""
ANY_NUMBER = 2**31
"""Of workers."""
UPSTREAM_CONNECTIONS = 1024
"""The usual cap of connections to one service, and of requests: Envoy's circuit breaker and the mesh have the same."""
RETRY_BUDGET_PERCENT = 20
RETRY_BUDGET_MINIMUM = 3
OUTLIER_FAILURES = 5
"""In a row, and an endpoint is put aside."""
RATE_LIMIT = 1_000_000
"""Requests a second: there to be counted, not to be hit."""
FAULT_HEADER = "x-bench-fault"
"""Who sends it gets 503. Nobody does."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What one started proxy is to do."""

    family: Family
    upstream: Address
    hop: Hop
    core: int
    folder: Path
    workers: int = 1
    """Processes or threads that carry traffic, on the one core."""

    def route_prefixes(self) -> list[str]:
        """The table of routes: at the caller all; in front of a backend there is nothing to choose, as in a mesh."""
        indexes = range(ROUTES) if self.hop == "first" else (REQUESTED_ROUTE,)
        return [route_prefix(self.family, index) for index in indexes]


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """A started proxy; `process` is None for none at all."""

    address: Address
    process: Process | None


class Contestant(Protocol):
    """A kind of proxy."""

    name: str
    families: tuple[Family, ...]
    most_workers: int

    def missing(self) -> str:
        """Why it cannot take part on this machine, or nothing."""

    def version(self) -> str:
        """For the report."""

    def start(self, job: Job) -> Running:
        """Start a proxy; it takes connections when this returns. Raises StartError."""


def start_with(name: str, job: Job, port: int, command: Callable[[], list[str]]) -> Running:
    """Start a program that was told its port, and wait for it."""
    process = Process(name, command(), job.core, job.folder)
    try:
        process.wait_for_port(port)
    except BaseException:
        process.stop()
        raise
    return Running(Address(port), process)
