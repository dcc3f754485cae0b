"""The whole demo as a process: everything that the README promises of it."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path

import psutil
import pytest

from demo.processes import Child

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "demo"]
STORY_S = 240.0
STOP_S = 60.0


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


async def until_printed(child: Child, wanted: str, timeout: float) -> None:
    async with asyncio.timeout(timeout):
        while wanted not in child.log.read_text():
            assert child.running, child.last_words(20)
            await asyncio.sleep(0.1)


@pytest.mark.timeout(STORY_S + STOP_S)
async def test_the_story_holds_and_no_request_fails(tmp_path: Path) -> None:
    child = await Child.start("demo", [*DEMO, "--once"], tmp_path, cwd=ROOT)
    try:
        status = await child.wait(STORY_S)
    finally:
        child.kill()
        await child.wait()
    said = child.log.read_text()
    assert status == 0, said
    for step in (
        "start etcd and control",
        "start 2 x shop, 4 x reviews, 3 x prices, 2 x quotes, a sidecar beside each",
        "canary: half of the reviews from v2",
        "canary: all reviews from v2",
        "SIGKILL reviews-v2-1 and prices-v1-1, app and sidecar",
        "put a broken route into etcd by hand",
        "SIGKILL control, and start it again 3 s later",
        "stop etcd for 10 s",
        "edit the route once more: all from v2",
    ):
        assert f"✓ {step} (" in said
    assert "✗" not in said
    assert "weights 0 : 100; the last 100 reviews came from 100 x v2" in said
    [total] = re.findall(r"│ all +│ +(\d+) │ +(\d+) │", said)
    assert int(total[0]) > 1000
    assert total[1] == "0"


@pytest.mark.timeout(STORY_S + STOP_S)
async def test_ctrl_c_stops_everything_that_was_started(tmp_path: Path) -> None:
    child = await Child.start("demo", DEMO, tmp_path, cwd=ROOT)
    try:
        await until_printed(child, "✓ send load", STORY_S)
        started = descendants(child.pid)
        assert len(started) > 20
        psutil.Process(child.pid).send_signal(signal.SIGINT)
        status = await child.wait(STOP_S)
    finally:
        child.kill()
        await child.wait()
    assert status == 130, child.log.read_text()
    _, alive = psutil.wait_procs(started, timeout=5)
    assert alive == []


@pytest.mark.timeout(STOP_S)
async def test_a_second_demo_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    lock = ROOT / ".remora" / "demo" / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    holder = await Child.start("holder", [sys.executable, "-c", HOLD, str(lock)], tmp_path)
    try:
        await holder.address()
        child = await Child.start("demo", [*DEMO, "--once"], tmp_path, cwd=ROOT)
        assert await child.wait(STOP_S) == 1
    finally:
        await holder.stop()
    assert child.last_words().startswith("demo: another demo runs in ")


HOLD = """
import fcntl, signal, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("listening 127.0.0.1:1", flush=True)
signal.pause()
"""
