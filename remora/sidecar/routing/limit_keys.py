"""What requests are counted apart by: values that they have, or have not."""

from __future__ import annotations

import hashlib

from remora.model.limits import LimitKey
from remora.sidecar.routing.keys import source_address
from remora.sidecar.routing.match import request_field
from remora.sidecar.wire.heads import RequestHead

MAX_KEY_BYTES = 64
"""Longer ones are kept as a hash: clients choose them, and memory is bounded by their number."""

_SEPARATOR = b"\0"
"""No value has it."""


def key_value(key: LimitKey, head: RequestHead) -> bytes | None:
    """What `head` has for `key`; None: nothing."""
    if key.kind == "header":
        return request_field(head, key.name.encode())
    if key.kind == "path":
        return head.path.partition(b"?")[0]
    if key.kind == "method":
        return head.method
    # A caller that proves who it is would be told by that; none does yet.
    return (head.peer.encode() if key.kind == "peer" else source_address(head)) or None


def joined_values(keys: tuple[LimitKey, ...], head: RequestHead) -> bytes | None:
    """All of them as one; None if any is missing. Requests with different values have different ones."""
    found: list[bytes] = []
    for key in keys:
        value = key_value(key, head)
        if value is None:
            return None
        found.append(value)
    joined = found[0] if len(found) == 1 else _SEPARATOR.join(found)
    return joined if len(joined) <= MAX_KEY_BYTES else hashlib.blake2b(joined, digest_size=32).digest()
