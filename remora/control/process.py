"""The process of `control run`: etcd (given or our own), the server, signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from remora.cli.flags import UsageError, port_in_use
from remora.control.server import ControlServer, ListenError, Ports
from remora.control.store.embedded import EmbeddedEtcd, EmbeddedEtcdError
from remora.control.store.etcd import Endpoint, EtcdCredentials, EtcdStore, EtcdTls

log = logging.getLogger(__name__)

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `control run` was told."""

    env: str
    ports: Ports
    etcd: tuple[Endpoint, ...]
    """Empty: start our own, in `data_dir`."""
    tls: EtcdTls | None
    credentials: EtcdCredentials | None
    data_dir: Path | None
    """Of our own etcd; None when `etcd` is given."""
    etcd_port: int
    """Of our own etcd; 0 takes a free one."""
    log_level: str


def run(options: RunOptions) -> int:
    """Run until SIGTERM or SIGINT; the exit status. Raises UsageError."""
    logging.basicConfig(level=options.log_level.upper(), format=_LOG_FORMAT)
    # That a sidecar's connection is gone is told by push, once.
    logging.getLogger("grpclib.server").setLevel(logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(options))


async def _run(options: RunOptions) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with _etcd(options) as (endpoints, embedded), _store(options, endpoints) as store:
        server = ControlServer(store, options.env, f"{socket.gethostname()}-{os.getpid()}")
        try:
            _announce(await _start(server, options.ports))
            return await _serve(server, embedded, stopping)
        finally:
            await server.stop()


async def _serve(server: ControlServer, embedded: EmbeddedEtcd | None, stopping: asyncio.Event) -> int:
    """Until the signal, or until something that must not end has ended."""
    running = asyncio.create_task(server.run())
    stop = asyncio.create_task(stopping.wait())
    ended = asyncio.create_task(embedded.wait()) if embedded else None
    tasks: list[asyncio.Task[Any]] = [task for task in (running, stop, ended) if task is not None]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    status = _outcome(running, stop, ended, embedded)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return status


def _outcome(
    running: asyncio.Task[None],
    stop: asyncio.Task[Any],
    ended: asyncio.Task[int] | None,
    embedded: EmbeddedEtcd | None,
) -> int:
    """The exit status, and a word in the log if it is not 0."""
    if stop.done():
        return 0
    if ended is not None and ended.done() and embedded is not None:
        log.error("the embedded etcd ended with status %s; its log is %s", ended.result(), embedded.log_path)
        return 1
    log.critical("control failed; this is a fault in control itself", exc_info=running.exception())
    return 1


@asynccontextmanager
async def _etcd(options: RunOptions) -> AsyncIterator[tuple[tuple[Endpoint, ...], EmbeddedEtcd | None]]:
    if options.data_dir is None:
        yield options.etcd, None
        return
    try:
        embedded = await EmbeddedEtcd.start(options.data_dir, client_port=options.etcd_port)
    except (EmbeddedEtcdError, OSError) as error:
        raise UsageError(f"{error} (--etcd URL uses one that runs already, --data-dir another folder)") from None
    _say(f"etcd embedded {embedded.endpoint} data {options.data_dir}")
    try:
        yield (embedded.endpoint,), embedded
    finally:
        await embedded.stop()


@asynccontextmanager
async def _store(options: RunOptions, endpoints: tuple[Endpoint, ...]) -> AsyncIterator[EtcdStore]:
    try:
        store = EtcdStore(endpoints, tls=options.tls, credentials=options.credentials)
    except ValueError as error:
        raise UsageError(f"--etcd: {error}") from None
    try:
        yield store
    finally:
        await store.close()


async def _start(server: ControlServer, ports: Ports) -> Ports:
    try:
        return await server.start(ports)
    except ListenError as error:
        variable = f"CONTROL_{error.what.upper()}"
        raise port_in_use(f"--{error.what}", variable, error.address, error.reason) from None


def _announce(ports: Ports) -> None:
    """Lines that people and programs read: `listening WHAT ADDRESS`."""
    _say(f"listening grpc {ports.grpc}")
    _say(f"listening http {ports.http}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
