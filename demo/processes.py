"""Children of the demo: started in groups of their own, followed by what they print, stopped by process id."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from remora.control.store.child import ends_with_us

START_S = 30.0
"""Longest time from starting a process to the line that says where it listens."""
STOP_S = 10.0
"""Longest time from SIGTERM to exit; SIGKILL follows."""

_LISTENING = re.compile(r"^listening (?:(\S+) )?(\S+:\d+)$")
_ETCD = re.compile(r"^(etcd) http://(\S+:\d+)$")

_PORTS = range(20000, 30000)
"""Below what Linux and macOS hand out by themselves, so that no connection of ours takes a port meant for a server."""


class ChildError(Exception):
    """A child did not do what it was started for; the message says which, what, and where its log is."""


class Ports:
    """Gives out free ports, each once."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def free(self) -> int:
        """A port of 127.0.0.1 that nothing listens on."""
        while True:
            port = random.choice(_PORTS)
            if port not in self._given and _can_listen(port):
                self._given.add(port)
                return port


def _can_listen(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Child:
    """One process. Its output goes to its log; addresses that it prints can be waited for."""

    def __init__(self, name: str, log: Path, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.log = log
        self.clean_status = 0
        self._process = process
        self._addresses: dict[str, str] = {}
        self._printed = asyncio.Event()
        self._follower = asyncio.create_task(self._follow(), name=f"follow {name}")

    @classmethod
    async def start(
        cls, name: str, argv: Sequence[str], logs: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Child:
        """Starts `argv` with `env` on top of the environment; its output is added to `logs`/`name`.log."""
        log = logs / f"{name}.log"
        with log.open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                *ends_with_us(argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **(env or {}), "PYTHONUNBUFFERED": "1"},
                cwd=cwd,
                start_new_session=True,
            )
        return cls(name, log, process)

    @property
    def pid(self) -> int:
        """Its process id, which is its group's as well."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def address(self, what: str = "app", timeout: float = START_S) -> str:
        """HOST:PORT that it printed as `listening WHAT HOST:PORT`; raises ChildError when it ends or takes too long."""
        try:
            async with asyncio.timeout(timeout):
                while what not in self._addresses:
                    if self._follower.done():
                        raise ChildError(f"{self.name} ended with {await self._process.wait()}: {self.last_words()}")
                    self._printed.clear()
                    await self._printed.wait()
        except TimeoutError:
            raise ChildError(
                f"{self.name} did not say where {what} listens within {timeout:.0f} s: {self.last_words()}"
            ) from None
        return self._addresses[what]

    def kill(self) -> None:
        """SIGKILL to its whole group."""
        self._signal(signal.SIGKILL)

    async def wait(self, timeout: float = STOP_S) -> int:
        """Its exit status; raises ChildError when it takes too long."""
        try:
            async with asyncio.timeout(timeout):
                status = await self._process.wait()
                await self._follower
        except TimeoutError:
            raise ChildError(f"{self.name} (process {self.pid}) did not end within {timeout:.0f} s") from None
        return status

    async def stop(self, timeout: float = STOP_S) -> int:
        """SIGTERM, then SIGKILL when it takes too long; its exit status."""
        self._signal(signal.SIGTERM)
        try:
            return await self.wait(timeout)
        except ChildError:
            self.kill()
            return await self.wait()

    async def stop_cleanly(self, timeout: float = STOP_S) -> None:
        """`stop`; raises ChildError when it did not end by itself, or with another status than `clean_status`."""
        status = await self.stop(timeout)
        if status != self.clean_status:
            raise ChildError(f"{self.name} ended with {status} when told to stop: {self.last_words()}")

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace").splitlines()
        return " | ".join(text[-lines:]) or f"(nothing in {self.log})"

    def _signal(self, signum: signal.Signals) -> None:
        if not self.running:
            return
        try:
            os.killpg(self.pid, signum)
        except ProcessLookupError:
            return

    async def _follow(self) -> None:
        assert self._process.stdout is not None
        try:
            with self.log.open("ab", buffering=0) as log:
                async for line in self._process.stdout:
                    log.write(line)
                    self._notice(line.decode(errors="replace").rstrip())
        finally:
            self._printed.set()

    def _notice(self, line: str) -> None:
        found = _LISTENING.match(line) or _ETCD.match(line)
        if found is None:
            return
        self._addresses[found[1] or "app"] = found[2]
        self._printed.set()


class Family:
    """All children of one demo, in layers: each layer is stopped before the ones below it."""

    def __init__(self, logs: Path, root: Path) -> None:
        self.logs = logs
        self._root = root
        self._layers: dict[int, list[Child]] = {}
        logs.mkdir(parents=True, exist_ok=True)
        for old in logs.glob("*.log"):
            old.unlink()

    async def start(
        self,
        layer: int,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        clean_status: int = 0,
    ) -> Child:
        """Starts a child that `stop` will stop; `clean_status` is what it ends with when all is well."""
        child = await Child.start(name, argv, self.logs, env, self._root)
        child.clean_status = clean_status
        self._layers.setdefault(layer, []).append(child)
        return child

    async def python(
        self, layer: int, name: str, module: str, *args: str, env: Mapping[str, str] | None = None
    ) -> Child:
        """Starts `python -m MODULE ARGS`."""
        return await self.start(layer, name, [sys.executable, "-m", module, *args], env)

    async def stop(self) -> list[str]:
        """Stops every child, highest layer first; what did not stop cleanly, in words. Takes STOP_S a layer at most."""
        complaints: list[str] = []
        for layer in sorted(self._layers, reverse=True):
            children = [child for child in self._layers[layer] if child.running]
            statuses = await asyncio.gather(*(child.stop() for child in children))
            complaints += [
                f"{child.name} ended with {status} when told to stop (see {child.log})"
                for child, status in zip(children, statuses, strict=True)
                if status != child.clean_status
            ]
        return complaints

    def kill(self) -> None:
        """SIGKILL to whatever still runs."""
        for children in self._layers.values():
            for child in children:
                child.kill()
