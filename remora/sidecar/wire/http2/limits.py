"""What we let a peer do on one HTTP/2 connection."""

from __future__ import annotations

from dataclasses import dataclass, field

from remora.sidecar.wire.limits import RequestLimits


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """Limits of one connection; sizes in bytes.

    The floods that they stop: rapid reset (CVE-2023-44487, and CVE-2025-8671 where the peer makes us reset),
    CONTINUATION (CVE-2024-27316), PING, SETTINGS, PRIORITY and empty frames (CVE-2019-9512, -9515, -9513, -9518), large
    SETTINGS (CVE-2020-11080).
    """

    max_streams: int = 100
    """Streams that a client may have open at once. We hold a server to what it says itself."""
    stream_window: int = 64 * 1024
    """What a peer may send on a stream before we ask for more; at most this much of a paused stream arrives."""
    connection_window: int = 1024 * 1024
    request: RequestLimits = field(default_factory=RequestLimits)
    """Of heads, as on HTTP/1; a request over them gets 431 or 414, a response over them is reset. Peers are told of
    `head_bytes` as the longest list of fields (RFC 9113 §6.5.2), though there each counts 32 bytes more."""
    max_block_bytes: int = 128 * 1024
    """Of a compressed header block: a sender that goes on beyond this means harm."""
    max_block_frames: int = 64
    """HEADERS and CONTINUATION frames of one block; 60 KiB need four."""
    head_timeout_s: float = 10.0
    """How long a header block, or a client's preface and SETTINGS, may take to come whole."""
    reset_burst: int = 1000
    resets_per_s: float = 100.0
    """Streams of a client that end by a reset, as a token bucket: a hundred streams that each live a second stay within
    it. Every stream that is not reset makes up for one that is."""
    control_burst: int = 1000
    controls_per_s: float = 10.0
    """PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty and unknown frames with no request and no data between them."""
    max_unsent_bytes: int = 1024 * 1024
    """Of what waits for a peer that does not read, flow-controlled data not counted: answers to PING and the like."""
    drain_wait_s: float = 1.0
    """How long the first GOAWAY of a drain waits for its round trip before the second is sent."""
    tick_s: float = 3.0
    """How often we look whether a server lives; after so long a silence with live streams it is asked by PING."""
    ping_timeout_s: float = 6.0
    """How long such a PING may be without an answer, in whole ticks."""
    idle_s: float = 300.0
    """How long a connection to a server may be without a stream."""


DEFAULT_LIMITS = Http2Limits()
