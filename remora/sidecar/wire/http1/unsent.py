"""Whether a request that met a closing connection has arrived at all.

A server that closes an idle connection sends FIN. Bytes that reach it afterwards are refused, never read, and never
acknowledged; and a FIN that was sent after bytes were read acknowledges them. So when the stream from the server has
ended in order and nothing of the request is acknowledged, no part of it was or will be processed (RFC 9112 §9.3.1 asks
for such a proof). A connection that was reset proves nothing: a server may have read what its kernel has not
acknowledged yet.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

CAN_PROVE = sys.platform == "linux"

_INFO_BYTES = 128
_ACKNOWLEDGED = struct.Struct("=Q")
_ACKNOWLEDGED_AT = 120
"""tcpi_bytes_acked of Linux's tcp_info (since 4.1), which counts our SYN too."""


def has_not_arrived(transport: asyncio.Transport, sent_before: int) -> bool:
    """Whether nothing is acknowledged but the first `sent_before` bytes of a connection that we have opened.

    False where the system cannot tell.
    """
    connection = transport.get_extra_info("socket")
    if connection is None or not CAN_PROVE:
        return False
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except OSError:
        return False
    if len(info) < _INFO_BYTES:
        return False
    return bool(_ACKNOWLEDGED.unpack_from(info, _ACKNOWLEDGED_AT)[0] <= 1 + sent_before)
