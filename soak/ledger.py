"""What the clients saw, and whether it may be: a failure has to be explained by an app's end that it overlaps.

What the semantics allow while an app is killed or stopped, and nothing else:

* an answer that had begun is cut off (any method, any protocol);
* a request that is not made again (its method is not safe, or its body is longer than what is kept for another attempt)
  fails before an answer began, with 503 upstream_reset or connect_failure, or with its connection while it still sends;
* a gRPC call that is not safe, or whose answer is long, fails with UNAVAILABLE, or by a reset;
* a WebSocket, a tunnel or bytes, or the connection to it, is closed.

A request that is safe and short has had no answer yet: it is made again at another instance, and never fails. What is
not safe is never executed twice.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from pathlib import Path

SETTLE_S = 2.0
"""After the callers know of an app that is back, until requests that waited for the old one have ended."""
REPLAYED_BYTES = 60_000
"""Bodies up to here are kept for another attempt (by the sidecar: up to 64 KiB)."""

BEFORE, WITHIN = "before the answer", "in the answer"
SAFE = frozenset(("GET", "HEAD", "PUT"))
HTTP, GRPC, TCP = "web", "calls", "bytes"
"""The services of the soak, by what failures there look like."""

_STATUSES_BEFORE = ("503 upstream_reset", "503 connect_failure")
_CONNECTION_BEFORE = (
    "BrokenPipeError",
    "ClientOSError",
    "ClientConnectionResetError",
    "ConnectionResetError",
    "IncompleteReadError",
    "ServerDisconnectedError",
)
_SERVICES = {"gRPC": GRPC, "TCP": TCP}
"""By the first word of the client's kind; the others are of HTTP."""
_GRPC = ("UNAVAILABLE", "INTERNAL", "CANCELLED", "UNKNOWN")


class WrongByteError(Exception):
    """What came is not what was sent. Never allowed."""


class ClientFailure(Exception):  # noqa: N818 - not an error of ours
    """A conversation failed: method, phase, what (a status and its error code, or the exception)."""

    def __init__(self, method: str, phase: str, what: str, *, replayed: bool = False) -> None:
        """`replayed`: the sidecar can make it again, and has to."""
        super().__init__(f"{method} {phase}: {what}")
        self.method, self.phase, self.what, self.replayed = method, phase, what, replayed


@dataclasses.dataclass(frozen=True)
class FailureSeen:
    """How a conversation failed, as the client sees it."""

    kind: str
    """The client: `HTTP/1 keep-alive`, `gRPC unary`, …"""
    method: str
    phase: str
    what: str
    replayed: bool

    def __str__(self) -> str:
        again = ", to be made again elsewhere" if self.replayed else ""
        return f"{self.kind}: {self.method} {self.phase}{again}: {self.what}"


class Ledger:
    """Counts, and keeps what is not explained."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.bytes = 0
        self.explained: Counter[FailureSeen] = Counter()
        self.unexplained: list[tuple[float, FailureSeen]] = []
        """With the seconds since the beginning."""
        self.wrong: list[str] = []
        self._windows: list[tuple[str, float, float]] = []
        self._begun = time.monotonic()

    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun

    def open_window(self, service: str) -> int:
        """An app of `service` is about to end; gives the number to close it by."""
        self._windows.append((service, time.monotonic(), float("inf")))
        return len(self._windows) - 1

    def close_window(self, number: int) -> None:
        service, begin, _ = self._windows[number]
        self._windows[number] = (service, begin, time.monotonic() + SETTLE_S)

    def succeeded(self, kind: str, size: int) -> None:
        self.done[kind] += 1
        self.bytes += size

    def failed(self, kind: str, failure: ClientFailure, began: float) -> None:
        """`began`: on the monotonic clock."""
        seen = FailureSeen(kind, failure.method, failure.phase, failure.what, failure.replayed)
        if self._in_window(_SERVICES.get(kind.partition(" ")[0], HTTP), began) and is_allowed(seen):
            self.explained[seen] += 1
        else:
            self.unexplained.append((self.now(), seen))

    def broken(self, kind: str, error: Exception) -> None:
        """A wrong byte, or what no client should run into."""
        self.wrong.append(f"{kind}: {type(error).__name__}: {error}")

    def _in_window(self, service: str, began: float) -> bool:
        now = time.monotonic()
        return any(name == service and begin <= now and began <= end for name, begin, end in self._windows)


def is_allowed(seen: FailureSeen) -> bool:
    """Whether an app's end may look so to a client."""
    if seen.replayed and seen.phase == BEFORE:
        return False
    if seen.kind.startswith("gRPC"):
        # grpcio does not tell whether a part of an answer has come.
        return seen.what in _GRPC
    if seen.phase == WITHIN or seen.kind == "WebSocket":
        return True
    return seen.what in _STATUSES_BEFORE or seen.what in _CONNECTION_BEFORE


def executed_twice(executed: Path) -> list[str]:
    """Ids of requests that are not safe, which apps have seen more than once."""
    counts = Counter(executed.read_text().split())
    return [number for number, count in counts.items() if count > 1]
