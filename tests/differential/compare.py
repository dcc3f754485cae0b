"""One byte stream through the proxies, and what is to be said about it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re

from tests.differential.proxies import Lane
from tests.differential.upstream import Seen, read_all

QUIET_S = 0.08
"""So long nothing came back: the case is over. Where that makes a difference, the case is played again with
PATIENT_S."""
PATIENT_S = 0.8

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


@dataclasses.dataclass
class Outcome:
    """What became of a byte stream at one proxy."""

    seen: list[Seen]
    """Requests that reached the upstream whole, as h11 reads them there."""
    broken: list[str]
    """What h11 there refused to read."""
    statuses: list[int]
    """Of the answers that came back."""
    closed: bool


@dataclasses.dataclass(frozen=True)
class Finding:
    """A difference that has to be explained, or mended."""

    kind: str
    data: bytes
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}\n  sent: {self.data!r}\n  {self.detail}"


async def play(lane: Lane, data: bytes, quiet_s: float = QUIET_S) -> Outcome:
    """Send `data` on a new connection, and look at both ends until all is quiet."""
    lane.upstream.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", lane.port)
    answer, closed = b"", False
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        while True:
            try:
                async with asyncio.timeout(quiet_s):
                    chunk = await reader.read(65536)
            except TimeoutError:
                break
            if not chunk:
                closed = True
                break
            answer += chunk
    writer.transport.abort()
    upstream = lane.upstream
    return Outcome(upstream.whole, upstream.broken, [int(code) for code in _STATUS.findall(answer)], closed)


async def compare(ours: Lane, envoy: Lane, data: bytes) -> Finding | None:
    """A finding that has shown itself twice, the second time with patience."""
    if await _compare(ours, envoy, data, QUIET_S) is None:
        return None
    return await _compare(ours, envoy, data, PATIENT_S)


async def _compare(ours: Lane, envoy: Lane, data: bytes, quiet_s: float) -> Finding | None:
    us, them = await asyncio.gather(play(ours, data, quiet_s), play(envoy, data, quiet_s))
    return judge(data, us, them)


def judge(data: bytes, us: Outcome, them: Outcome) -> Finding | None:
    """The laws: what we forward h11 reads, and it is what Envoy, or h11 of the same bytes, reads as well."""
    if us.broken:
        return Finding("the upstream refuses what we forward", data, us.broken[0])
    alone, refused = read_all(data)
    theirs = [seen.key for seen in them.seen]
    peers = [seen.key for seen in alone if seen.whole]
    for index, seen in enumerate(us.seen):
        told = f"ours {seen}; Envoy {_told(them.seen)} {them.statuses}; h11 {_told(alone)} {refused}"
        if index < len(theirs):
            if theirs[index] != seen.key:
                return Finding("read otherwise than by Envoy", data, told)
        elif index >= len(peers):
            return Finding("forwarded, though Envoy and h11 do not", data, told)
        elif peers[index] != seen.key:
            return Finding("read otherwise than by h11, and refused by Envoy", data, told)
    return None


def _told(seen: list[Seen]) -> str:
    return "[" + ", ".join(str(each) for each in seen) + "]"
