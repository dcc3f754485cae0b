"""What of a request is hashed: to choose among weighted backends, and on a ring. Pure: randomness is an argument."""

from __future__ import annotations

import math
from collections.abc import Sequence

from remora.model.policies import HashKey
from remora.sidecar.routing.match import query_value, request_field
from remora.sidecar.routing.session import cookie_value
from remora.sidecar.wire.heads import Fields, RequestHead, field_value


class KeyReader:
    """Reads the first of some keys that a request has."""

    __slots__ = ("_cookie", "_cookie_name", "_sources")

    def __init__(self, keys: Sequence[HashKey]) -> None:
        self._sources = [(key.source, key.name, key.name.encode()) for key in keys]
        made = next((key for key in keys if key.source == "cookie" and key.ttl_s is not None), None)
        self._cookie_name = made.name.encode() if made is not None else b""
        """Of the cookie that is made where a request has no key; empty: none is made."""
        self._cookie = _attributes(made) if made is not None else b""

    def read(self, head: RequestHead, answer: Fields, bits: int) -> bytes | None:
        """The key of `head`; None: it has none.

        Where a cookie is to be made, `bits` (64 random ones, the same for all keys of one request) are its value, and
        what the client has to be told goes to `answer`, the fields that are added to the request's answer.
        """
        for source, name, raw_name in self._sources:
            found = _value(head, source, name, raw_name)
            if found:
                return found
        if not self._cookie_name:
            return None
        value = b"%016x" % bits
        field = (b"set-cookie", self._cookie_name + b"=" + value + self._cookie)
        if field not in answer:
            answer.append(field)
        return value


def _value(head: RequestHead, source: str, name: str, raw_name: bytes) -> bytes | None:
    """Nothing, or empty, is no value."""
    if source == "header":
        return request_field(head, raw_name)
    if source == "cookie":
        return cookie_value(head.fields, raw_name)
    if source == "query":
        value = query_value(head.path, name)
        return None if value is None else value.encode()
    return source_address(head)


def source_address(head: RequestHead) -> bytes:
    """Where the request came from, as far as is known: the first address of X-Forwarded-For, where there is one, else
    that of the connection."""
    if head.was_forwarded:
        # Inbound, what a trusted caller has said of the way stands with what is added to it.
        forwarded = field_value(head.hop_fields or head.fields, b"x-forwarded-for")
        if forwarded is not None:
            return forwarded.partition(b",")[0].strip()
    return head.peer.encode()


def _attributes(key: HashKey) -> bytes:
    """0 s: for the browser's session."""
    attributes = b"; Path=/; HttpOnly"
    return attributes + b"; Max-Age=%d" % math.ceil(key.ttl_s) if key.ttl_s else attributes
