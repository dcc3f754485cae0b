"""Flood guards: what costs a peer nothing and us something may not come without end.

Two token buckets a connection. One counts streams that end by a reset, as far as they are more than half of all. The
other counts frames that carry nothing for an exchange (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty and unknown
frames); each request and each byte of data in either direction fills it again, so that a busy peer that pings after
every read stays far from its end.
"""

from __future__ import annotations

from remora.sidecar.wire.http2.errors import ErrorCode, Http2ConnectionError
from remora.sidecar.wire.http2.limits import Http2Limits


class TokenBucket:
    """`burst` tokens, refilled by `per_s`; time (s, monotonic) is given."""

    __slots__ = ("_at", "_tokens", "burst", "per_s")

    def __init__(self, burst: float, per_s: float) -> None:
        self.burst = burst
        self.per_s = per_s
        self._tokens = burst
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Take one; False when there is none."""
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.per_s) - 1.0
        self._at = now
        return self._tokens >= 0.0

    def add(self, tokens: int) -> None:
        """Put `tokens` in, or, if they are negative, take them out."""
        self._tokens = min(self.burst, self._tokens + tokens)

    def fill(self) -> None:
        self._tokens = self.burst


class FloodGuard:
    __slots__ = ("_controls", "_opened", "_resets", "progress")

    def __init__(self, limits: Http2Limits) -> None:
        self._resets = TokenBucket(limits.reset_burst, limits.resets_per_s)
        self._controls = TokenBucket(limits.control_burst, limits.controls_per_s)
        self._opened = 0
        self.progress = False
        """Set by whoever moves a head or data."""

    def on_reset(self, now: float, opened: int) -> None:
        """A stream ended by the peer's reset, or by ours for the peer's fault; `opened` have been until now."""
        # Each stream gives one and each reset costs two, so that callers who give up on a slow app pass for honest as
        # long as every other call is served (as in Envoy's premature reset limit).
        self._resets.add(opened - self._opened - 1)
        self._opened = opened
        if not self._resets.take(now):
            raise Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, "too many streams are opened and reset")

    def on_control(self, now: float) -> None:
        """A frame that carries nothing for an exchange."""
        if self.progress:
            self.progress = False
            self._controls.fill()
        if not self._controls.take(now):
            raise Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, "too many control or empty frames")
