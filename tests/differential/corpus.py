"""Attacks by request smuggling, curated: each class of them, in the variants that are known to have worked somewhere.

Sources: RFC 9112 §11.2, "HTTP Desync Attacks" and "HTTP/2: The Sequel is Always Worse" (J. Kettle, PortSwigger),
CVE-2019-18277, CVE-2021-22959, CVE-2022-32213…32215, CVE-2023-25690, CVE-2023-46589, and the test suites of llhttp and
h11.
"""

from __future__ import annotations

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
_CHUNKED = b"0\r\n\r\n" + SMUGGLED


def _te(line: bytes) -> bytes:
    return _POST + b"Content-Length: 5\r\n" + line + b"\r\n\r\n" + _CHUNKED


def _te_only(line: bytes) -> bytes:
    return _POST + line + b"\r\n\r\n" + _CHUNKED


def _cl(*lines: bytes) -> bytes:
    return _POST + b"".join(line + b"\r\n" for line in lines) + b"\r\nhello" + SMUGGLED


def _chunk(chunk: bytes) -> bytes:
    return _POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk


def _get(line: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n"


ATTACKS: dict[str, dict[str, bytes]] = {
    "content-length and transfer-encoding": {
        "CL.TE": _te(b"Transfer-Encoding: chunked"),
        "TE.CL": _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + _CHUNKED,
        "CL 0": _POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKED,
        "hidden by Connection": _te(b"Connection: content-length\r\nTransfer-Encoding: chunked"),
        "1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + _CHUNKED,
    },
    "variants of transfer-encoding": {
        "xchunked": _te_only(b"Transfer-Encoding: xchunked"),
        "chunked, identity": _te_only(b"Transfer-Encoding: chunked, identity"),
        "identity": _te_only(b"Transfer-Encoding: identity"),
        "identity, chunked": _te_only(b"Transfer-Encoding: identity, chunked"),
        "chunked, chunked": _te_only(b"Transfer-Encoding: chunked, chunked"),
        "chunked twice": _te_only(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        "chunked and identity": _te_only(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        "identity and chunked": _te_only(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
        "quoted": _te_only(b'Transfer-Encoding: "chunked"'),
        "parameter": _te_only(b"Transfer-Encoding: chunked;q=1"),
        "vertical tab": _te_only(b"Transfer-Encoding: \x0bchunked"),
        "vertical tab behind": _te_only(b"Transfer-Encoding: chunked\x0b"),
        "form feed": _te_only(b"Transfer-Encoding:\x0cchunked"),
        "no-break space": _te_only(b"Transfer-Encoding: \xa0chunked"),
        "comma": _te_only(b"Transfer-Encoding: chunked,"),
        "comma before": _te_only(b"Transfer-Encoding: ,chunked"),
        "empty": _te_only(b"Transfer-Encoding:"),
        "name with a space": _te(b"Transfer Encoding: chunked"),
        "name with a tab": _te(b"Transfer-Encoding\t: chunked"),
        "name behind a space": _te(b" Transfer-Encoding: chunked"),
        "name behind a NUL": _te(b"\0Transfer-Encoding: chunked"),
        "chunked and folded": _te_only(b"Transfer-Encoding: chunked\r\n , identity"),
        "gzip, chunked": _te_only(b"Transfer-Encoding: gzip, chunked"),
    },
    "obs-fold": {
        "value": _get(b"X: a\r\n b"),
        "tab": _get(b"X: a\r\n\tb"),
        "first field": b"GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n",
        "empty value": _get(b"X:\r\n a"),
        "content-length": _cl(b"Content-Length:\r\n 5"),
        "transfer-encoding": _te_only(b"Transfer-Encoding:\r\n chunked"),
        "host": b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    },
    "bare LF and CR": {
        "LF ends the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        "LF ends a field": b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        "LF ends the head": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        "LFs end the head": b"GET / HTTP/1.1\r\nHost: a\n\n",
        "CR ends a field": b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
        "CR in a value": _get(b"X: a\rb"),
        "CR CR LF": _get(b"X: a\r"),
        "CR in a name": _get(b"X\rY: a"),
        "CR in the target": b"GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n",
        "LF ends a chunk's size": _chunk(b"5\nhello\r\n0\r\n\r\n"),
        "LF ends a chunk": _chunk(b"5\r\nhello\n0\r\n\r\n"),
        "LF ends the last chunk": _chunk(b"0\n\r\n"),
        "LF ends the trailers": _chunk(b"0\r\n\n"),
        "CR ends a chunk's size": _chunk(b"5\rhello\r\n0\r\n\r\n"),
        "LF in a chunk's extension": _chunk(b"5;a\nhello\r\n0\r\n\r\n"),
    },
    "space before the colon": {
        "content-length": _cl(b"Content-Length : 5"),
        "transfer-encoding": _te_only(b"Transfer-Encoding : chunked"),
        "other": _get(b"X : y"),
        "tab": _get(b"X\t: y"),
        "no name": _get(b": y"),
        "no colon": _get(b"X"),
        "host": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "bracket in a name": _get(b"X(Y): z"),
        "high octet in a name": _get(b"X\xe9: z"),
    },
    "lengths": {
        "two": _cl(b"Content-Length: 5", b"Content-Length: 6"),
        "two alike": _cl(b"Content-Length: 5", b"Content-Length: 5"),
        "list": _cl(b"Content-Length: 5, 5"),
        "list of two": _cl(b"Content-Length: 5, 6"),
        "plus": _cl(b"Content-Length: +5"),
        "minus": _cl(b"Content-Length: -5"),
        "minus zero": _cl(b"Content-Length: -0"),
        "hexadecimal": _cl(b"Content-Length: 0x5"),
        "space within": _cl(b"Content-Length: 5 5"),
        "empty": _cl(b"Content-Length:"),
        "spaces only": _cl(b"Content-Length:   "),
        "words": _cl(b"Content-Length: five"),
        "underscore": _cl(b"Content-Length: 1_0"),
        "exponent": _cl(b"Content-Length: 5e0"),
        "fraction": _cl(b"Content-Length: 5.0"),
        "vertical tab": _cl(b"Content-Length: \x0b5"),
        "overflow by one": _cl(b"Content-Length: 18446744073709551621"),
        "long": _cl(b"Content-Length: " + b"9" * 40),
        "other digits": _cl(b"Content-Length: \xd9\xa5"),
    },
    "chunk sizes": {
        "overflow": _chunk(b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
        "seventeen digits": _chunk(b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        "minus": _chunk(b"-5\r\nhello\r\n0\r\n\r\n"),
        "plus": _chunk(b"+5\r\nhello\r\n0\r\n\r\n"),
        "prefix": _chunk(b"0x5\r\nhello\r\n0\r\n\r\n"),
        "empty": _chunk(b"\r\nhello\r\n0\r\n\r\n"),
        "space before": _chunk(b" 5\r\nhello\r\n0\r\n\r\n"),
        "underscore": _chunk(b"0_5\r\nhello\r\n0\r\n\r\n"),
        "too short": _chunk(b"4\r\nhello\r\n0\r\n\r\n"),
        "too long": _chunk(b"6\r\nhello\r\n0\r\n\r\n"),
        "no end": _chunk(b"5\r\nhello0\r\n\r\n"),
        "word": _chunk(b"g\r\nhello\r\n0\r\n\r\n"),
    },
    "chunk extensions": {
        "NUL": _chunk(b"5;a=\0\r\nhello\r\n0\r\n\r\n"),
        "no semicolon": _chunk(b"5 a\r\nhello\r\n0\r\n\r\n"),
        "CR": _chunk(b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
        "open quote": _chunk(b'5;a="\r\nhello\r\n0\r\n\r\n'),
    },
    "NUL and control characters": {
        "NUL in a value": _get(b"X: a\0b"),
        "NUL in a name": _get(b"X\0: b"),
        "NUL in the target": b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "NUL in the method": b"GE\0T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "NUL in Host": b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
        "bell in a value": _get(b"X: a\x07b"),
        "delete in a value": _get(b"X: a\x7fb"),
    },
    "request line and Host": {
        "space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "tab": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "no version": b"GET /\r\nHost: a\r\n\r\n",
        "version 1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "version 2.0": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "version 01.1": b"GET / HTTP/01.1\r\nHost: a\r\n\r\n",
        "lower case": b"GET / http/1.1\r\nHost: a\r\n\r\n",
        "no Host": b"GET / HTTP/1.1\r\n\r\n",
        "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "space in Host": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "path in Host": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "userinfo in Host": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "https by clear text": b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "userinfo in the target": b"GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "no authority in the target": b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        "asterisk with GET": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "relative": b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
    },
}
"""Class → name → bytes. Every one is refused with 400, 501 where only the coding is unknown (RFC 9112 §6.1), and the
connection closed; none is forwarded."""

_H2 = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a"))


def _with(*extra: tuple[bytes, bytes], **changed: bytes) -> tuple[tuple[bytes, bytes], ...]:
    pseudo = [(name, changed.get(name[1:].decode(), value)) for name, value in _H2]
    return (*(field for field in pseudo if field[1] is not None), *extra)


HTTP2_REQUESTS: tuple[tuple[tuple[bytes, bytes], ...], ...] = (
    _H2,
    _with(method=b"GET"),
    _with(method=b"HEAD", path=b"/p?q=1"),
    _with(method=b"OPTIONS", path=b"*"),
    _with((b"x-y", b"z \xe9"), (b"cookie", b"a=b"), (b"cookie", b"c=d"), (b"te", b"trailers")),
    (*_H2[:3], (b"host", b"a")),
    _with((b"host", b"a"), (b"expect", b"100-continue")),
    _with((b"content-type", b"application/grpc"), (b"grpc-timeout", b"1S"), (b"user-agent", b"")),
)
"""In order, without a body or with one."""

_CRLF = b"a\r\ntransfer-encoding: chunked"
HTTP2_ATTACKS: dict[str, tuple[tuple[bytes, bytes], ...]] = {
    "CRLF in a value": _with((b"x", _CRLF)),
    "LF in a value": _with((b"x", b"a\nb: c")),
    "CR in a value": _with((b"x", b"a\rb")),
    "NUL in a value": _with((b"x", b"a\0b")),
    "bell in a value": _with((b"x", b"a\x07b")),
    "CRLF in a name": _with((b"x: y\r\nz", b"a")),
    "colon in a name": _with((b"x:y", b"a")),
    "space in a name": _with((b"transfer-encoding ", b"chunked")),
    "capital in a name": _with((b"Transfer-Encoding", b"chunked")),
    "empty name": _with((b"", b"a")),
    "high octet in a name": _with((b"x\xe9", b"a")),
    "space before a value": _with((b"x", b" a")),
    "transfer-encoding": _with((b"transfer-encoding", b"chunked")),
    "connection": _with((b"connection", b"close")),
    "upgrade": _with((b"upgrade", b"h2c")),
    "proxy-connection": _with((b"proxy-connection", b"keep-alive")),
    "keep-alive": _with((b"keep-alive", b"timeout=5")),
    "te": _with((b"te", b"chunked")),
    "te, and trailers": _with((b"te", b"trailers, chunked")),
    "CRLF in the path": _with(path=b"/ HTTP/1.1\r\nX: y"),
    "space in the path": _with(path=b"/smuggled HTTP/1.1"),
    "tab in the path": _with(path=b"/a\tb"),
    "bell in the path": _with(path=b"/a\x07b"),
    "no slash in the path": _with(path=b"a"),
    "empty path": _with(path=b""),
    "asterisk without OPTIONS": _with(path=b"*"),
    "absolute path": _with(path=b"http://b/"),
    "CRLF in the method": _with(method=b"GET / HTTP/1.1\r\nX: y"),
    "space in the method": _with(method=b"GET /smuggled HTTP/1.1"),
    "tab in the method": _with(method=b"GE\tT"),
    "high octet in the method": _with(method=b"GE\xe9T"),
    "empty method": _with(method=b""),
    "CRLF in the authority": _with(authority=b"a\r\nX: y"),
    "space in the authority": _with(authority=b"a b"),
    "tab in the authority": _with(authority=b"a\tb"),
    "bell in the authority": _with(authority=b"a\x07"),
    "path in the authority": _with(authority=b"a/b"),
    "userinfo in the authority": _with(authority=b"a@b"),
    "CRLF in the scheme": _with(scheme=b"http\r\nX: y"),
    "space in the scheme": _with(scheme=b"http x"),
    "host is another": _with((b"host", b"b")),
    "CRLF in host": _with((b"host", b"a\r\nX: y")),
    "two authorities": _with((b":authority", b"a")),
    "two paths": _with((b":path", b"/other")),
    "two methods": _with((b":method", b"GET")),
    "unknown pseudo-field": _with((b":x", b"a")),
    "late pseudo-field": (*_H2[:3], (b"x", b"y"), _H2[3]),
    "field before all pseudo-fields": ((b"x", b"y"), *_H2),
    "no method": _H2[1:],
    "no authority": _H2[:3],
    "empty authority": _with(authority=b""),
    "empty authority, and host": _with((b"host", b"b"), authority=b""),
    "no scheme": (_H2[0], *_H2[2:]),
    "two lengths": _with((b"content-length", b"0"), (b"content-length", b"1")),
    "length without body": _with((b"content-length", b"5")),
    "plus in the length": _with((b"content-length", b"+0")),
    "minus in the length": _with((b"content-length", b"-0")),
    "length of over 64 bits": _with((b"content-length", b"18446744073709551616")),
    "list of lengths": _with((b"content-length", b"0, 0")),
    "empty length": _with((b"content-length", b"")),
}
"""Requests over HTTP/2 that have no place in HTTP/1; each ends its stream. None is forwarded."""

TOLERATED: dict[str, bytes] = {
    "two spaces in the request line": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "empty lines before a request": b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.0, chunked": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk's extension": _chunk(b"5;a=b\r\nhello\r\n0\r\n\r\n"),
    "leading zeros": _chunk(b"0005\r\nhello\r\n0\r\n\r\n"),
    "a large chunk's size": _chunk(b"ffffffffffffffff\r\nhello"),
    "spaces about a value": b"POST / HTTP/1.1\r\nHost:\t a \t\r\nContent-Length: \t5 \r\n\r\nhello",
}
"""What is read in one way only, and forwarded written anew, so that nobody behind us has to read it."""
