"""Idle connections held through a proxy, and what each costs it."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.backends import GRPC_PATH, SMALL_PATH, Address, Family
from bench.processes import Process

HELD_CONNECTIONS = 10_000
HELD_H2_CONNECTIONS = 1_000
SETTLE_S = 1.0
"""How long the connections have been idle before memory is read: what is measured, not a wait for anything."""
DESCRIPTORS = HELD_CONNECTIONS + 2_000
"""Open files that a proxy needs for them, its connections upstream, and the load beside them."""
_FIRST_SHARE = 10
"""One in so many is opened before the first look at memory: code and pools that any traffic brings in are no
connection's cost."""


def held_count(family: Family) -> int:
    """How many connections of this family are held."""
    return HELD_CONNECTIONS if family == "http1" else HELD_H2_CONNECTIONS


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """Connections that are open and idle."""

    client: Process
    failed: int
    """Connections that had no good answer when they were opened."""
    rss_bytes: int
    """Of the proxy, with all of them."""
    bytes_each: float
    """What the last nine in ten added to it."""

    def lost(self) -> int:
        """Ask on every connection once more; gives how many had no good answer. Once only. Raises StartError."""
        self.client.tell("check")
        return int(self.client.wait_for_line("alive ").split()[1])


def hold(target: Address, family: Family, core: int, folder: Path, rss_bytes: Callable[[], int]) -> Held:
    """Open connections to `target` and keep them until the client is stopped. Raises StartError."""
    path = SMALL_PATH if family == "http1" else GRPC_PATH
    command = [sys.executable, "-m", "bench.idle_client", str(target.port), path, family]
    client = Process("idle-client", command, core, folder, told=True)
    try:
        first, count = held_count(family) // _FIRST_SHARE, held_count(family)
        failed = _have(client, first)
        before = rss_bytes()
        failed += _have(client, count)
        after = rss_bytes()
    except BaseException:
        client.stop()
        raise
    return Held(client, failed, after, (after - before) / (count - first))


def _have(client: Process, count: int) -> int:
    client.tell(f"hold {count}")
    failed = int(client.wait_for_line(f"held {count} "))
    time.sleep(SETTLE_S)
    return failed
