"""Session tokens: they name the endpoint that a session belongs to. Pure: the time is an argument, Unix time.

A token is `service|endpoint id|begun|used`, base64url. It is no secret and no credential: one that is made up names an
endpoint that any request could have gone to, or none.
"""

from __future__ import annotations

import base64
import binascii
import math
import re

import msgspec

from remora.model.routes import PathMatch, SessionPersistence
from remora.sidecar.routing.match import request_field
from remora.sidecar.wire.heads import RequestHead


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
    parts = _PARTS.fullmatch(text)
    if parts is None:
        return None
    session = Session(parts[1], parts[2], int(parts[3]), int(parts[4]))
    if rule.absolute_s and now - session.begun > rule.absolute_s:
        return None
    if rule.idle_s and now - session.used > rule.idle_s:
        return None
    return session


_PARTS = re.compile(r"([^|]*)\|(.*)\|([0-9]{1,12})\|([0-9]{1,12})", re.DOTALL)
"""Of a token. The id of an endpoint is its instance's own affair, and may have anything in it."""


def make_token(session: Session) -> bytes:
    text = f"{session.service}|{session.endpoint}|{session.begun}|{session.used}"
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=")


class SessionRule:
    """How the sessions of a route are kept, compiled."""

    __slots__ = ("_header", "_name", "_path", "_rule")

    def __init__(self, rule: SessionPersistence, path: PathMatch | None) -> None:
        """`path`: of the route's match."""
        self._rule = rule
        self._name = rule.name.encode()
        self._header = rule.name.lower().encode() if rule.kind == "header" else b""
        self._path = _cookie_path(path)

    def read(self, head: RequestHead, now: float) -> Session | None:
        """The session of a request, if it has one that is not over."""
        header = self._header
        token = request_field(head, header) if header else cookie_value(head.fields, self._name)
        return read_token(token, self._rule, now) if token else None

    def told(self, known: Session | None, service: str, endpoint: str, now: float) -> tuple[bytes, bytes] | None:
        """The field by which the client hears of its session with the endpoint that has answered; None: what it knows,
        `known`, is still true."""
        seconds = int(now)
        if known is None or (known.service, known.endpoint) != (service, endpoint):
            known = Session(service, endpoint, seconds, seconds)
        elif self._rule.idle_s and seconds > known.used:
            known = msgspec.structs.replace(known, used=seconds)
        else:
            return None
        token = make_token(known)
        return (self._name, token) if self._header else (b"set-cookie", self._cookie(token, known.begun - seconds))

    def _cookie(self, token: bytes, age: int) -> bytes:
        cookie = self._name + b"=" + token + b"; Path=" + self._path + b"; HttpOnly"
        return cookie + b"; Max-Age=%d" % (math.ceil(self._rule.absolute_s) + age) if self._rule.permanent else cookie


def _cookie_path(path: PathMatch | None) -> bytes:
    """Where the session holds: what the route matches, of an expression its part without special signs (GEP-1619)."""
    if path is None:
        return b"/"
    if path.kind != "regex":
        # A cookie's attribute ends at a semicolon: then it holds for the path above.
        value, cut, _ = path.value.partition(";")
        return (value.rpartition("/")[0] or "/" if cut else value).encode()
    plain = _PLAIN.match(path.value)
    return plain[0].encode() if plain is not None else b"/"


_PLAIN = re.compile(r"/(?:[A-Za-z0-9_~-]+(?=/))?(?:/[A-Za-z0-9_~-]+(?=/))*")
"""Whole segments of an expression that stand for themselves."""


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
