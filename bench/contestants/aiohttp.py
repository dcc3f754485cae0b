"""A plain proxy of aiohttp's server and client, as one writes it in an afternoon: for comparison."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys

from bench import processes
from bench.backends import Family
from bench.contestants import base
from bench.contestants.base import Job, Running


class AiohttpProxy:
    name = "aiohttp"
    families: tuple[Family, ...] = ("http1",)
    most_workers = 1

    def missing(self) -> str:
        return "" if importlib.util.find_spec("aiohttp") else "aiohttp is not installed (pip install aiohttp)"

    def version(self) -> str:
        return importlib.metadata.version("aiohttp")

    def start(self, job: Job) -> Running:
        port = processes.free_port()
        command = [sys.executable, "-m", "bench.aiohttp_proxy", str(port), str(job.upstream)]
        return base.start_with("aiohttp", job, port, lambda: command)
