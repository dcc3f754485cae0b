"""What a connection speaks, by its first bytes.

What could be a request of HTTP/1, however bad, is one: it is for the codec to refuse it. Only what no server of HTTP
takes for a request passes as opaque bytes, or else a space in the wrong place would lead past all policies.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from remora.sidecar.listener.client_hello import may_be_tls, server_name
from remora.sidecar.wire.http2 import PREFACE

Spoken = Literal["http1", "h2", "tls", "tcp"]


class Detected(NamedTuple):
    """`server_name` is TLS's, empty where it names none."""

    protocol: Spoken
    server_name: str = ""


HTTP1 = Detected("http1")
HTTP2 = Detected("h2")
TCP = Detected("tcp")

MAX_LINE_BYTES = 8 * 1024
"""A first line without an end that is longer is no more waited for."""

_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT")
_CERTAIN = re.compile(rb"[\r\n]*(?:GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS|TRACE) (?:/|https?://)")
"""How nearly all requests begin. Others wait for the end of the line: NATS has a CONNECT too, RTSP an OPTIONS."""
_VERSION = re.compile(rb"HTTP/\d+(?:\.\d+)?[ \t\r]*\Z")
_BINARY_WORD = re.compile(rb"[\s\x1c-\x1f]*[^\s\x00-\x1f\x7f]*[\x00-\x08\x0e-\x1b\x7f]")
"""An octet in the first word that no text has. Beyond that word, or as a separator (some servers take any white space
of Unicode's for one), it does not make a request opaque."""


def detect(seen: bytes) -> Detected | None:
    """What speaks who has said `seen`; None while it can be one or the other."""
    if _CERTAIN.match(seen):
        return HTTP1
    if seen.startswith(PREFACE):
        return HTTP2
    if may_be_tls(seen):
        name = server_name(seen)
        return None if name is None else Detected("tls", name)
    return _detect_line(seen.lstrip(b"\r\n"))


def _detect_line(seen: bytes) -> Detected | None:
    line, end, _ = seen.partition(b"\n")
    # All that is decided before the line's end is decided alike when it has come: it is the same in any pieces.
    if _BINARY_WORD.match(line):
        return TCP
    if len(line) > MAX_LINE_BYTES:
        return guess(seen)
    if not end:
        return None
    if PREFACE.startswith(seen):
        return None
    return HTTP1 if _VERSION.search(line) else TCP


def guess(seen: bytes) -> Detected:
    """What speaks who has said `seen`, which may be one or the other, and no more."""
    if may_be_tls(seen):
        return Detected("tls")
    word, _, _ = seen.lstrip(b"\r\n").partition(b" ")
    return HTTP1 if word and any(method.startswith(word) for method in _METHODS) else TCP


def is_http_answer(first: bytes) -> bool:
    """Whether a server that begins with `first` speaks HTTP: an answer to nothing, or HTTP/2's SETTINGS (§3.4)."""
    return first.startswith(b"HTTP/1.") or (first[3:4] == b"\x04" and first[5:9] == b"\0\0\0\0" and first[:1] == b"\0")
