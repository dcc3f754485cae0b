"""What a downstream may send before it is refused; the defaults are the mesh's contract."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds on a request's head, and on time. Over them: 431 for the head and its fields, 414 for the target, 408 for
    what comes too slowly. Times are met late by up to two thirds of `head_timeout_s`."""

    head_bytes: int = 60 * 1024
    """As `size_of` measures it."""
    fields: int = 100
    """As `has_more_fields` counts them."""
    target_bytes: int = 8 * 1024
    head_timeout_s: float = 15.0
    """From a head's first byte to its last. (Envoy's request_headers_timeout, which is off there.)"""
    body_timeout_s: float = 60.0
    """The longest silence in a body while no answer has begun; nginx' client_body_timeout."""
    idle_timeout_s: float = 3600.0
    """The longest silence between requests, or without a stream on HTTP/2; Envoy's idle_timeout."""
    write_timeout_s: float = 300.0
    """How long an answer may wait for a peer that takes nothing of it; Envoy's stream_idle_timeout."""

    @property
    def watch_s(self) -> float:
        """How often a connection is looked at."""
        return min(self.head_timeout_s, self.body_timeout_s, self.idle_timeout_s, self.write_timeout_s) / 3
