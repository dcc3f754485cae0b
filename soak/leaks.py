"""What each sidecar holds, from its own metrics: without load before and after, and how its memory moves under load.

Without load (all clients gone) must hold:

* no open downstream connection but those of other sidecars' pools and of scrapers, and no request in flight;
* open files that are no connections, and tasks: no more than before. Pools keep connections, and pools may grow to
  as many connections as there were requests at a time; what they hold shows as connections and is bounded by that;
* workers: each is the process that it was, and its files are counted to those of the sidecar. Tasks are of the parent
  alone: what a worker's hold shows in its memory;
* memory, of each process: a leak grows for as long as there is load. So both have to grow by more than GROWTH_BYTES:
  what is held without load, after against before, and under load the median of the last window against the one of the
  first. (One alone may be the allocator's: it keeps what a peak has needed.)
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from soak.world import CALLER

WINDOWS = 5
"""Of the time under load. The first is left out: buffers and pools find their size in it."""
GROWTH_BYTES = 8 * 1024 * 1024
"""At a few hundred requests a second, what 50 bytes a request make in ten minutes. From run to run of a sidecar
without a leak the medians differ by up to 3 MiB."""
FILES_SLACK = 3
TASKS_SLACK = 3
"""A reconnect to control or a probe of the app may be under way at either time."""
MIN_SAMPLES = 3
"""Of a window, for its median to mean something."""

SIDECAR = "sidecar"
"""The process that was started: the only one, or the parent of the workers."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclasses.dataclass(frozen=True)
class Process:
    """What a process holds."""

    pid: int
    memory: int
    files: int


@dataclasses.dataclass(frozen=True)
class Sample:
    """A sidecar at a moment."""

    at: float
    memory: Mapping[str, int]
    """Of SIDECAR, and of each worker by its name."""
    files: int
    """Of all its processes."""
    tasks: int
    downstream: Mapping[str, int]
    """Open connections by listener."""
    upstream: int
    live: int
    """Requests in flight upstream."""
    workers: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Their process ids."""

    @property
    def other_files(self) -> int:
        """Open files that are no connections of callers or to upstreams."""
        return self.files - sum(self.downstream.values()) - self.upstream


def read_process(pid: int) -> Process:
    """As the kernel (Linux) tells; one that has ended holds nothing."""
    folder = Path("/proc") / str(pid)
    try:
        resident = int((folder / "statm").read_text().split()[1])
        return Process(pid, resident * PAGE_BYTES, len(tuple((folder / "fd").iterdir())))
    except (FileNotFoundError, ProcessLookupError):
        return Process(pid, 0, 0)


def read_sample(page: str, workers: Mapping[str, Process]) -> Sample:
    """Of a sidecar's metrics, and of its workers."""
    values: dict[str, float] = {}
    downstream: dict[str, int] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            values[sample.name] = values.get(sample.name, 0.0) + sample.value
            if sample.name == "mesh_connections":
                downstream[sample.labels["listener"]] = int(sample.value)
    return Sample(
        time.monotonic(),
        {
            SIDECAR: int(values["process_resident_memory_bytes"]),
            **{name: process.memory for name, process in workers.items()},
        },
        int(values["process_open_fds"]) + sum(process.files for process in workers.values()),
        int(values["mesh_asyncio_tasks"]),
        downstream,
        int(values.get("mesh_upstream_connections", 0)),
        int(values.get("mesh_upstream_requests", 0)),
        {name: process.pid for name, process in workers.items()},
    )


@dataclasses.dataclass
class Watched:
    """A sidecar over the whole run."""

    name: str
    before: Sample | None = None
    under_load: list[Sample] = dataclasses.field(default_factory=list)
    after: Sample | None = None

    def findings(self, most_at_once: int) -> list[str]:
        """What it has leaked, a sentence each. `most_at_once`: how many requests there were at a time, at most."""
        before, after = self.before, self.after
        if before is None or after is None:
            return [f"{self.name}: it has not been asked before and after"]
        found = []
        if after.live:
            found.append(f"{after.live} requests are in flight, though all clients are gone")
        if after.other_files > before.other_files + FILES_SLACK:
            found.append(f"files that are no connections grew from {before.other_files} to {after.other_files}")
        if after.tasks > before.tasks + TASKS_SLACK:
            found.append(f"tasks grew from {before.tasks} to {after.tasks}")
        if after.upstream > max(before.upstream, most_at_once):
            found.append(f"{after.upstream} upstream connections are open, for {most_at_once} requests at a time")
        if after.workers != before.workers:
            found.append(f"workers ended: their processes were {before.workers}, and are {after.workers}")
        else:
            found += [self._judge_memory(name, after.memory[name] - held) for name, held in before.memory.items()]
        return [f"{self.name}: {finding}" for finding in found if finding]

    def growth(self, process: str) -> float:
        """Of the median memory, from the second window under load to the last one; 0 when there is too little of it."""
        medians = [statistics.median(s.memory.get(process, 0) for s in window) for window in self._windows()]
        return medians[-1] - medians[1] if len(medians) == WINDOWS else 0.0

    def _judge_memory(self, process: str, held: int) -> str:
        """A finding, or nothing."""
        grown = self.growth(process)
        if held <= GROWTH_BYTES or grown <= GROWTH_BYTES:
            return ""
        return f"memory of the {process} grew by {_mib(held)} MiB without load, by {_mib(grown)} MiB under load"

    def _windows(self) -> list[list[Sample]]:
        size = len(self.under_load) // WINDOWS
        if size < MIN_SAMPLES:
            return []
        return [self.under_load[number * size : (number + 1) * size] for number in range(WINDOWS)]


def is_idle(sample: Sample, name: str) -> bool:
    """Whether nothing of the clients is left: the caller's sidecar has no connection of theirs."""
    clients = [count for listener, count in sample.downstream.items() if listener.startswith("outbound")]
    return sample.live == 0 and (name != CALLER or not any(clients))


def _mib(size: float) -> str:
    return f"{size / 1024 / 1024:.1f}"
