"""What the clients saw, and whether it may be: every failure is explained by a restart that it overlaps, or is a finding.

What the semantics allow while an app is killed or stopped, and nothing else:

* an answer that had begun is cut off (any method, any protocol);
* a request that is not safe to repeat fails with 503 upstream_reset or connect_failure, before an answer began;
* a gRPC call fails with UNAVAILABLE, or by a reset once messages have come (its app has only one instance);
* a WebSocket or a connection to it is closed.

Safe requests that have had no answer yet are made again at the other instance: they never fail.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter

SETTLE_S = 2.0
"""After an app is back, until what failed by its end has been noticed by all (health, backoff of connects)."""


class WrongByteError(Exception):
    """What came is not what was sent. Never allowed."""


@dataclasses.dataclass(frozen=True)
class FailureSeen:
    """How a conversation failed, as the client sees it."""

    kind: str
    """The client: `h1 keep-alive`, `gRPC unary`, …"""
    method: str
    phase: str
    """`before the answer`, or `in the answer`."""
    what: str
    """A status and its error code, or the exception."""


class ClientFailure(Exception):  # noqa: N818 - not an error of ours
    """A conversation failed: method, phase, what."""

    def __init__(self, method: str, phase: str, what: str) -> None:
        super().__init__(f"{method} {phase}: {what}")
        self.method, self.phase, self.what = method, phase, what


BEFORE, WITHIN = "before the answer", "in the answer"
SAFE = frozenset(("GET", "HEAD", "PUT"))
_UNSAFE_BEFORE = ("503 upstream_reset", "503 connect_failure")
_GRPC_BEFORE = ("UNAVAILABLE",)
_GRPC_WITHIN = ("UNAVAILABLE", "INTERNAL", "CANCELLED", "UNKNOWN")


class Ledger:
    """Counts, and keeps what is not explained."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.bytes = 0
        self.explained: Counter[FailureSeen] = Counter()
        self.unexplained: list[tuple[float, FailureSeen]] = []
        self.wrong: list[str] = []
        self._windows: list[tuple[str, float, float]] = []
        self._begun = time.monotonic()

    def open_window(self, app: str) -> int:
        """An app (`http` or `grpc`) is about to end; gives the number to close it by."""
        self._windows.append((app, time.monotonic(), float("inf")))
        return len(self._windows) - 1

    def close_window(self, number: int) -> None:
        app, begin, _ = self._windows[number]
        self._windows[number] = (app, begin, time.monotonic() + SETTLE_S)

    @property
    def restarts(self) -> int:
        return len(self._windows)

    def failed(self, kind: str, failure: ClientFailure, began: float) -> None:
        seen = FailureSeen(kind, failure.method, failure.phase, failure.what)
        if self._in_restart("grpc" if kind.startswith("gRPC") else "http", began) and is_allowed(seen):
            self.explained[seen] += 1
        else:
            self.unexplained.append((time.monotonic() - self._begun, seen))

    def _in_restart(self, app: str, began: float) -> bool:
        now = time.monotonic()
        return any(name == app and begin <= now and began <= end for name, begin, end in self._windows)


def is_allowed(seen: FailureSeen) -> bool:
    """Whether an app's end may look so to a client."""
    if seen.kind.startswith("gRPC"):
        return seen.what in (_GRPC_BEFORE if seen.phase == BEFORE else _GRPC_WITHIN)
    if seen.phase == WITHIN or seen.kind == "WebSocket":
        return True
    return seen.method not in SAFE and seen.what in _UNSAFE_BEFORE
