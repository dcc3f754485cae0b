"""The load generators: wrk for HTTP/1, h2load for HTTP/2, our open-loop client for latencies at a fixed rate."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import msgspec

from bench import processes
from bench.backends import GRPC_PATH, LARGE_PATH, SMALL_PATH, Address
from bench.openloop import Result
from bench.processes import Process

CONNECTIONS = 64
LARGE_CONNECTIONS = 16
MANY_CONNECTIONS = 1000
POST_BYTES = 10 * 1024
H2_CONNECTIONS = 8
H2_STREAMS = 16
_SLACK_S = 30.0

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class ParseError(Exception):
    """A load generator printed something else than it does."""


@dataclasses.dataclass(frozen=True, slots=True)
class Throughput:
    """Per second; `errors` are requests that failed or were not answered with 2xx."""

    requests: float
    bytes: float
    errors: int


@dataclasses.dataclass(frozen=True, slots=True)
class Loads:
    """The generators on one core, each run for `seconds`."""

    core: int
    folder: Path
    seconds: int

    def small(self, target: Address) -> Throughput:
        return self._wrk(target, SMALL_PATH, CONNECTIONS)

    def many_connections(self, target: Address) -> Process:
        """wrk with many connections, started; `parse_wrk` reads its output."""
        return Process("wrk", self._wrk_command(target, SMALL_PATH, MANY_CONNECTIONS), self.core, self.folder)

    def large(self, target: Address) -> Throughput:
        return self._wrk(target, LARGE_PATH, LARGE_CONNECTIONS)

    def post(self, target: Address) -> Throughput:
        script = self.folder / "post.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {POST_BYTES})\n')
        return self._wrk(target, SMALL_PATH, CONNECTIONS, "-s", str(script))

    def grpc(self, target: Address, message: bytes) -> Throughput:
        body = self.folder / "message"
        body.write_bytes(message)
        command = [
            "h2load",
            f"--duration={self.seconds}",
            "--threads=1",
            f"--clients={H2_CONNECTIONS}",
            f"--max-concurrent-streams={H2_STREAMS}",
            "--header=content-type: application/grpc",
            "--header=te: trailers",
            f"--data={body}",
            f"http://{target}{GRPC_PATH}",
        ]
        return parse_h2load(processes.run_pinned(command, self.core, self.seconds + _SLACK_S))

    def at_rate(self, target: Address, rate: float) -> Result:
        """Small GETs at `rate` per second, open loop."""
        words = (target.port, SMALL_PATH, rate, self.seconds, CONNECTIONS)
        command = [sys.executable, "-m", "bench.openloop", *map(str, words)]
        return msgspec.json.decode(processes.run_pinned(command, self.core, self.seconds + _SLACK_S), type=Result)

    def _wrk(self, target: Address, path: str, connections: int, *more: str) -> Throughput:
        command = self._wrk_command(target, path, connections, *more)
        return parse_wrk(processes.run_pinned(command, self.core, self.seconds + _SLACK_S))

    def _wrk_command(self, target: Address, path: str, connections: int, *more: str) -> list[str]:
        return ["wrk", "-t1", f"-c{connections}", f"-d{self.seconds}s", *more, f"http://{target}{path}"]


def parse_wrk(output: str) -> Throughput:
    """What wrk 4 prints at the end. Raises ParseError."""
    rate = _search(r"Requests/sec:\s+([\d.]+)", output)
    transfer = _search(r"Transfer/sec:\s+([\d.]+)([KMGT]?)B", output)
    errors = 0
    if bad := re.search(r"Non-2xx or 3xx responses: (\d+)", output):
        errors += int(bad[1])
    if bad := re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output):
        errors += sum(map(int, bad.groups()))
    return Throughput(float(rate[1]), float(transfer[1]) * _UNITS[transfer[2]], errors)


def parse_h2load(output: str) -> Throughput:
    """What h2load prints at the end. Raises ParseError."""
    finished = _search(r"finished in [\d.]+m?s, ([\d.]+) req/s, ([\d.]+)([KMGT]?)B/s", output)
    requests = _search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    codes = _search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
    # failed has errored and timeout in it.
    errors = max(int(requests[2]), sum(map(int, codes.groups()[1:])))
    return Throughput(float(finished[1]), float(finished[2]) * _UNITS[finished[3]], errors)


def _search(pattern: str, output: str) -> re.Match[str]:
    found = re.search(pattern, output)
    if not found:
        raise ParseError(f"no {pattern!r} in what the load generator printed: {output[-400:]!r}")
    return found
