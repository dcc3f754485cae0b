"""What the soak takes for a finding, and what not."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest

from soak.leaks import (
    GROWTH_BYTES,
    MIN_SAMPLES,
    SIDECAR,
    WINDOWS,
    Process,
    Sample,
    Watched,
    is_idle,
    read_process,
    read_sample,
)
from soak.ledger import BEFORE, HTTP, TCP, WITHIN, ClientFailure, FailureSeen, Ledger, executed_twice, is_allowed

PAGE = """
process_resident_memory_bytes 4.2e+07
process_open_fds 30
mesh_asyncio_tasks 4
mesh_connections{listener="outbound:web"} 2
mesh_connections{listener="metrics"} 1
mesh_upstream_connections{direction="outbound",service="web.default"} 5
mesh_upstream_requests{direction="outbound",service="web.default"} 1
"""


def sample(memory: float = 40e6, files: int = 20, tasks: int = 4, upstream: int = 2, live: int = 0) -> Sample:
    return Sample(0.0, {SIDECAR: int(memory)}, files, tasks, {}, upstream, live)


def watched(before: Sample, after: Sample, growth: float = 0.0) -> Watched:
    count = WINDOWS * MIN_SAMPLES
    load = [sample(before.memory[SIDECAR] + growth * number / (count - 1)) for number in range(count)]
    return Watched("caller", before, load, after)


def test_metrics_are_read() -> None:
    read = read_sample(PAGE, {})
    assert (read.memory, read.files, read.tasks, read.upstream, read.live) == ({SIDECAR: 42_000_000}, 30, 4, 5, 1)
    assert read.downstream == {"outbound:web": 2, "metrics": 1}
    assert read.other_files == 30 - 3 - 5
    assert not is_idle(read, "caller")


def test_workers_are_counted_in() -> None:
    read = read_sample(PAGE, {"worker 0": Process(7, 1_000, 12)})
    assert read.memory == {SIDECAR: 42_000_000, "worker 0": 1_000}
    assert (read.files, read.workers) == (42, {"worker 0": 7})
    own = read_process(os.getpid())
    assert own.memory > 1_000_000
    assert own.files > 2


def test_a_worker_that_leaks_is_found() -> None:
    def at(memory: float, pid: int = 7) -> Sample:
        held = {SIDECAR: 40_000_000, "worker 0": int(memory)}
        return dataclasses.replace(sample(), memory=held, workers={"worker 0": pid})

    count = WINDOWS * MIN_SAMPLES
    load = [at(40e6 + number * GROWTH_BYTES) for number in range(count)]
    (finding,) = Watched("caller", at(40e6), load, at(40e6 + 2 * GROWTH_BYTES)).findings(10)
    assert "memory of the worker 0" in finding
    (finding,) = Watched("caller", at(40e6), load, at(40e6, pid=8)).findings(10)
    assert "workers ended" in finding


def test_a_sidecar_that_holds_as_much_as_before_has_leaked_nothing() -> None:
    assert watched(sample(), sample()).findings(10) == []


@pytest.mark.parametrize(
    ("after", "growth", "found"),
    [
        (sample(live=1), 0, "in flight"),
        (sample(files=40), 0, "files"),
        (sample(tasks=40), 0, "tasks"),
        (sample(upstream=40), 0, "upstream connections"),
        (sample(memory=40e6 + 2 * GROWTH_BYTES), 4 * GROWTH_BYTES, "memory"),
    ],
)
def test_a_leak_is_found(after: Sample, growth: float, found: str) -> None:
    (finding,) = watched(sample(), after, growth).findings(10)
    assert found in finding


def test_memory_that_was_needed_once_is_no_leak() -> None:
    # Kept without load, but not growing under it.
    assert watched(sample(), sample(memory=40e6 + 2 * GROWTH_BYTES)).findings(10) == []


@pytest.mark.parametrize(
    ("kind", "method", "phase", "what", "replayed", "allowed"),
    [
        ("HTTP/1", "POST", BEFORE, "503 upstream_reset", False, True),
        ("HTTP/1", "POST", BEFORE, "502 upstream_protocol", False, False),
        ("HTTP/1", "POST", BEFORE, "TimeoutError", False, False),
        ("HTTP/1", "GET", BEFORE, "503 upstream_reset", True, False),
        ("HTTP/1", "GET", WITHIN, "ClientPayloadError", True, True),
        ("gRPC unary", "Unary", BEFORE, "UNAVAILABLE", True, False),
        ("gRPC unary", "Unary", BEFORE, "UNAVAILABLE", False, True),
        ("gRPC unary", "Unary", BEFORE, "DEADLINE_EXCEEDED", False, False),
        ("WebSocket", "GET", BEFORE, "503 connect_failure", False, True),
        ("TCP", TCP, WITHIN, "IncompleteReadError", False, True),
        ("TCP by CONNECT", "CONNECT", BEFORE, "503 connect_failure", False, True),
        ("TCP by CONNECT", "CONNECT", BEFORE, "503 no_endpoint", False, False),
    ],
)
def test_what_an_apps_end_may_look_like(
    kind: str, method: str, phase: str, what: str, replayed: bool, allowed: bool
) -> None:
    assert is_allowed(FailureSeen(kind, method, phase, what, replayed)) == allowed


def test_a_failure_needs_an_apps_end_at_its_time() -> None:
    ledger = Ledger()
    failure = ClientFailure("POST", BEFORE, "503 upstream_reset")
    ledger.failed("HTTP/1", failure, time.monotonic())
    assert (ledger.explained.total(), len(ledger.unexplained)) == (0, 1)
    ledger.open_window(HTTP)
    ledger.failed("HTTP/1", failure, time.monotonic())
    ledger.failed("gRPC unary", ClientFailure("Unary", BEFORE, "UNAVAILABLE"), time.monotonic())
    assert (ledger.explained.total(), len(ledger.unexplained)) == (1, 2)


def test_what_was_executed_twice_is_found(tmp_path: Path) -> None:
    executed = tmp_path / "executed"
    executed.write_text("h1\nh2\nh1\ng1\n")
    assert executed_twice(executed) == ["h1"]
