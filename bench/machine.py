"""The machine that a run happened on: its cores, and its description for the report."""

from __future__ import annotations

import dataclasses
import os
import platform
import resource
from pathlib import Path

import psutil  # type: ignore[import-untyped]


@dataclasses.dataclass(frozen=True, slots=True)
class Cores:
    """Which core the proxy has, and which one load and backend share. The same one when there is no second."""

    proxy: int
    load: int

    @property
    def shared(self) -> bool:
        return self.proxy == self.load


def pick_cores() -> Cores:
    """The last two cores that this process may use: core 0 often has the interrupts."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(proxy=usable[-1], load=usable[-2] if len(usable) > 1 else usable[-1])


def describe() -> str:
    """CPU, memory and system in one line."""
    memory_gib = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0))
    return (
        f"{_cpu_name()}, {cores} cores, {memory_gib:.0f} GiB; {_system_name()}, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def raise_file_limit() -> int:
    """As many open files as this process may allow itself and its children, and what is of use; gives the number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(65536, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _system_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
