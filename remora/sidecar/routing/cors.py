"""CORS: which pages of other origins may ask, and what the answers say of it. Pure.

The protocol is that of the Fetch standard; what a rule means is as in Gateway API's HTTPCORSFilter: with credentials a
`*` cannot be sent, so that what was asked for is said instead.
"""

from __future__ import annotations

from remora.model.routes import Cors
from remora.sidecar.wire.heads import Fields, RequestHead, field_value

_ANY = "*"
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class CorsRule:
    """A CORS filter, as bytes."""

    __slots__ = ("_credentials", "_expose", "_headers", "_max_age", "_methods", "_origins")

    def __init__(self, cors: Cors) -> None:
        self._origins = [_OriginPattern(origin) for origin in cors.origins]
        self._credentials = cors.credentials
        self._methods = ", ".join(cors.methods).encode()
        self._headers = ", ".join(cors.headers).encode()
        self._expose = ", ".join(cors.expose).encode()
        self._max_age = b"%d" % cors.max_age_s

    def allows(self, origin: bytes) -> bool:
        return any(pattern.matches(origin) for pattern in self._origins)

    def preflight_fields(self, head: RequestHead, origin: bytes) -> Fields:
        """Of the answer to a preflight from an allowed `origin`."""
        asked_method = field_value(head.fields, b"access-control-request-method") or b""
        asked_headers = field_value(head.fields, b"access-control-request-headers")
        fields = self._origin_fields(origin)
        if methods := self._said(self._methods, asked_method):
            fields.append((b"access-control-allow-methods", methods))
        if headers := self._said(self._headers, asked_headers or b""):
            fields.append((b"access-control-allow-headers", headers))
        fields.append((b"access-control-max-age", self._max_age))
        return fields

    def edit(self, fields: Fields, origin: bytes) -> Fields:
        """`fields` of an app's answer to an allowed `origin`, and these. What it says itself gives way: browsers refuse
        an answer that says it twice."""
        said = self.answer_fields(origin, fields)
        gone = {name for name, _ in said if name != b"vary"} | {b"access-control-allow-credentials"}
        return [*(field for field in fields if field[0].lower() not in gone), *said]

    def answer_fields(self, origin: bytes, answer: Fields) -> Fields:
        """What is added to the fields of any other `answer` to an allowed `origin`."""
        fields = self._origin_fields(origin)
        expose = self._expose
        if expose == b"*" and self._credentials:
            expose = b", ".join(dict.fromkeys(name.lower() for name, _ in answer))
        if expose:
            fields.append((b"access-control-expose-headers", expose))
        return fields

    def _said(self, allowed: bytes, asked: bytes) -> bytes:
        """The wildcard is a name like any other where credentials are allowed, and never takes in Authorization."""
        return asked if allowed == b"*" else allowed

    def _origin_fields(self, origin: bytes) -> Fields:
        fields = [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
        if self._credentials:
            fields.append((b"access-control-allow-credentials", b"true"))
        return fields


class _OriginPattern:
    """`*`, `scheme://host`, `scheme://*.host`, `scheme://*`, each maybe with a port or `:*`."""

    __slots__ = ("_host", "_is_any", "_port", "_scheme")

    def __init__(self, pattern: str) -> None:
        self._is_any = pattern == _ANY
        scheme, _, rest = pattern.lower().partition("://")
        self._scheme = scheme
        self._host, self._port = _split(scheme, rest)

    def matches(self, origin: bytes) -> bool:
        if self._is_any:
            return True
        scheme, separator, rest = origin.decode("latin-1").lower().partition("://")
        if not separator or scheme != self._scheme:
            return False
        host, port = _split(scheme, rest)
        if self._port not in (_ANY, port):
            return False
        if self._host.startswith("*."):
            return host.endswith(self._host[1:]) and len(host) > len(self._host) - 1
        return self._host in (_ANY, host)


def _split(scheme: str, rest: str) -> tuple[str, str]:
    """(host, port) of what follows a scheme."""
    host, separator, port = rest.rpartition(":")
    if separator and not rest.endswith("]"):
        return host, port
    return rest, _DEFAULT_PORTS.get(scheme, "")


def is_preflight(head: RequestHead) -> bool:
    """Whether a browser asks if a page of another origin may ask (Fetch, CORS-preflight request)."""
    return (
        head.method == b"OPTIONS"
        and field_value(head.fields, b"origin") is not None
        and field_value(head.fields, b"access-control-request-method") is not None
    )
