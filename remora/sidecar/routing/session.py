"""Session tokens: they name the endpoint that a session belongs to. Pure: the time is an argument, Unix time.

A token is `service|endpoint id|begun|used`, base64url. It is no secret and no credential: one that is made up names an
endpoint that any request could have gone to, or none.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from remora.model.routes import SessionPersistence


class Session(msgspec.Struct, frozen=True):
    """Where a session goes, and since when; times are whole seconds of Unix time."""

    service: str
    endpoint: str
    begun: int
    used: int


def read_token(token: bytes, rule: SessionPersistence, now: float) -> Session | None:
    """The session of a token that is well formed and whose time is not over."""
    try:
        text = base64.urlsafe_b64decode(token + b"=" * (-len(token) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    parts = text.split("|")
    if len(parts) != 4 or not (parts[2].isascii() and parts[2].isdigit() and parts[3].isascii() and parts[3].isdigit()):
        return None
    if len(parts[2]) > _DIGITS or len(parts[3]) > _DIGITS:
        return None
    session = Session(parts[0], parts[1], int(parts[2]), int(parts[3]))
    if rule.absolute_s and now - session.begun > rule.absolute_s:
        return None
    if rule.idle_s and now - session.used > rule.idle_s:
        return None
    return session


_DIGITS = 12


def make_token(session: Session) -> bytes:
    text = f"{session.service}|{session.endpoint}|{session.begun}|{session.used}"
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=")


def set_cookie(rule: SessionPersistence, token: bytes, path: str) -> bytes:
    """The value of Set-Cookie; `path` is the prefix or path of the route's match."""
    cookie = rule.name.encode() + b"=" + token + b"; Path=" + (path or "/").encode() + b"; HttpOnly"
    if rule.permanent:
        cookie += b"; Max-Age=%d" % int(rule.absolute_s)
    return cookie


def cookie_value(fields: list[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The first cookie of this name in a request's Cookie fields (RFC 6265 §5.4; HTTP/2 may have several)."""
    for key, value in fields:
        if key.lower() != b"cookie":
            continue
        for pair in value.split(b";"):
            found, separator, content = pair.strip().partition(b"=")
            if separator and found == name:
                return content
    return None
