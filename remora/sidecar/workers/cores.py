"""How many cores this process may use: what `--workers auto` stands for."""

from __future__ import annotations

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def usable_cores(cgroups: Path = CGROUPS) -> int:
    """The cores that it may run on, or fewer where a cgroup limits its CPU time; at least 1.

    A limit of 1.5 cores counts as 1: two workers would take turns at being throttled.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _cgroup_limit(cgroups)
    return max(1, affinity if limit is None else min(affinity, int(limit)))


def _cgroup_limit(cgroups: Path) -> float | None:
    """In cores. A container sees its own cgroup as the root; None: no limit, or none that can be read."""
    version2 = _words(cgroups / "cpu.max")
    quota, period = (
        version2
        or [
            *_words(cgroups / "cpu" / "cpu.cfs_quota_us"),
            *_words(cgroups / "cpu" / "cpu.cfs_period_us"),
        ]
        or ["max", "1"]
    )
    # `max` in version 2 and -1 in version 1 stand for no limit.
    return int(quota) / int(period) if quota.isdigit() and int(period) else None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
