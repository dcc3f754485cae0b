"""The process that starts workers.

A worker is forked, not started anew: it shares the memory of the modules (a third of what it would need), and is there
within milliseconds. But the parent cannot fork when it has a running loop and threads. So one more process is forked
before it has any: it has all modules, one thread, no loop, and does nothing but fork, and wait for what it has forked.

Parent and nursery speak over a socket pair, one question after another: `F` with a worker's end of its channel → its
process id; `R` with a process id → its wait status, after it has been killed if it does not end by itself.

However the parent ends, its sockets are closed with it: then workers end by themselves, and the nursery ends those that
do not, and itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

_MESSAGE = struct.Struct("!cq")
_FORK = b"F"
_REAP = b"R"
END_TIMEOUT_S = 1.0
"""How long a worker whose channel is closed may take to end."""
ANSWER_TIMEOUT_S = 5.0
"""Of the nursery itself, which has nothing else to do."""
_POLL_S = 0.005
"""Between looks at a worker that is ending: waitpid knows no deadline, and the nursery has no loop."""

Work = Callable[[socket.socket, int], None]
"""What a worker does with its end of the channel, and its number. Runs in the worker."""


class NurseryError(Exception):
    """The nursery has ended: nobody can start workers any more."""


class Nursery:
    """The parent's side. Made by `start`, used on the loop, ended by `close`."""

    def __init__(self, end: socket.socket, pid: int) -> None:
        self._end = end
        self._turn = asyncio.Lock()
        self.pid = pid

    @classmethod
    def start(cls, work: Work) -> Nursery:
        """Fork it. Call this before there is a loop or a second thread."""
        ours, theirs = socket.socketpair()
        # What is there now is never looked at by the collector again, so its pages stay shared.
        gc.collect()
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _run_child(lambda: _nurse(theirs, work))
        theirs.close()
        ours.setblocking(False)
        return cls(ours, pid)

    async def fork(self, number: int, end: socket.socket) -> int:
        """Start worker `number` at `end` of its channel; its process id. Raises NurseryError."""
        return await self._ask(_FORK, number, [end.fileno()])

    async def reap(self, pid: int) -> int:
        """The wait status of a worker whose channel is closed. Raises NurseryError."""
        return await self._ask(_REAP, pid, [])

    def close(self) -> None:
        """End it; its workers have ended before."""
        self._end.close()
        _reap(self.pid, time.monotonic() + END_TIMEOUT_S)

    async def _ask(self, question: bytes, value: int, descriptors: list[int]) -> int:
        async with self._turn:
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    socket.send_fds(self._end, [_MESSAGE.pack(question, value)], descriptors)
                    answer = await asyncio.get_running_loop().sock_recv(self._end, _MESSAGE.size)
            except OSError as error:
                self._end.close()  # an answer that came later would be taken for that to another question
                raise NurseryError(str(error) or f"no answer within {ANSWER_TIMEOUT_S:g} s") from None
        if len(answer) < _MESSAGE.size:
            raise NurseryError("it closed its socket")
        found: int = _MESSAGE.unpack(answer)[1]
        return found


def describe_end(status: int) -> str:
    """A wait status in words."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"it ended with status {code}"
    return f"it was killed by {signal.Signals(-code).name}"


# ── in the nursery ──


def _run_child(work: Callable[[], None]) -> None:
    """Do `work` in a process that was just forked, and end it: nothing that the parent would do at its end is done."""
    status = 1
    try:
        # The parent tells when to stop: a Ctrl-C, or a supervisor's signal, goes to the whole group.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        work()
        status = 0
    except Exception:
        log.exception("A process that was forked failed.")
    finally:
        os._exit(status)


def _nurse(end: socket.socket, work: Work) -> None:
    _name_process("sidecar-nursery")
    children: set[int] = set()
    while True:
        message, descriptors, _, _ = socket.recv_fds(end, _MESSAGE.size, 1)
        if not message:
            break
        question, value = _MESSAGE.unpack(message)
        if question == _FORK:
            answer = _fork(end, work, value, descriptors[0])
            children.add(answer)
        else:
            answer = _reap(value, time.monotonic() + END_TIMEOUT_S)
            children.discard(value)
        try:
            end.sendall(_MESSAGE.pack(question, answer))
        except OSError:
            break
    deadline = time.monotonic() + END_TIMEOUT_S
    for pid in children:
        _reap(pid, deadline)


def _fork(end: socket.socket, work: Work, number: int, descriptor: int) -> int:
    pid = os.fork()
    if pid == 0:
        end.close()
        _name_process(f"sidecar-{number}")
        _run_child(lambda: work(socket.socket(fileno=descriptor), number))
    os.close(descriptor)
    return pid


def _reap(pid: int, deadline: float) -> int:
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(_POLL_S)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def _name_process(name: str) -> None:
    """As `top` shows it, where there is /proc."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)
