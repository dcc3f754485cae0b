"""Which web pages of other origins may call (Fetch standard, "CORS protocol"). Without credentials: no cookies."""

from __future__ import annotations

import dataclasses

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead, field_value
from remora.sidecar.wire.problem import problem
from remora.sidecar.wire.stream import RequestStream

MAX_AGE_S = 86_400
"""How long a browser may remember a preflight's answer; browsers cap it themselves."""

ALLOWED_METHODS = b"GET, POST, PUT, PATCH, DELETE"


@dataclasses.dataclass(frozen=True, slots=True)
class Cors:
    """The origins that are allowed, such as `https://shop.example`; `*` stands for all."""

    origins: frozenset[bytes]

    def allows(self, origin: bytes) -> bool:
        return b"*" in self.origins or origin in self.origins

    def answer_fields(self, origin: bytes | None) -> Fields:
        """What to add to an answer to a page of `origin`."""
        if origin is None or not self.allows(origin):
            return []
        # The wildcard takes in all names, since no credentials are allowed.
        return [*_allow_origin(origin), (b"access-control-expose-headers", b"*")]

    def answer_preflight(self, stream: RequestStream, head: RequestHead) -> bool:
        """Answer `head` if it is a preflight; whether it was one."""
        if head.method != b"OPTIONS":
            return False
        origin = field_value(head.fields, b"origin")
        if origin is None or field_value(head.fields, b"access-control-request-method") is None:
            return False
        if not self.allows(origin):
            shown = origin.decode("latin-1")
            answer, body = problem(403, "origin", f"pages of {shown} may not call: --cors-origin does not name it")
            stream.send_head(answer, False)
            stream.send_data(body, True)
            return True
        fields = [
            *_allow_origin(origin),
            (b"access-control-allow-methods", ALLOWED_METHODS),
            (b"access-control-max-age", b"%d" % MAX_AGE_S),
        ]
        asked = field_value(head.fields, b"access-control-request-headers")
        if asked is not None:
            # A wildcard would leave out Authorization.
            fields.append((b"access-control-allow-headers", asked))
        stream.send_head(ResponseHead(204, fields), True)
        return True


def _allow_origin(origin: bytes) -> Fields:
    return [(b"access-control-allow-origin", origin), (b"vary", b"origin")]


def parse_origin(text: str) -> bytes:
    """An origin as browsers send it; ValueError says what is wrong."""
    if text == "*":
        return b"*"
    scheme, separator, host = text.partition("://")
    if not separator or not scheme or not host or not text.isascii() or set(host) & set("/?#@ *"):
        raise ValueError(f"{text!r} is not an origin: give SCHEME://HOST[:PORT], such as https://shop.example, or *")
    return text.lower().encode()
