"""The last snapshot that worked, on disk: what a restarted sidecar serves when control is away.

A cache, not a record: written whole to a file beside it and renamed over it, without fsync. After a power cut the file
may be old or missing, and then the sidecar waits for control as on its first start.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import msgspec

from remora.model.snapshot import Snapshot

log = logging.getLogger(__name__)

FORMAT = 1
"""Of the file. A file of another format is ignored."""
DELAY_S = 1.0
"""A burst of changes is written once."""


class _File(msgspec.Struct, frozen=True):
    format: int
    snapshot: msgspec.Raw


class _Content(msgspec.Struct, frozen=True):
    format: int
    snapshot: Snapshot


class LastKnownGood:
    """One file of one sidecar. Lives on the event loop; disk work is done in a thread."""

    def __init__(self, path: Path, *, delay_s: float = DELAY_S) -> None:
        self._path = path
        self._delay_s = delay_s
        self._pending: Snapshot | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._failed = False

    def load(self) -> Snapshot | None:
        """What was saved; None when there is nothing, or nothing that can be read: the log then says why."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("The last known good configuration %s cannot be read: %s.", self._path, error.strerror)
            return None
        try:
            file = msgspec.json.decode(data, type=_File)
            if file.format != FORMAT:
                log.warning(
                    "The last known good configuration %s is of format %d, this sidecar reads format %d: ignored.",
                    self._path,
                    file.format,
                    FORMAT,
                )
                return None
            return msgspec.json.decode(file.snapshot, type=Snapshot)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("The last known good configuration %s is damaged and ignored: %s.", self._path, error)
            return None

    def save(self, snapshot: Snapshot) -> None:
        """Have `snapshot` written soon; of several, the last."""
        self._pending = snapshot
        if self._timer is None and self._writing is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay_s, self._start_writing)

    async def close(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await self._writing
        if self._timer is not None:  # set again at the end of that write
            self._timer.cancel()
            self._timer = None
        if self._pending is not None:
            await self._write()

    def _start_writing(self) -> None:
        self._timer = None
        self._writing = asyncio.get_running_loop().create_task(self._write_and_rearm())

    async def _write_and_rearm(self) -> None:
        await self._write()
        self._writing = None
        if self._pending is not None:
            self.save(self._pending)

    async def _write(self) -> None:
        snapshot, self._pending = self._pending, None
        assert snapshot is not None
        try:
            await asyncio.to_thread(_write_file, self._path, snapshot)
        except OSError as error:
            if not self._failed:
                log.warning("The last known good configuration cannot be kept in %s: %s.", self._path, error.strerror)
            self._failed = True
        else:
            self._failed = False


def _write_file(path: Path, snapshot: Snapshot) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(msgspec.json.encode(_Content(FORMAT, snapshot)))
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
