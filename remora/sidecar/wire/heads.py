"""Request and response heads: what both protocols have in common, with the few fields that the mesh itself uses.

A codec removes what belongs to the connection (hop-by-hop fields, framing, host/pseudo-fields) and lifts the fields
named here out of the list into slots, so that no one has to search the list, and the mesh can change them by one
assignment.
"""

from __future__ import annotations

import re

Fields = list[tuple[bytes, bytes]]
"""Fields in wire order. Names as they came: lower case from HTTP/2, any case from HTTP/1. Never changed in place."""

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings")
)
"""Fields that belong to one connection (RFC 9110 §7.6.1); those that Connection names go too."""

LIFTED = frozenset((b"content-length", b"content-type", b"traceparent", b"x-request-id", b"grpc-timeout", b"expect"))
"""Request fields that live in slots and are not in `fields`."""

FORWARDED = frozenset((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"))
"""Request fields that codecs take note of, in `was_forwarded`."""

_UNCOUNTED = LIFTED | FORWARDED | {b"host", b"via"}
"""What codecs and sidecars write themselves: a request that one sidecar takes must not be too much for the next."""

MESH_BYTES = 512
"""Up to here what they take does not count. So much more of a head is read before it is refused unmeasured, which is
room for them and for the rest of its first line."""

_SEPARATORS_BYTES = len(b": \r\n")

is_authority = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+;=:%\[\]]*").fullmatch
"""Host and port (RFC 3986 §3.2), without userinfo (RFC 9110 §4.2.4) and commas, which could join two."""


def has_more_fields(fields: Fields, limit: int) -> bool:
    """Whether there are more than `limit`, but for those that the mesh may add on the way."""
    return len(fields) > limit and sum(name.lower() not in _UNCOUNTED for name, _ in fields) > limit


def size_of_fields(fields: Fields) -> int:
    """Their bytes on the wire of HTTP/1, but for what the mesh may add on the way."""
    size = added = 0
    for name, value in fields:
        bytes_of_field = len(name) + len(value) + _SEPARATORS_BYTES
        if name.lower() in _UNCOUNTED:
            added += bytes_of_field
        else:
            size += bytes_of_field
    return size + max(0, added - MESH_BYTES)


def size_of(head: RequestHead) -> int:
    """The bytes of `head` on the wire of HTTP/1, but for what the mesh may add on the way."""
    return len(head.path) + len(head.authority) + len(head.content_type or b"") + size_of_fields(head.fields)


class RequestHead:
    """A request's head. `fields` has neither host, hop-by-hop nor LIFTED fields."""

    __slots__ = (
        "authority",
        "content_length",
        "content_type",
        "expect_continue",
        "fields",
        "grpc_timeout",
        "hop_fields",
        "method",
        "path",
        "peer",
        "request_id",
        "scheme",
        "trace_parent",
        "upgrade",
        "was_forwarded",
    )

    def __init__(
        self,
        method: bytes,
        path: bytes,
        authority: bytes,
        fields: Fields,
        *,
        scheme: bytes = b"http",
        content_length: int | None = None,
        content_type: bytes | None = None,
        expect_continue: bool = False,
        trace_parent: bytes | None = None,
        request_id: bytes | None = None,
        grpc_timeout: bytes | None = None,
        upgrade: bytes | None = None,
        hop_fields: Fields | None = None,
        was_forwarded: bool = False,
        peer: str = "",
    ) -> None:
        self.method = method
        self.path = path
        """Origin form, with the query; `*` for OPTIONS *; empty for a CONNECT without `upgrade`."""
        self.authority = authority
        """Of :authority, Host, or an absolute-form target; empty when none came."""
        self.fields = fields
        self.scheme = scheme
        """`http` or `https`; of an opaque connection `tcp` or `tls`."""
        self.content_length = content_length
        """None: not known; with a body, HTTP/1 sends it chunked."""
        self.content_type = content_type
        self.expect_continue = expect_continue
        self.trace_parent = trace_parent
        """`traceparent`, as it came; the exchange puts its own span in."""
        self.request_id = request_id
        self.grpc_timeout = grpc_timeout
        self.upgrade = upgrade
        """The protocol to switch to: the token of HTTP/1's Upgrade, or of extended CONNECT's :protocol (RFC 8441), with
        method GET to handlers, as on HTTP/1. None: no switch is asked for."""
        self.hop_fields = hop_fields
        """What this sidecar adds, written behind `fields`: X-Forwarded-*, Via."""
        self.was_forwarded = was_forwarded
        """Whether `fields` has any of FORWARDED."""
        self.peer = peer
        """The address that the connection came from, without its port; empty: nobody knows."""

    def copy(self) -> RequestHead:
        """One that can be changed for itself."""
        return RequestHead(
            self.method,
            self.path,
            self.authority,
            self.fields,
            scheme=self.scheme,
            content_length=self.content_length,
            content_type=self.content_type,
            expect_continue=self.expect_continue,
            trace_parent=self.trace_parent,
            request_id=self.request_id,
            grpc_timeout=self.grpc_timeout,
            upgrade=self.upgrade,
            hop_fields=self.hop_fields,
            was_forwarded=self.was_forwarded,
            peer=self.peer,
        )

    @property
    def asks_for_tunnel(self) -> bool:
        """Whether the answer may turn the stream into a tunnel."""
        return self.upgrade is not None or self.method == b"CONNECT"

    @property
    def is_grpc(self) -> bool:
        """content-type is application/grpc, with or without a suffix; not gRPC-Web."""
        kind = self.content_type
        return (
            kind is not None and kind.startswith(b"application/grpc") and not kind.startswith(b"application/grpc-web")
        )

    def __repr__(self) -> str:
        return f"RequestHead({self.method!r}, {self.path!r}, {self.authority!r}, {self.fields!r})"


def opens_tunnel(head: RequestHead, status: int) -> bool:
    """Whether an answer of `status` opens the tunnel that `head` asks for."""
    return status == 101 if head.upgrade is not None else 200 <= status < 300


class ResponseHead:
    """A response's head. `fields` has neither hop-by-hop fields nor content-length."""

    __slots__ = ("content_length", "fields", "status", "version")

    def __init__(
        self, status: int, fields: Fields, *, content_length: int | None = None, version: bytes = b"1.1"
    ) -> None:
        self.status = status
        self.fields = fields
        self.content_length = content_length
        self.version = version
        """Of HTTP, in which it came."""

    def __repr__(self) -> str:
        return f"ResponseHead({self.status}, {self.fields!r})"


def field_value(fields: Fields, name: bytes) -> bytes | None:
    """The first value of field `name` (given in lower case), or None."""
    for key, value in fields:
        if key == name or key.lower() == name:
            return value
    return None
