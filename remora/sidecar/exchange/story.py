"""What became of a request's attempts. Only those that have not simply succeeded are noted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from remora.model.happened import Tried
from remora.sidecar.exchange.recent import MAX_TEXT, MAX_TRIED

if TYPE_CHECKING:
    from remora.sidecar.exchange.attempt import Attempt


class Story:
    """Of one request."""

    __slots__ = ("_last", "_tried")

    def __init__(self) -> None:
        self._tried: list[Tried] = []
        self._last: Attempt | None = None

    def note(self, attempt: Attempt, result: str) -> None:
        """How an attempt ended."""
        self._last = attempt
        self._tried.append(tried(attempt, result))
        if len(self._tried) > MAX_TRIED:
            del self._tried[0]

    def with_last(self, attempt: Attempt | None, result: str) -> tuple[Tried, ...]:
        """All, with the last `attempt`, if it was not noted."""
        if attempt is None or attempt is self._last:
            return tuple(self._tried)
        return (*self._tried, tried(attempt, result))


def tried(attempt: Attempt, result: str) -> Tried:
    """An attempt that ends now."""
    endpoint = attempt.endpoint.endpoint
    host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return Tried(f"{host}:{endpoint.port}", result[:MAX_TEXT], time.monotonic() - attempt.began)
