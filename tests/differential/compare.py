"""One byte stream through the proxies, and what is to be said about it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
from collections.abc import Callable

from tests.differential.proxies import Lane
from tests.differential.upstream import Seen, read_all

QUIET_S = 0.08
"""So long nothing came back: the case is over. Where that makes a difference, the case is played again with
PATIENT_S."""
PATIENT_S = 0.8
DEADLINE_S = 20
"""For answers that are known to come."""

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


@dataclasses.dataclass(frozen=True)
class Dialect:
    """What is spoken: how to read requests and answers of it."""

    alone: Callable[[bytes], tuple[list[Seen], str]]
    """What a judge reads from the bytes by itself, and why it stopped, if it refused."""
    statuses: Callable[[bytes, bool], list[int]]
    """Of what came back, and whether the connection was closed."""
    refusals_close: bool
    """A refused request ends the connection too; else each may do as it likes."""


def _statuses(answer: bytes, _: bool) -> list[int]:
    return [int(code) for code in _STATUS.findall(answer)]


def _final(statuses: list[int]) -> list[int]:
    return [status for status in statuses if status >= 200]


HTTP1 = Dialect(read_all, _statuses, refusals_close=True)


Key = tuple[bytes, bytes, bytes, bytes]
"""Method, target, host and body."""


REFUSED = "refused, though Envoy and the judge take it"
ANSWERED = "answered otherwise than by Envoy"
CLOSED = "closed, which Envoy does not"
LEFT_OPEN = "left open, which Envoy does not"


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

    @property
    def final(self) -> list[int]:
        """Statuses without the informational ones."""
        return _final(self.statuses)

    @property
    def refused(self) -> bool:
        """The last answer says that the request is no good."""
        return bool(self.final) and self.final[-1] >= 400


@dataclasses.dataclass(frozen=True)
class Finding:
    """A difference that has to be explained, or mended."""

    kind: str
    data: bytes
    us: Outcome
    them: Outcome
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}\n  sent: {self.data!r}\n  {self.detail}"


async def play(
    lane: Lane, data: bytes, quiet_s: float = QUIET_S, dialect: Dialect = HTTP1, *, answers: int = 0
) -> Outcome:
    """Send `data` on a new connection, and look until at least so many `answers` came, and all is quiet."""
    lane.upstream.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", lane.port)
    answer, closed = b"", False
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        while True:
            missing = len(_final(dialect.statuses(answer, closed))) < answers
            try:
                async with asyncio.timeout(DEADLINE_S if missing else quiet_s):
                    chunk = await reader.read(65536)
            except TimeoutError:
                break
            if not chunk:
                closed = True
                break
            answer += chunk
    writer.transport.abort()
    upstream = lane.upstream
    return Outcome(upstream.whole, upstream.broken, dialect.statuses(answer, closed), closed)


async def compare(ours: Lane, envoy: Lane, data: bytes, dialect: Dialect = HTTP1) -> Finding | None:
    """A finding that has shown itself twice, the second time with patience."""
    if await _compare(ours, envoy, data, dialect, QUIET_S) is None:
        return None
    # What the first try has sent may still be on its way.
    await asyncio.sleep(PATIENT_S)
    return await _compare(ours, envoy, data, dialect, PATIENT_S)


async def _compare(ours: Lane, envoy: Lane, data: bytes, dialect: Dialect, quiet_s: float) -> Finding | None:
    us, them = await asyncio.gather(play(ours, data, quiet_s, dialect), play(envoy, data, quiet_s, dialect))
    return judge(data, us, them, dialect)


def judge(data: bytes, us: Outcome, them: Outcome, dialect: Dialect) -> Finding | None:
    """The laws, in this order: what we forward h11 reads; it is what Envoy reads, or the judge of the same bytes; what
    both of these take we take; and if all agree on the requests, clients see the same kind of answers, and the same
    end of the connection."""
    if us.broken:
        return Finding("the upstream refuses what we forward", data, us, them, us.broken[0])
    alone, refused = dialect.alone(data)
    ours = [seen.key for seen in us.seen]
    theirs = [seen.key for seen in them.seen]
    peers = [seen.key for seen in alone if seen.whole]
    told = f"ours {_told(us)}; Envoy {_told(them)}; judge {_listed(alone)} {refused}"
    for index, key in enumerate(ours):
        if key in (theirs[index : index + 1] or peers[index : index + 1]):
            continue
        return Finding(_kind(index, theirs, peers), data, us, them, told)
    if len(ours) < min(len(theirs), len(peers)):
        return Finding(REFUSED, data, us, them, told)
    if ours != theirs:
        return None
    if _classes(us) != _classes(them):
        return Finding(ANSWERED, data, us, them, told)
    if us.closed != them.closed and (dialect.refusals_close or not us.refused):
        return Finding(CLOSED if us.closed else LEFT_OPEN, data, us, them, told)
    return None


def _kind(index: int, theirs: list[Key], peers: list[Key]) -> str:
    if index < len(theirs):
        return "read otherwise than by Envoy"
    if index >= len(peers):
        return "forwarded, though Envoy and the judge do not"
    return "read otherwise than by the judge, and refused by Envoy"


def _classes(outcome: Outcome) -> list[int]:
    """Of final answers: 2 for all of 200. 501 is a refusal as 400 is: of a transfer coding, RFC 9112 §6.1 has both."""
    return [4 if status == 501 else status // 100 for status in outcome.final]


def _told(outcome: Outcome) -> str:
    return f"{_listed(outcome.seen)} {outcome.statuses} {'closed' if outcome.closed else 'open'}"


def _listed(seen: list[Seen]) -> str:
    return "[" + ", ".join(str(each) for each in seen) + "]"
