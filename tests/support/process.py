"""The commands as users run them: started as processes, found by the lines they print, stopped by their process ids."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 20


class Command:
    """A running `sidecar` or `control`; `ports` are what it has said that it listens on, by name."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.listening: dict[str, str] = {}
        self.lines: list[str] = []
        self.errors = b""
        self._grew = asyncio.Event()
        self._readers = (
            asyncio.create_task(self._read_output()),
            asyncio.create_task(self._read_errors()),
        )

    @classmethod
    async def start(cls, name: str, *arguments: str, environ: Mapping[str, str] | None = None) -> Command:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"remora.{name}.cli",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(environ or {})},
        )
        return cls(process)

    async def wait_listening(self, *names: str) -> None:
        """Until it listens on all of `names`."""
        async with asyncio.timeout(START_TIMEOUT_S):
            while not all(name in self.listening for name in names):
                assert self.process.returncode is None, f"it ended: {self.errors.decode()}"
                await self._grew.wait()
                self._grew.clear()

    def url(self, name: str) -> str:
        """http:// and the address of a port."""
        return f"http://{self.address(name)}"

    def address(self, name: str) -> str:
        return self.listening[name].replace("0.0.0.0", "127.0.0.1")

    def port(self, name: str) -> int:
        return int(self.listening[name].rpartition(":")[2])

    async def finish(self) -> int:
        """Wait for its end; the exit status."""
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await asyncio.gather(*self._readers)
            return await self.process.wait()

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait; the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        try:
            return await self.finish()
        except TimeoutError:
            self.process.kill()
            raise AssertionError(f"it did not stop: {self.errors.decode()}") from None

    async def _read_output(self) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            line = raw.decode().strip()
            self.lines.append(line)
            if line.startswith("listening "):
                _, name, address = line.split()
                self.listening[name] = address
            self._grew.set()
        self._grew.set()

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        while chunk := await self.process.stderr.read(65536):
            self.errors += chunk
        self._grew.set()


@asynccontextmanager
async def running_sidecar(upstream: str | None, *arguments: str) -> AsyncIterator[Command]:
    """A sidecar before `upstream` (HOST:PORT; None: it only calls), on free ports, listening."""
    free = ("--inbound", "127.0.0.1:0", "--outbound-listen", ":0", "--admin", ":0", "--metrics", "127.0.0.1:0")
    app = ("--upstream", upstream) if upstream else ()
    command = await Command.start("sidecar", "run", *app, *free, "--drain-delay", "50ms", *arguments)
    try:
        inbound = ("inbound",) if upstream else ()
        bound = [part.partition("=")[0] for flag, part in itertools.pairwise(arguments) if flag == "--outbound"]
        await command.wait_listening(*inbound, "outbound", "admin", "metrics", *(f"outbound:{name}" for name in bound))
        yield command
    finally:
        await command.stop(signal.SIGKILL)


async def refused(*arguments: str, environ: dict[str, str] | None = None) -> str:
    """What `sidecar` says on stderr when it refuses to run."""
    command = await Command.start("sidecar", *arguments, environ=environ)
    status = await command.finish()
    said = command.errors.decode()
    assert status == 2, said
    assert "Traceback" not in said
    assert said.startswith("sidecar: ")
    assert said.count("\n") == 1
    return said
