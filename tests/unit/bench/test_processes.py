"""Children of the bench: they start on their core, are waited for, weighed and stopped, and their failures are told."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from bench import processes
from bench.processes import Process, StartError

CORE = min(os.sched_getaffinity(0))

SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening here", listener.getsockname()[1])
while True:
    listener.accept()[0].close()
"""


def test_a_process_listens_on_its_core_and_is_stopped(tmp_path: Path) -> None:
    port = processes.free_port()
    with Process("server", [sys.executable, "-c", SERVER, str(port)], CORE, tmp_path) as process:
        process.wait_for_port(port)

        assert process.wait_for_line("listening here ") == str(port)
        assert os.sched_getaffinity(process.pid) == {CORE}
        assert process.rss_bytes() > 2**20
        assert process.cpu_seconds() > 0
        assert process.running()

    assert not psutil.pid_exists(process.pid)
    assert not process.running()


def test_a_process_that_ends_is_an_error_with_what_it_said(tmp_path: Path) -> None:
    with (
        Process("short", [sys.executable, "-c", "print('no such flag'); exit(3)"], CORE, tmp_path) as process,
        pytest.raises(StartError, match="short ended with 3: no such flag"),
    ):
        process.wait_for_port(processes.free_port())

    with pytest.raises(StartError, match="short ended with 3"):
        process.rss_bytes()


def test_memory_that_a_process_shares_with_its_children_counts_once(tmp_path: Path) -> None:
    mib = 50
    code = (
        f"import os, signal; data = b'x' * ({mib} << 20); [os.fork() or signal.pause() for _ in range(2)]; "
        "print('ready here', flush=True); signal.pause()"
    )
    with Process("parent", [sys.executable, "-c", code], CORE, tmp_path) as process:
        process.wait_for_line("ready ")

        assert len(psutil.Process(process.pid).children()) == 2
        assert mib << 20 < process.rss_bytes() < 2 * mib << 20


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="gone: /no/such/program cannot be started: No such file or directory"):
        Process("gone", ["/no/such/program"], CORE, tmp_path)


def test_a_load_that_fails_is_an_error() -> None:
    with pytest.raises(StartError, match="ended with 4: oh"):
        processes.run_pinned([sys.executable, "-c", "import sys; print('oh', file=sys.stderr); sys.exit(4)"], CORE, 20)

    assert processes.run_pinned([sys.executable, "-c", "print(1 + 1)"], CORE, 20) == "2\n"


def test_without_tools_the_bench_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--rows", "small", "grpc", "--out", str(tmp_path / "results.md")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env={"PATH": str(tmp_path)},
        check=False,
    )

    assert done.returncode == 1
    assert "wrk (apt-get install wrk), nginx (apt-get install nginx-light)" in done.stderr
    assert "h2load (apt-get install nghttp2-client), nghttpd (apt-get install nghttp2-server)" in done.stderr
    assert not (tmp_path / "results.md").exists()


def test_too_few_open_files_for_the_idle_connections_are_said(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--rows", "held", "--out", str(tmp_path / "results.md")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)),
        check=False,
    )

    assert done.returncode == 1
    assert (
        "RSS with 10,000 idle connections: 1,024 open files are allowed, 12,000 are needed (ulimit -Hn)" in done.stderr
    )


def test_a_process_is_told_lines_until_it_ends(tmp_path: Path) -> None:
    reader = "import sys\nfor line in sys.stdin: print('got', line.strip(), flush=True)\n"
    with Process("told", [sys.executable, "-c", reader], CORE, tmp_path, told=True) as process:
        process.tell("hold 3")
        assert process.wait_for_line("got ") == "hold 3"

    with Process("short", [sys.executable, "-c", "print('no more')"], CORE, tmp_path, told=True) as process:
        with pytest.raises(StartError, match="short ended with 0"):
            process.wait_for_line("never ")
        with pytest.raises(StartError, match="short does not listen any more: no more"):
            process.tell("check")
