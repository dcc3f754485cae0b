"""The nursery by itself: what it starts, what it says of ends, and when it does not answer."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from remora.sidecar.workers import nursery as module
from remora.sidecar.workers.nursery import Nursery, NurseryError, describe_end


def work(end: socket.socket, number: int) -> None:
    """A worker that does as it is told."""
    end.setblocking(True)
    end.sendall(b"%d" % number)
    match end.recv(16):
        case b"fail":
            raise RuntimeError("told to")
        case b"hang":
            time.sleep(600)


@contextmanager
def started() -> Iterator[Nursery]:
    nursery = Nursery.start(work)
    gc.unfreeze()  # other tests' garbage is their matter
    try:
        yield nursery
    finally:
        nursery.close()


async def tell(nursery: Nursery, number: int, word: bytes) -> str:
    """Start a worker, say `word` to it (nothing: close its channel), and how it ended."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = await nursery.fork(number, theirs)
        assert await asyncio.to_thread(ours.recv, 16) == b"%d" % number
        ours.sendall(word) if word else ours.shutdown(socket.SHUT_WR)
        return describe_end(await nursery.reap(pid))


async def test_workers_start_and_end_and_it_is_told_how() -> None:
    with started() as nursery:
        assert await tell(nursery, 3, b"") == "it ended with status 0"
        assert await tell(nursery, 4, b"fail") == "it ended with status 1"
        assert await tell(nursery, 5, b"hang") == "it was killed by SIGKILL"
        assert psutil.Process(nursery.pid).children() == []


async def test_signals_to_the_group_do_not_end_workers() -> None:
    ours, theirs = socket.socketpair()
    with started() as nursery, ours, theirs:
        pid = await nursery.fork(0, theirs)
        assert await asyncio.to_thread(ours.recv, 16) == b"0"
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
            os.kill(nursery.pid, number)
        ours.shutdown(socket.SHUT_WR)
        assert describe_end(await nursery.reap(pid)) == "it ended with status 0"


async def test_one_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.2)
    ours, theirs = socket.socketpair()
    with started() as nursery, ours, theirs:
        os.kill(nursery.pid, signal.SIGSTOP)
        for _ in range(2):
            with pytest.raises(NurseryError):
                await nursery.fork(0, theirs)


async def test_one_that_was_killed_is_noticed() -> None:
    ours, theirs = socket.socketpair()
    with started() as nursery, ours, theirs:
        os.kill(nursery.pid, signal.SIGKILL)
        with pytest.raises(NurseryError):  # noqa: PT012 - the kernel may still take what the first says
            await nursery.fork(0, theirs)
            await nursery.reap(1)
