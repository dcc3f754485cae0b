"""What the search starts from: a few well-formed conversations for each target, and words that make good mutations."""

from __future__ import annotations

import struct

import hpack

from remora.sidecar.wire.http2 import frames as wire
from tests.support.tls import client_hello

REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /p?q=1 HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 5\r\nX-Y: z\r\n\r\nhello",
    b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;e=v\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET http://b.example/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive, x-drop\r\nX-Drop: 1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n",
)
RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Y: z\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nbody",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n" * 3,
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw",
)
# fmt: off
WORDS = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b": ", b",", b";", b"\x0b", b"\x7f", b"\x80",
    b"\xff", b"0\r\n\r\n", b"0\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: +5\r\n",
    b"Content-Length: 5, 5\r\n", b"Content-Length : 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n", b"Transfer-Encoding:\r\n chunked\r\n", b"Connection: close\r\n",
    b"Connection: keep-alive\r\n", b"Connection: transfer-encoding\r\n", b"Host: b\r\n",
    b"Connection: content-length\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n", b" folded\r\n", b"HTTP/1.0",
    b"HTTP/2.0", b"HTTP/1.1", b"HEAD", b"CONNECT", b"GET", b"18446744073709551621", b"ffffffffffffffff",
    b"10000000000000005", b"-1", b"0x5", b"5;a=b", b"5 ", b" 5", b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"GET / HTTP/1.1\r\n", b"Expect: 100-continue\r\n", b"Trailer: x\r\n",
    b"X: y\r\n",
)
# fmt: on


def _block(*fields: tuple[str, str]) -> bytes:
    return hpack.Encoder().encode(list(fields))


_ASK = ((":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", "a"))
_REQUEST = _block(*_ASK, ("x-y", "z"))
_LONG = _block(*_ASK, ("content-length", "5"))
_ANSWER = _block((":status", "200"), ("x-y", "z"))
_TRAILERS = _block(("grpc-status", "0"))


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return wire.frame_head(len(payload), kind, flags, stream_id) + payload


