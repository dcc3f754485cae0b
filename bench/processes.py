"""Child processes on a core of their own: start, wait until they listen, weigh, stop."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

HOST = "127.0.0.1"
ROOT = Path(__file__).parents[1]
"""Where `bench` is imported from; `remora` as well, unless another interpreter's is asked for."""
START_DEADLINE_S = 20.0
STOP_DEADLINE_S = 5.0
POLL_S = 0.02
"""Between looks at the port or the output of a program that is not ours: neither tells when it changes."""
PR_SET_PDEATHSIG = 1


class StartError(Exception):
    """A process did not come up; the message has the end of what it printed."""


def free_port() -> int:
    """A loopback port that is free now, for programs that cannot say which port they got for 0."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A running child, pinned to one core, with its output in a file; `told` ones take lines on standard input.

    `imports` is where a Python child finds what its interpreter has not installed: None for nowhere.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        core: int,
        folder: Path,
        *,
        told: bool = False,
        imports: Path | None = ROOT,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.{time.monotonic_ns()}.log"
        stdin = subprocess.PIPE if told else subprocess.DEVNULL
        try:
            self._popen = self._start(command, core, folder, stdin, environment(imports))
        except OSError as error:
            raise StartError(f"{name}: {command[0]} cannot be started: {error.strerror}") from None
        self._stats = psutil.Process(self._popen.pid)

    def _start(
        self, command: Sequence[str], core: int, folder: Path, stdin: int, env: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**env, "PYTHONUNBUFFERED": "1"},
                preexec_fn=lambda: _prepare_child(core),
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def tell(self, line: str) -> None:
        """Write a line to its standard input. Raises StartError when it has ended."""
        assert self._popen.stdin is not None, "it was started to be told"
        try:
            self._popen.stdin.write(line.encode() + b"\n")
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise StartError(f"{self.name} does not listen any more: {self._last_words()}") from None

    def wait_for_port(self, port: int) -> None:
        """Return when `port` takes connections. Raises StartError when the process ends or the deadline passes."""
        for _ in self._until_deadline(f"does not listen on port {port}"):
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
                return

    def wait_for_line(self, start: str) -> str:
        """The rest of the first line of output that begins with `start`. Raises StartError as `wait_for_port`."""
        for _ in self._until_deadline(f"did not print {start!r}"):
            for line in self.output().splitlines(keepends=True):
                if line.startswith(start) and line.endswith("\n"):
                    return line[len(start) :].strip()
        raise AssertionError("the deadline raises")

    def _until_deadline(self, complaint: str) -> Iterator[None]:
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            yield
            ended = self._popen.poll() is not None
            if ended or time.monotonic() > deadline:
                why = f"ended with {self._popen.returncode}" if ended else complaint
                raise StartError(f"{self.name} {why}: {self._last_words()}")
            time.sleep(POLL_S)

    def running(self) -> bool:
        return self._popen.poll() is None

    def rss_bytes(self) -> int:
        """Resident memory of the process and its children, in which what they share counts once.

        PSS would not do: it shares pages of a library or program with all processes of the machine. Raises StartError
        when it has ended.
        """
        family = self._family()
        if len(family) == 1:
            rss: int = family[0].memory_info().rss
            return rss
        weights = [part.memory_full_info() for part in family]
        own: int = sum(weight.uss for weight in weights)
        shared: int = max(weight.rss - weight.uss for weight in weights)
        return own + shared

    def cpu_seconds(self) -> float:
        """Processor time, user and system, of the process and its children so far. Raises StartError as `rss_bytes`."""
        return sum(sum(part.cpu_times()[:2]) for part in self._family())

    def _family(self) -> list[psutil.Process]:
        if self._popen.poll() is not None:
            raise StartError(f"{self.name} ended with {self._popen.returncode}: {self._last_words()}")
        return [self._stats, *self._stats.children(recursive=True)]

    def _last_words(self) -> str:
        return self.output()[-600:].strip()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL; returns when it is gone."""
        if self._popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._popen.stdin.close()
        if self._popen.poll() is not None:
            return
        children = self._stats.children(recursive=True)
        self._popen.terminate()
        try:
            self._popen.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def environment(imports: Path | None) -> dict[str, str]:
    """This process's, with PYTHONPATH of `imports` alone, or without one."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return env if imports is None else {**env, "PYTHONPATH": str(imports)}


def run_pinned(command: Sequence[str], core: int, timeout_s: float) -> str:
    """Standard output of a command that runs to its end on `core`.

    Raises StartError when it fails or takes too long.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=environment(ROOT),
            preexec_fn=lambda: _prepare_child(core),
        )
    except subprocess.TimeoutExpired as error:
        raise StartError(f"{command[0]} did not end within {timeout_s:.0f} s") from error
    if done.returncode:
        raise StartError(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-600:].strip()}")
    return done.stdout


def _prepare_child(core: int) -> None:
    os.sched_setaffinity(0, {core})
    # A bench that is killed takes its children along.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
