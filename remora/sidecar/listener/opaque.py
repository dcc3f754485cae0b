"""What a listener does with connections that nobody reads into, and what it has learnt about silence.

A server that speaks first (MySQL, SMTP, SSH …) waits for nothing that could tell what it speaks, and neither does its
client. So a connection on which nothing is said for SILENCE_S is joined to the server, as opaque bytes on trial: who
speaks first then settles it. Where a server has been the first once, the next connections are joined at once. Where
clients have spoken HTTP and no server was ever the first, silence is that of a client which has connected ahead: only
one such connection at a time is on trial, in case the HTTP was a stranger's, and the others wait until their client
speaks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from remora.sidecar.wire.stream import RequestHandlerFactory

SILENCE_S = 0.2
"""Clients of HTTP and TLS send their first bytes right behind the handshake; 0.2 s is many round trips in a mesh."""

Expected = Literal["auto", "http", "tcp"]
"""What is spoken on a port: `auto` has to be found out; `http` and `tcp` are declared."""


class Opaque:
    """`factory` takes the tunnels; `expects` is asked for each connection."""

    __slots__ = ("by_name", "expects", "factory", "http_seen", "on_trial", "server_first")

    def __init__(
        self, factory: RequestHandlerFactory, expects: Callable[[], Expected], *, by_name: bool = False
    ) -> None:
        """`by_name`: the port stands for nobody, only TLS says where it wants to go; all else is HTTP."""
        self.factory = factory
        self.expects = expects
        self.by_name = by_name
        self.server_first = False
        """A server has spoken first on such a connection."""
        self.http_seen = False
        """A client has spoken HTTP."""
        self.on_trial = 0
        """Connections that are joined to the server, and on which nobody has said yet what they are."""

    @property
    def takes_on_trial(self) -> bool:
        """Whether a silent connection is joined to the server, to see who speaks first."""
        return self.server_first or not self.http_seen or not self.on_trial

    @property
    def silence_s(self) -> float:
        """How long a silent connection waits before it is joined to the server."""
        return 0.0 if self.server_first else SILENCE_S
