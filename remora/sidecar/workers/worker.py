"""A worker: one data path, and the channel to the parent that decides everything else."""

from __future__ import annotations

import asyncio
import logging
import socket

import msgspec
import uvloop

from remora.model.snapshot import SnapshotError
from remora.sidecar.admin.views import cluster_views
from remora.sidecar.datapath import DataPath
from remora.sidecar.listener.listener import ListenError
from remora.sidecar.options import Options
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.workers import counts
from remora.sidecar.workers.channel import Channel
from remora.sidecar.workers.discoverer import ParentDiscoverer
from remora.sidecar.workers.messages import (
    Answer,
    Ask,
    Checked,
    Configure,
    Drain,
    Failed,
    Finish,
    Finished,
    FromParent,
    Inquire,
    Lease,
    Message,
    Report,
    Tell,
    Told,
    Up,
    encode,
)

log = logging.getLogger(__name__)


def run_worker(options: Options, end: socket.socket, number: int) -> None:
    """The life of worker `number`, in its process. `options` have no port 0: all workers share their ports."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s worker {number} %(name)s: %(message)s"))
    uvloop.run(_Worker(options).run(end))


class _Worker:
    """Does what the parent says, until it says that it is over, or is gone."""

    def __init__(self, options: Options) -> None:
        self._metrics = Metrics()
        self._faults = options.faults
        self._path = DataPath(options, self._metrics, checks=False)
        self._decoder: msgspec.msgpack.Decoder[FromParent] = msgspec.msgpack.Decoder(FromParent)
        self._channel: Channel | None = None
        self._task: asyncio.Task[None] | None = None
        self._discoverer: ParentDiscoverer | None = None
        if options.control:
            self._discoverer = ParentDiscoverer(lambda service: self._send(Ask(service)))
            self._path.discover_by(self._discoverer)

    async def run(self, end: socket.socket) -> None:
        self._channel = await Channel.open(end, self._on_message)
        await self._channel.closed.wait()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._path.close()

    def _on_message(self, data: bytes) -> None:
        message = self._decoder.decode(data)
        match message:
            case Configure():
                self._configure(message)
            case Lease():
                self._path.lease({(service, limit): share for service, limit, share in message.shares})
            case Checked():
                self._path.clusters.check(message.service, message.endpoint, message.fault)
            case Tell():
                self._send(self._report(message.serial, message.clusters))
            case Inquire():
                self._send(self._told(message))
            case Answer():
                assert self._discoverer is not None, "only what was asked is answered"
                self._discoverer.answered(message.service, message.known)
            case Drain():
                self._path.drain()
            case Finish():
                self._task = asyncio.get_running_loop().create_task(self._finish(), name="finish")

    def _configure(self, message: Configure) -> None:
        self._path.own_ports.update(message.own_ports)
        try:
            self._path.use(message.snapshot)
        except SnapshotError as error:  # the parent has compiled it before; what is in use stays
            log.error("Revision %d was not taken: %s", message.snapshot.revision, error)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._start(), name="start")

    async def _start(self) -> None:
        try:
            await self._path.start(reuse_port=True)
        except ListenError as error:
            self._send(Failed(str(error)))
        else:
            self._send(Up())

    async def _finish(self) -> None:
        assert self._channel is not None, "the parent said so"
        clean = await self._path.finish()
        self._send(self._report(0, False))
        self._send(Finished(clean))
        self._channel.close()

    def _told(self, message: Inquire) -> Told:
        from remora.sidecar.explain.page import answer
        from remora.sidecar.explain.subject import View, app_of

        view = View.of(self._path.mesh, message.config, faults=self._faults, app=app_of(self._path))
        found = answer(message.query, view, self._path.recent)
        if isinstance(found, list):
            return Told(message.serial, happened=tuple(found))
        return Told(message.serial, found)

    def _report(self, serial: int, clusters: bool) -> Report:
        return Report(
            serial,
            counts.take(self._metrics),
            () if self._discoverer is None else self._discoverer.take_used(),
            self._path.live_requests,
            self._metrics.connections,
            tuple(cluster_views(self._path.app, self._path.clusters, self._path.app_limit)) if clusters else None,
            tuple((*key, count) for key, count in self._path.take_wanted().items()),
        )

    def _send(self, message: Message) -> None:
        assert self._channel is not None, "it speaks when it is spoken to"
        self._channel.send(encode(message))
