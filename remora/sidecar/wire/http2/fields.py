"""What a message may look like (RFC 9113 §8.2, §8.3): decoded fields → heads, or why not.

Faults are Http2StreamError(PROTOCOL_ERROR), "malformed" in the RFC's words; a request over a limit is RefusedError.
"""

from __future__ import annotations

import re

from remora.sidecar.wire.heads import (
    FORWARDED,
    HOP_BY_HOP,
    LIFTED,
    Fields,
    RequestHead,
    ResponseHead,
    has_more_fields,
    is_authority,
)
from remora.sidecar.wire.http2.errors import ErrorCode, Http2StreamError
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.refused import target_too_long, too_many_fields

REQUEST_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
RESPONSE_PSEUDO = frozenset((b":status",))
MAX_LENGTH_DIGITS = 18
"""Of a content-length: an exabyte short of overflow anywhere."""

_special_in_request = HOP_BY_HOP | LIFTED | FORWARDED | {b"te", b"host", b"cookie"}
_special_in_response = HOP_BY_HOP | {b"content-length"}
_NOT_IN_TRAILERS = HOP_BY_HOP | {b"content-length", b"host", b"te"}
"""Framing and routing come too late there (RFC 9110 §6.5.1)."""
_is_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_is_value = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?").fullmatch
"""field-value (RFC 9110 §5.5): no control character but TAB, and no space at either end."""
_is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_scheme = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*").fullmatch
_is_path = re.compile(rb"(?:/[^\x00-\x20\x7f#]*)|\*").fullmatch
"""What an HTTP/1 peer could read in another way than we do is not let through: these become its request line."""


def malformed(why: str) -> Http2StreamError:
    return Http2StreamError(ErrorCode.PROTOCOL_ERROR, why)


def read_request(fields: Fields, limits: RequestLimits) -> RequestHead:
    pseudo = _read_pseudo(fields, REQUEST_PSEUDO)
    regular = fields[len(pseudo) :]
    if has_more_fields(regular, limits.fields):
        raise too_many_fields(limits)
    head = _request_start(pseudo, limits)
    kept: Fields = []
    cookies: list[bytes] = []
    for field in regular:
        name, value = field
        if not _is_name(name) or not _is_value(value):
            raise malformed(f"bad field {name!r}")
        if name not in _special_in_request:
            kept.append(field)
        elif name == b"cookie":
            if not cookies:
                kept.append(field)
            cookies.append(value)
        else:
            _take_special(head, kept, name, value)
    if not head.authority:
        raise malformed("neither :authority nor host says where the request goes")
    if len(cookies) > 1:
        # Split for compression only (RFC 9113 §8.2.3).
        kept = _with_cookie(kept, b"; ".join(cookies))
    head.fields = kept
    return head


def _read_pseudo(fields: Fields, allowed: frozenset[bytes]) -> dict[bytes, bytes]:
    """The pseudo-fields, which stand first and once each (RFC 9113 §8.3)."""
    pseudo: dict[bytes, bytes] = {}
    for name, value in fields:
        if not name.startswith(b":"):
            break
        if name not in allowed or name in pseudo or not _is_value(value):
            raise malformed(f"bad, unknown or repeated pseudo-field {name!r}")
        pseudo[name] = value
    return pseudo


def _request_start(pseudo: dict[bytes, bytes], limits: RequestLimits) -> RequestHead:
    """The request line of HTTP/2 (RFC 9113 §8.3.1); CONNECT has only method and authority (§8.5)."""
    method = pseudo.get(b":method", b"")
    path = pseudo.get(b":path", b"")
    scheme = pseudo.get(b":scheme", b"")
    authority = pseudo.get(b":authority", b"")
    protocol = pseudo.get(b":protocol")
    if not _is_token(method):
        raise malformed("a request without :method, or with one that is no token")
    if not is_authority(authority) or (not authority and b":authority" in pseudo):
        raise malformed(":authority is no host and port")
    if method == b"CONNECT" and protocol is None:
        if b":path" in pseudo or b":scheme" in pseudo or not authority:
            raise malformed("CONNECT takes :method and :authority only")
        return RequestHead(method, path, authority, [])
    # HTTP/1's Upgrade may name a version behind a slash (RFC 9110 §7.8): then it comes with it.
    if protocol is not None and (
        method != b"CONNECT" or not authority or not _is_token(protocol.replace(b"/", b"", 1))
    ):
        raise malformed(":protocol comes with CONNECT and :authority, and is a token")
    if not _is_scheme(scheme):
        raise malformed("a request without :scheme, or with one that is none")
    if len(path) > limits.target_bytes:
        raise target_too_long(limits)
    if not _is_path(path) or (path == b"*" and method != b"OPTIONS"):
        raise malformed(":path is not an absolute path")
    return RequestHead(method, path, authority, [], scheme=scheme, upgrade=protocol)


