"""Trace context (W3C Trace Context level 1): continue the caller's trace with a span of our own, or start one."""

from __future__ import annotations

import random
import re

DEFAULT_SAMPLING = 0.01
"""Share of traces started here that are sampled; a caller's decision is kept."""

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")


def child_traceparent(parent: bytes | None, sampling: float = DEFAULT_SAMPLING) -> bytes:
    """The `traceparent` to send on: same trace and flags, new span id; a new trace where `parent` is none or broken."""
    match = _TRACEPARENT.fullmatch(parent) if parent is not None else None
    bits = random.getrandbits
    span = bits(64) or 1
    if match is None:
        return b"00-%032x-%016x-%b" % (bits(128) or 1, span, b"01" if random.random() < sampling else b"00")
    # Of a version that we do not know, only what version 00 defines is kept (§3.2.4).
    return b"00-%b-%016x-%b" % (match[1], span, match[2])


def new_request_id() -> bytes:
    """A request id for a request that came without one: a random UUID (RFC 9562 version 4)."""
    bits = random.getrandbits
    return b"%08x-%04x-4%03x-%04x-%012x" % (bits(32), bits(16), bits(12), 0x8000 | bits(14), bits(48))
