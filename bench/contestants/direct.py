"""No proxy: what load and backend reach on their own core. Rows close to it measure the load, not the proxy."""

from __future__ import annotations

from bench.backends import Family
from bench.contestants.base import Job, Running


class Direct:
    name = "no proxy"
    families: tuple[Family, ...] = ("http1", "h2")
    most_workers = 1

    def missing(self) -> str:
        return ""

    def version(self) -> str:
        return "load straight to the backend: the ceiling"

    def start(self, job: Job) -> Running:
        return Running(job.upstream, None)