def _take_special(head: RequestHead, kept: Fields, name: bytes, value: bytes) -> None:
    """A field that is lifted into a slot, or is not allowed. Of a lifted field that repeats, the first counts."""
    if name in HOP_BY_HOP:
        raise malformed(f"{name!r} belongs to one connection")
    if name == b"te":
        if value.lower() != b"trailers":
            raise malformed("te takes only `trailers`")
        kept.append((name, value))
    elif name == b"host":
        _take_host(head, value)
    elif name in FORWARDED:
        head.was_forwarded = True
        kept.append((name, value))
    elif name == b"content-type":
        head.content_type = head.content_type or value
    elif name == b"expect":
        head.expect_continue = value.lower() == b"100-continue"
        if not head.expect_continue:
            kept.append((name, value))
    elif name == b"content-length" and head.content_length is not None:
        if head.content_length != read_length(value):
            raise malformed("two different content-lengths")
    else:
        take_volatile(head, name, value)


def _take_host(head: RequestHead, value: bytes) -> None:
    if not head.authority:
        if not is_authority(value):
            raise malformed("host is no host and port")
        head.authority = value
    elif head.authority.lower() != value.lower():
        raise malformed("host is another than :authority")


def take_volatile(head: RequestHead, name: bytes, value: bytes) -> bool:
    """Lift one of VOLATILE into its free slot; False when it is none of them, or its slot is taken."""
    if name == b"traceparent" and head.trace_parent is None:
        head.trace_parent = value
    elif name == b"x-request-id" and head.request_id is None:
        head.request_id = value
    elif name == b"grpc-timeout" and head.grpc_timeout is None:
        head.grpc_timeout = value
    elif name == b"content-length" and head.content_length is None:
        head.content_length = read_length(value)
    else:
        return False
    return True


VOLATILE = frozenset((b"traceparent", b"x-request-id", b"grpc-timeout", b"content-length"))
"""Lifted fields that may be another in each request."""


def is_value(value: bytes) -> bool:
    """No control character but TAB, and no space at either end (RFC 9113 §8.2.1)."""
    return _is_value(value) is not None


def read_length(value: bytes) -> int:
    if not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
        raise malformed("content-length is not a number of bytes")
    return int(value)


def _with_cookie(fields: Fields, joined: bytes) -> Fields:
    return [(name, joined if name == b"cookie" else value) for name, value in fields]


def read_response(fields: Fields, limits: RequestLimits) -> ResponseHead:
    pseudo = _read_pseudo(fields, RESPONSE_PSEUDO)
    status = pseudo.get(b":status", b"")
    if len(status) != 3 or not status.isdigit() or status < b"100" or status == b"101":
        raise malformed(f"bad :status {status!r}")
    regular = fields[len(pseudo) :]
    if has_more_fields(regular, limits.fields):
        raise malformed(f"a response head of over {limits.fields} fields")
    head = ResponseHead(int(status), [])
    for field in regular:
        name, value = field
        if not _is_name(name) or not _is_value(value):
            raise malformed(f"bad field {name!r}")
        if name not in _special_in_response:
            head.fields.append(field)
        elif name != b"content-length":
            raise malformed(f"{name!r} belongs to one connection")
        elif head.content_length is None:
            head.content_length = read_length(value)
        elif head.content_length != read_length(value):
            raise malformed("two different content-lengths")
    return head


def read_trailers(fields: Fields, limits: RequestLimits) -> Fields:
    """Trailers hold no pseudo-fields (RFC 9113 §8.1) and nothing of the connection."""
    if len(fields) > limits.fields:
        raise malformed(f"trailers of over {limits.fields} fields")
    for name, value in fields:
        if name in _NOT_IN_TRAILERS or not _is_name(name) or not _is_value(value):
            raise malformed(f"bad trailer {name!r}")
    return fields
