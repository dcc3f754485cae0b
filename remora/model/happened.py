"""What is remembered of a request that is over."""

from __future__ import annotations

import msgspec


class Tried(msgspec.Struct, frozen=True):
    """One attempt."""

    endpoint: str
    """Its address."""
    result: str
    seconds: float


class Happened(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request and how it went. Texts are cut to a length: callers choose them. Nothing in it is a secret."""

    at: float
    """Unix time of its end."""
    seconds: float
    direction: str
    method: str
    authority: str
    path: str
    """Without its query."""
    service: str
    route: str
    status: int
    """Of HTTP; 0: it got no answer."""
    request_id: str = ""
    trace_id: str = ""
    grpc_status: str = ""
    flag: str = ""
    why: str = ""
    """What the mesh said of it, where it answered itself."""
    attempts: tuple[Tried, ...] = ()
    worker: int | None = None
    """Which one carried it, where there are workers."""
