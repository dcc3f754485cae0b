"""The head that a request would have which is asked about."""

from __future__ import annotations

from remora.sidecar.explain.values import Asked
from remora.sidecar.wire.heads import FORWARDED, RequestHead

_LIFTED = {
    "content-type": "content_type",
    "grpc-timeout": "grpc_timeout",
    "traceparent": "trace_parent",
    "upgrade": "upgrade",
    "x-request-id": "request_id",
}
"""Headers that codecs take out of a head's fields."""
_OF_CONNECTION = frozenset(("connection", "content-length", "host", "transfer-encoding"))
"""Headers that are no fields of a head."""

_PEER = "127.0.0.1"
"""Where it comes from, unless it says so by X-Forwarded-For."""


def head_of(asked: Asked) -> RequestHead:
    """As a codec would make it."""
    fields = [
        (name.encode(), value.encode())
        for name, value in asked.headers
        if name.lower() not in _LIFTED and name.lower() not in _OF_CONNECTION
    ]
    head = RequestHead(asked.method.encode(), asked.path.encode(), asked.authority.encode(), fields, peer=_PEER)
    head.was_forwarded = any(name.lower() in FORWARDED for name, _ in fields)
    for name, value in reversed(asked.headers):  # of several the first counts
        if name.lower() in _LIFTED:
            setattr(head, _LIFTED[name.lower()], value.encode())
    return head