def _short(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame as `targets._frames` reads it: index of its kind and of its stream, flags, length, payload."""
    return bytes((kind | stream << 4, flags, len(payload))) + payload


_HTTP2_REQUESTS = (
    _frame(1, 5, 1, _REQUEST),
    _frame(1, 4, 1, _LONG) + _frame(0, 1, 1, b"hello") + _frame(1, 5, 3, _REQUEST),
    _frame(1, 0, 1, _REQUEST[:3]) + _frame(9, 4, 1, _REQUEST[3:]) + _frame(0, 9, 1, b"\x02hello\0\0"),
    _frame(1, 4, 1, _REQUEST) + _frame(0, 0, 1, b"hi") + _frame(1, 5, 1, _TRAILERS),
    _frame(4, 0, 0, b"\0\4\0\0\0\1")
    + _frame(6, 0, 0, b"12345678")
    + _frame(8, 0, 0, b"\0\0\1\0")
    + _frame(3, 0, 1, b"\0\0\0\x08"),
)
_SHORT_REQUESTS = (
    _short(1, 5, 1, _REQUEST),
    _short(1, 4, 1, _LONG) + _short(0, 1, 1, b"hello"),
    _short(1, 4, 1, _REQUEST) + _short(0, 0, 1, b"hi") + _short(1, 5, 1, _TRAILERS),
    _short(1, 0, 1, _REQUEST[:3]) + _short(7, 4, 1, _REQUEST[3:]) + _short(5, 0, 1, b"\0\0\0\x08"),
)
_SHORT_ANSWERS = (
    _short(1, 4, 1, _ANSWER) + _short(0, 1, 1, b"hello") + _short(1, 5, 2, _ANSWER) + _short(1, 5, 3, _ANSWER),
    _short(1, 4, 3, _ANSWER) + _short(0, 0, 3, b"hello") + _short(1, 5, 3, _TRAILERS),
    _short(9, 0, 0, b"\0\0\0\1\0\0\0\0"),
)


def _lines(*fields: tuple[bytes, bytes]) -> bytes:
    return b"\xfe".join(name + b"\xff" + value for name, value in fields)


_PSEUDO = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/a"), (b":authority", b"a"))

_CALL = b"\0\0\0\0\5" + b"\x0a\x03abc"
_SERVICE = (
    b'{"name":"a.default","routes":[{"name":"r","origin":{"kind":"HTTPRoute","namespace":"default","name":"r"},'
    b'"match":{"path":{"kind":"prefix","value":"/a"},"headers":[{"name":"x","value":"y"}],"query":[]},'
    b'"backends":[{"service":"b.default","weight":3},{"service":"a.default"}],"hostnames":["*.a"],"request_timeout_s":1}],'
    b'"policy":{"balancer":{"kind":"random"},"retry":{"attempts":1,"codes":[503]},"timeouts":{"connect_s":1}},"hostnames":["h"]}'
)
_ENDPOINTS = (
    b'{"service":"a.default","endpoints":[{"id":"1","address":"127.0.0.1","port":80,"protocol":"h2","weight":2},'
    b'{"id":"2","address":"10.0.0.1","port":81,"healthy":false,"metadata":{"a":"b"}}]}'
)


def _json(mode: int, *parts: bytes) -> bytes:
    return bytes((mode,)) + b"\xfe".join(parts)


SEEDS: dict[str, tuple[bytes, ...]] = {
    "http1_server": tuple(bytes((number,)) + data for number, data in enumerate(REQUESTS)),
    "http1_client": tuple(bytes((number,)) + data for number, data in enumerate(RESPONSES)),
    "http2_server": tuple(b"\0" + data for data in _HTTP2_REQUESTS),
    "http2_server_frames": _SHORT_REQUESTS,
    "http2_client": (*(b"\x08" + data for data in _SHORT_ANSWERS), b"\0" + _frame(1, 5, 1, _ANSWER)),
    "http2_fields": (
        _lines(*_PSEUDO),
        _lines(*_PSEUDO, (b"content-length", b"0"), (b"cookie", b"a=b"), (b"cookie", b"c=d"), (b"te", b"trailers")),
        _lines(*_PSEUDO[:3], (b"host", b"a"), (b"x-y", b"z w"), (b"expect", b"100-continue")),
    ),
    "hpack": tuple(
        b"".join(struct.pack(">H", len(block)) + block for block in blocks)
        for blocks in ((_REQUEST,), (_REQUEST, _ANSWER, _TRAILERS), (_LONG, _LONG))
    ),
    "detection": (
        *(b"\0" + request for request in REQUESTS),
        *(bytes((number,)) + client_hello(name) for number, name in enumerate(("a.example", "Shop", "x-1.b.c"))),
        b"\2PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\1\r\nCONNECT {}\r\n",
        b"\1\0\0\0\x08\4\xd2\x16\x2f",
        b"\1*1\r\n$4\r\nPING\r\n",
        b"\1OPTIONS rtsp://a/b RTSP/1.0\r\n",
    ),
    "tunnel": tuple(
        bytes((kind,)) + b"\0\5hello\4\3abc\7\0\0\1x\x08\0\x09\0\3\0\6\2yz" for kind in (*range(5), 15, 16, 17, 18, 19)
    ),
    "grpc_web": (
        _json(6, b"+proto", b"", b"\4" + _CALL, b"\4" + _CALL),
        _json(6, b"-text", b"application/grpc-web-text", b"\3AAAAAAUKA2FiYw==AAAAAAA=", b"\4" + _CALL),
        _json(1, b"-text+proto", b"*/*", b"\0AAAA", b""),
    ),
    "grpc_json": (
        _json(6, b"GET", b"v1/messages/7?revision=2&sub.subfield=x%20y", b"", b"", b"\0" + _CALL),
        _json(6, b"PATCH", b"v1/messages/7", b"application/json", b'\3{"text":"a"}', b"\0" + _CALL),
        _json(6, b"POST", b"v1/shelves/1/books/2:archive", b"", b'\0{"reason":"x"}', b"\3" + _CALL),
        _json(
            6, b"POST", b"v1/shelves/1/books?book_id=3", b"", b'\0{"title":"t","pages":"5","tags":["a"]}', b"\3" + _CALL
        ),
        _json(6, b"GET", b"v1/shelves/1/books?page_size=3", b"", b"\0", b"\4" + _CALL + _CALL),
        _json(6, b"PUT", b"v1/files/a/b%2Fc", b"text/plain", b"\0raw", b"\0" + _CALL),
        _json(
            6,
            b"GET",
            b"v1/search?words=a&words=b&genres=GENRE_NOVEL&exact=true&since=2026-01-01T00:00:00Z&limit=1"
            b"&within=3.5s&mask=a.b,c&max_pages=4&lent=false&author=x&token=AAA%3D&min_price=1e3&shelf=s",
            b"",
            b"",
            b"\0" + _CALL,
        ),
        _json(
            6,
            b"REPORT",
            b"v1/search",
            b"",
            b'\0{"weights":{"a":1},"extra":{"k":[1,null,{}]},"subs":[{}],"depth":2}',
            b"\0" + _CALL,
        ),
        _json(6, b"OPTIONS", b"v1/search", b"", b"", b""),
        _json(6, b"GET", b"v1/fail/5?message=x", b"", b"", b""),
    ),
    "control": (
        b"\0Sa.default " + _SERVICE + b"\xffEa.default " + _ENDPOINTS + b"\xfe-a.default",
        b"\0Ea.default " + _ENDPOINTS + b"\xfeEa.default " + _ENDPOINTS.replace(b"127.0.0.1", b"127.0.0.2"),
        b'\1\x08\1\x10\5\x1a\x10\x08\2\x12\1a\x1a\x09{"a":"b"}"\1b',
    ),
}
