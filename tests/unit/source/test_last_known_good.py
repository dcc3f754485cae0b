from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from remora.model.names import ServiceName
from remora.model.snapshot import Endpoint, EndpointSet, Service, Snapshot
from remora.sidecar.source.last_known_good import LastKnownGood
from tests.support.waiting import until

A = ServiceName("a.default")
SNAPSHOT = Snapshot(7, {A: Service(A)}, {A: EndpointSet(A, (Endpoint("a-1", "10.0.0.1", 80),))})


async def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "snapshot.json"
    kept = LastKnownGood(path, delay_s=0.0)
    assert kept.load() is None
    kept.save(Snapshot(6))
    kept.save(SNAPSHOT)
    await until(path.exists)
    assert kept.load() == SNAPSHOT
    await kept.close()
    assert [file.name for file in path.parent.iterdir()] == ["snapshot.json"]


async def test_closing_writes_what_waits(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    kept = LastKnownGood(path, delay_s=3600.0)
    kept.save(SNAPSHOT)
    await kept.close()
    assert LastKnownGood(path).load() == SNAPSHOT


async def test_closing_in_the_middle_of_a_write_leaves_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    kept = LastKnownGood(path, delay_s=0.0)
    kept.save(Snapshot(6))
    for _ in range(3):  # the timer, the task, the thread
        await asyncio.sleep(0)
    kept.save(SNAPSHOT)
    await kept.close()
    assert LastKnownGood(path).load() == SNAPSHOT


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "is damaged and ignored"),
        (b"\xff\xfe", "is damaged and ignored"),
        (b'{"format": 1}', "is damaged and ignored"),
        (b'{"format": 1, "snapshot": {"revision": "x"}}', "is damaged and ignored"),
        (b'{"format": 2, "snapshot": {}}', "is of format 2, this sidecar reads format 1"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_and_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, words: str
) -> None:
    path = tmp_path / "snapshot.json"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert LastKnownGood(path).load() is None
    assert words in caplog.text
    assert str(path) in caplog.text


async def test_a_disk_that_refuses_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    kept = LastKnownGood(tmp_path / "file" / "snapshot.json", delay_s=3600.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            kept.save(SNAPSHOT)
            await kept.close()
    assert caplog.text.count("cannot be kept in") == 1
