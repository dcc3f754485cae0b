"""What is remembered of a request's attempts from the second on. Most requests have one attempt and never need it."""

from __future__ import annotations

import asyncio

from remora.sidecar.upstream.endpoint import UpstreamEndpoint

MAX_RESENDS = 3
"""How often a request is sent again because the connection was closing. Each time on another, so once is the rule."""


class Repeats:
    """Made when the first attempt has come to nothing."""

    __slots__ = ("handle", "resends", "retries", "tried")

    def __init__(self) -> None:
        self.tried: tuple[UpstreamEndpoint, ...] = ()
        """Where attempts have failed."""
        self.retries = 0
        """Attempts that the policy's retries were spent on."""
        self.resends = 0
        """Attempts that cost no retry: nothing of the request had arrived."""
        self.handle: asyncio.TimerHandle | None = None
        """Of the backoff before the next one."""
