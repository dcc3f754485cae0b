"""Target: what a new connection speaks, and the server name in a ClientHello, which OpenSSL reads as well."""

from __future__ import annotations

import contextlib
import functools
import ssl

from fuzz.laws import LawBrokenError, pieces
from remora.sidecar.listener.client_hello import server_name
from remora.sidecar.listener.detection import Detected, detect


async def detection(data: bytes) -> None:
    """The first bytes of a connection."""
    whole = detect(data[1:])
    seen, found = b"", None
    for piece in pieces(data):
        seen += piece
        found = detect(seen)
        if found is not None:
            break
    # In pieces it may be known sooner, but not otherwise.
    if found != whole and whole is not None and not _may_differ(found, whole):
        raise LawBrokenError(f"in pieces {found}, by one read {whole}")
    ours = server_name(data[1:])
    theirs = _openssl(data[1:])
    if theirs is not None and ours is not None and ours != theirs and _is_plain(theirs):
        raise LawBrokenError(f"OpenSSL reads the server name {theirs!r}, we read {ours!r}")


def _may_differ(found: Detected | None, whole: Detected) -> bool:
    """What begins as TLS and then is none has no name; whoever waits for it finds that out later."""
    return found is not None and found.protocol == whole.protocol == "tls"


def _is_plain(name: str) -> bool:
    return bool(name) and all(char.isalnum() or char in ".-" for char in name) and name[0] not in ".-"


@functools.cache
def _context() -> tuple[ssl.SSLContext, list[str | None]]:
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def callback(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> int:
        names.append(name)
        return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR

    context.sni_callback = callback
    return context, names


def _openssl(data: bytes) -> str | None:
    """The name that OpenSSL hands to a server; None when it does not get so far."""
    context, names = _context()
    names.clear()
    incoming = ssl.MemoryBIO()
    incoming.write(data)
    tls = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    with contextlib.suppress(ssl.SSLError, UnicodeError):
        tls.do_handshake()
    return names[0].lower() if names and names[0] else None
