"""Remora's sidecar. At the caller (first hop) its outbound port is used, in front of the backend its inbound port."""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench import processes
from bench.backends import Address, Family
from bench.contestants import base
from bench.contestants.base import Job, Running
from bench.contestants.remora_documents import SERVICE, documents
from bench.processes import HOST, Process

_ANY_PORT = f"{HOST}:0"
_PROBE_TIMEOUT_S = 20
_PROBE = """
import json, platform, remora, remora.sidecar.cli
from remora.sidecar.wire.http1 import server
build = "pure" if server.__file__.endswith(".py") else "compiled"
print(json.dumps({"version": remora.__version__, "build": build, "python": platform.python_version()}))
"""


class NoRemoraError(Exception):
    """An interpreter cannot run a sidecar; the text says why and what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Build:
    """A remora as an interpreter imports it."""

    version: str
    build: str
    """pure, or compiled (by mypyc)."""
    python: str
    """The interpreter's version."""


class Remora:
    """The sidecar of this checkout, or the one that is installed for another interpreter."""

    families: tuple[Family, ...] = ("http1", "h2")
    most_workers = base.ANY_NUMBER

    def __init__(self, name: str = "Remora", python: Path | None = None) -> None:
        self.name = name
        self._python = str(python or sys.executable)
        self._imports = processes.ROOT if python is None else None

    def missing(self) -> str:
        try:
            self.build()
        except NoRemoraError as error:
            return str(error)
        return ""

    def build(self) -> Build:
        """Which one it is. Raises NoRemoraError."""
        return _probe(self._python, self._imports)

    def version(self) -> str:
        build = self.build()
        return f"{build.version} ({build.build}, Python {build.python})"

    def start(self, job: Job) -> Running:
        config = job.folder / f"remora.{job.family}.{job.hop}.yaml"
        # YAML is a superset of JSON.
        config.write_text("\n---\n".join(json.dumps(document) for document in documents(job)))
        command = [self._python, "-m", "remora.sidecar.cli", "run", *_flags(job, str(config))]
        process = Process("remora", command, job.core, job.folder, imports=self._imports)
        line = f"listening outbound:{SERVICE} " if job.hop == "first" else "listening inbound "
        try:
            address = process.wait_for_line(line)
        except BaseException:
            process.stop()
            raise
        return Running(Address(int(address.rpartition(":")[2])), process)


def of_interpreters(pythons: Sequence[Path]) -> list[Remora]:
    """One contestant for each interpreter, told apart by how it was built; without any, that of this checkout.

    Raises NoRemoraError.
    """
    if len(pythons) < 2:
        return [Remora("Remora", python) for python in pythons] or [Remora()]
    builds = [Remora("Remora", python).build().build for python in pythons]
    seen: Counter[str] = Counter()
    contestants = []
    for python, build in zip(pythons, builds, strict=True):
        seen[build] += 1
        number = f" {seen[build]}" if builds.count(build) > 1 else ""
        contestants.append(Remora(f"Remora {build}{number}", python))
    return contestants


@functools.cache
def _probe(python: str, imports: Path | None) -> Build:
    # Elsewhere than here, or the remora of this checkout would be found.
    with tempfile.TemporaryDirectory() as elsewhere:
        try:
            said = subprocess.run(
                [python, "-c", _PROBE],
                capture_output=True,
                text=True,
                timeout=_PROBE_TIMEOUT_S,
                check=True,
                cwd=elsewhere,
                env=processes.environment(imports),
            )
        except OSError as error:
            raise NoRemoraError(f"{python} cannot be started: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise NoRemoraError(f"{python} did not say within {_PROBE_TIMEOUT_S} s which remora it has") from None
        except subprocess.CalledProcessError as error:
            last = error.stderr.strip().rpartition("\n")[2]
            why = f"{python} cannot run a sidecar ({last}): install remora-mesh for it"
            raise NoRemoraError(why) from None
    return Build(**json.loads(said.stdout))


def _flags(job: Job, config: str) -> list[str]:
    flags = {
        "--upstream": str(job.upstream),
        "--service": SERVICE if job.hop == "second" else "caller",
        "--config": config,
        "--inbound": _ANY_PORT,
        "--outbound-listen": _ANY_PORT,
        "--outbound": f"{SERVICE}={_ANY_PORT}",
        "--admin": _ANY_PORT,
        "--metrics": _ANY_PORT,
        "--state-dir": str(job.folder / f"remora.{job.family}.{job.hop}.state"),
    }
    if job.workers > 1:
        flags["--workers"] = str(job.workers)
    return [word for flag in flags.items() for word in flag]
