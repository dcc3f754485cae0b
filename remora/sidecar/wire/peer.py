"""Who is at the other end of a connection."""

from __future__ import annotations

import asyncio


def peer_of(transport: asyncio.BaseTransport) -> str:
    """The peer's address without its port; empty: nobody knows, as of Unix sockets."""
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) and name else ""
