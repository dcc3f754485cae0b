"""HTTP/2 (RFC 9113) on the stream interface of `remora.sidecar.wire.stream`: a server's and a client's connection.

frames.py             the bytes of frames              blocks.py      heads → header blocks
fields.py             what a head may look like        reader.py      header blocks → heads, mostly from memory
stream.py             one stream                       sender.py      one write a turn; the turns of streams that wait
life.py               how streams and connections end  connection.py  what both ends do
server.py, client.py  the ends                         tunnels.py     Upgrade as extended CONNECT
flood.py              what a peer may not do           limits.py      how much it may
liveness.py           whether a server lives           errors.py      codes, and the two kinds of fault
"""

from remora.sidecar.wire.http2.client import Http2ClientConnection
from remora.sidecar.wire.http2.errors import ErrorCode
from remora.sidecar.wire.http2.frames import PREFACE
from remora.sidecar.wire.http2.limits import DEFAULT_LIMITS, Http2Limits
from remora.sidecar.wire.http2.server import Http2ServerConnection

__all__ = ["DEFAULT_LIMITS", "PREFACE", "ErrorCode", "Http2ClientConnection", "Http2Limits", "Http2ServerConnection"]
