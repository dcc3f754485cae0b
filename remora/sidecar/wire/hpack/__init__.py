"""HPACK, the header compression of HTTP/2 (RFC 7541).

The decoder keeps the peer's dynamic table. The encoder keeps none: it says so once, and from then on what it makes of a
field depends on that field alone, so that it can be remembered. Measured, that is cheaper than a dynamic table, whose
indexes shift with each insertion, and costs a few bytes that never leave the machine or the data centre.
"""

from remora.sidecar.wire.hpack.decoder import Decoder
from remora.sidecar.wire.hpack.encoder import NO_DYNAMIC_TABLE, SENSITIVE, encode_field, encode_int, literal_prefix
from remora.sidecar.wire.hpack.errors import HpackBombError, HpackError
from remora.sidecar.wire.hpack.never_indexed import NeverIndexed

__all__ = [
    "NO_DYNAMIC_TABLE",
    "SENSITIVE",
    "Decoder",
    "HpackBombError",
    "HpackError",
    "NeverIndexed",
    "encode_field",
    "encode_int",
    "literal_prefix",
]
