"""Children of the demo: real, small ones."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from demo.processes import Child, ChildError, Family, Ports

SAYS_AND_WAITS = """
import signal, sys, threading
signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(sys.argv[1])))
print("listening inbound 127.0.0.1:4711")
print("etcd http://127.0.0.1:4712")
print("listening 127.0.0.1:4713", flush=True)
while True:
    signal.pause()
"""
DEAF = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("listening 127.0.0.1:1", flush=True)
while True:
    signal.pause()
"""


def script(text: str, *args: str) -> list[str]:
    return [sys.executable, "-c", text, *args]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_addresses_that_a_child_prints(tmp_path: Path) -> None:
    child = await Child.start("one", script(SAYS_AND_WAITS, "0"), tmp_path)
    try:
        assert await child.address("inbound") == "127.0.0.1:4711"
        assert await child.address("etcd") == "127.0.0.1:4712"
        assert await child.address() == "127.0.0.1:4713"
    finally:
        assert await child.stop() == 0
    assert gone(child.pid)


async def test_a_child_that_ends_early_is_reported_with_its_last_words(tmp_path: Path) -> None:
    child = await Child.start("one", script("import sys; print('port in use', file=sys.stderr); sys.exit(2)"), tmp_path)
    with pytest.raises(ChildError, match="one ended with 2: port in use"):
        await child.address()
    assert not child.running


async def test_a_child_that_says_nothing_is_not_waited_for_forever(tmp_path: Path) -> None:
    child = await Child.start("one", script(SAYS_AND_WAITS, "0"), tmp_path)
    try:
        with pytest.raises(ChildError, match="one did not say where admin listens within 0 s"):
            await child.address("admin", timeout=0.05)
    finally:
        child.kill()
        await child.wait()


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    child = await Child.start("deaf", script(DEAF), tmp_path)
    await child.address()
    assert await child.stop(timeout=0.2) == -9
    assert gone(child.pid)


async def test_a_child_that_must_stop_cleanly_is_reported_when_it_does_not(tmp_path: Path) -> None:
    children = [await Child.start(f"c{status}", script(SAYS_AND_WAITS, str(status)), tmp_path) for status in (0, 3)]
    for child in children:
        await child.address()
    await children[0].stop_cleanly()
    with pytest.raises(ChildError, match="c3 ended with 3 when told to stop"):
        await children[1].stop_cleanly()


async def test_a_family_stops_everyone_and_says_who_did_not_stop_cleanly(tmp_path: Path) -> None:
    family = Family(tmp_path / "logs", tmp_path)
    children = [await family.start(layer, f"c{layer}", script(SAYS_AND_WAITS, str(layer))) for layer in (0, 1)]
    for child in children:
        await child.address()
    complaints = await family.stop()
    assert complaints == [f"c1 ended with 1 when told to stop (see {tmp_path}/logs/c1.log)"]
    assert all(gone(child.pid) for child in children)


async def test_the_log_has_both_outputs_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    family = Family(tmp_path, tmp_path)
    for word in ("first", "second"):
        child = await family.start(0, "same", script(f"import sys; print('{word}'); print('{word}!', file=sys.stderr)"))
        assert await child.wait() == 0
    assert sorted((tmp_path / "same.log").read_text().split()) == ["first", "first!", "second", "second!"]


def test_ports_are_given_once() -> None:
    ports = Ports()
    given = [ports.free() for _ in range(50)]
    assert len(set(given)) == 50
