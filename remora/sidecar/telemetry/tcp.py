"""What tunnels and opaque connections are counted by, as Istio's istio_tcp_* are."""

from __future__ import annotations

from typing import Literal, NamedTuple

TunnelKind = Literal["tcp", "tls", "connect", "upgrade"]

DetectedBy = Literal["declared", "first bytes", "server first"]
"""How it was found out what a connection speaks; `server first`: by a server that began."""

MAX_SERVER_NAMES = 200
"""Names that TLS clients have asked for and that are kept apart; they are the clients' word."""


class TcpLabels(NamedTuple):
    """What connections are counted by."""

    direction: str
    service: str
    peer: str
    kind: TunnelKind
    """How it came to be: opaque from the start (TLS, anything else), by CONNECT, by Upgrade."""


class TcpSeries:
    """The slots of one combination of labels."""

    __slots__ = ("closed", "opened", "received_bytes", "sent_bytes")

    def __init__(self) -> None:
        self.opened = 0
        self.closed: dict[str, int] = {}
        """By flag; empty: both sides said that they were done."""
        self.received_bytes = 0
        """From the downstream."""
        self.sent_bytes = 0
        """To the downstream."""

    def close(self, flag: str) -> None:
        """Count an end."""
        self.closed[flag] = self.closed.get(flag, 0) + 1
