"""What first bytes tell, and how a ClientHello is read; real ones come from OpenSSL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.listener.client_hello import MAX_HELLO_BYTES, server_name
from remora.sidecar.listener.detection import HTTP1, HTTP2, TCP, Detected, detect, guess, is_http_answer
from remora.sidecar.wire.http2 import PREFACE
from tests.support.tls import client_hello

HELLO = client_hello("shop.example")


def in_records(hello: bytes, size: int) -> bytes:
    """The same handshake message in records of `size` bytes."""
    message = hello[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


@pytest.mark.parametrize(
    "first",
    [
        b"GET\x0b/\x0bHTTP/1.1\r\n",
        b"GET /\x01 HTTP/1.1\r\n",
        b"\0GET / HTTP/1.1\r\n",
        b"x\x7f HTTP/1.1\r\n",
        # Records of TLS: one too long, one empty.
        b"\x16\3\1\x52\1\xfc",
        b"\x16\3\1\0\0\1",
    ],
)
def test_what_is_bad_is_the_same_in_any_pieces(first: bytes) -> None:
    found = [known for size in range(1, len(first) + 1) if (known := detect(first[:size]))]
    assert set(found) == {detect(first)}


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (b"GET / HTTP/1.1\r\n", HTTP1),
        (b"POST /x", HTTP1),
        (b"GET http://shop/ HT", HTTP1),
        (b"\r\n\r\nGET /", HTTP1),
        (b"OPTIONS * HTTP/1.1\r\n", HTTP1),
        (b"CONNECT db:5432 HTTP/1.1\r\n", HTTP1),
        (b"PROPFIND /x HTTP/1.1\r\n", HTTP1),
        # Bad ones are for the codec to refuse.
        (b"get / HTTP/1.1\r\n", HTTP1),
        (b" GET / HTTP/1.1\r\n", HTTP1),
        (b"GET\t/\tHTTP/1.1\n", HTTP1),
        (b"GET /a b HTTP/1.1 \r\n", HTTP1),
        (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", HTTP1),
        (PREFACE, HTTP2),
        (PREFACE + b"\0\0\0", HTTP2),
        (HELLO, Detected("tls", "shop.example")),
        (client_hello(None), Detected("tls")),
        (b"*1\r\n$4\r\nPING\r\n", TCP),
        (b"PING\r\n", TCP),
        (b'CONNECT {"verbose":false}\r\n', TCP),
        (b"get foo\r\n", TCP),
        (b"OPTIONS rtsp://a/b RTSP/1.0\r\n", TCP),
        (b"INVITE sip:a@b SIP/2.0\r\n", TCP),
        (b"EHLO me\r\n", TCP),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", TCP),
        (b"\x10\x12\0\x04MQTT", TCP),
        (b"\x16\x03\x01\0\x05\x02", TCP),
        (b"G", None),
        (b"GET ", None),
        (b"OPTIONS *", None),
        (b"hello", None),
        (b"\r\n", None),
        (PREFACE[:-1], None),
        (HELLO[:-1], None),
        (HELLO[:1], None),
    ],
)
def test_what_first_bytes_tell(seen: bytes, found: Detected | None) -> None:
    assert detect(seen) == found


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (b"GE", HTTP1),
        (b"GET ", HTTP1),
        (b"OPTIONS *", HTTP1),
        (b"hello", TCP),
        (b"", TCP),
        (HELLO[:9], Detected("tls")),
    ],
)
def test_what_is_made_of_too_little(seen: bytes, found: Detected) -> None:
    assert guess(seen) == found


@pytest.mark.parametrize("size", [1, 7, 100, 16384])
def test_a_hello_in_any_records_and_pieces(size: int) -> None:
    hello = in_records(HELLO, size)
    for at in range(1, len(hello)):
        if size == 1 and at < 6:
            continue
        assert server_name(hello[:at]) is None
    assert server_name(hello + b"more") == "shop.example"


@pytest.mark.parametrize(
    ("name", "read"), [("Shop.Example", "shop.example"), ("x" * 60 + ".a-b.c", "x" * 60 + ".a-b.c")]
)
def test_names_are_lower_case(name: str, read: str) -> None:
    assert server_name(client_hello(name)) == read


def test_a_hello_without_end_is_not_waited_for() -> None:
    endless = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(MAX_HELLO_BYTES)
    assert server_name(endless) == ""
    assert server_name(b"\x16\x03\x01\x40\x00\x01\x00\x40\x00" + bytes(MAX_HELLO_BYTES)) == ""


@pytest.mark.parametrize("name", [b"a b", b"a\0b", b"a\r\nb", b"\xc3\xa9", b"-a", b"a" * 254])
def test_what_is_no_host_name_is_none(name: bytes) -> None:
    inner = HELLO.replace(b"\0\x0cshop.example", len(name).to_bytes(2, "big") + name)
    grown = len(name) - 12

    def longer(data: bytes, at: int, size: int) -> bytes:
        number = int.from_bytes(data[at : at + size], "big") + grown
        return data[:at] + number.to_bytes(size, "big") + data[at + size :]

    place = inner.index(name, 60)
    for at, size in ((place - 5, 2), (place - 7, 2), (6, 3), (3, 2)):
        inner = longer(inner, at, size)
    session = 5 + 4 + 2 + 32
    suites = session + 1 + inner[session]
    compression = suites + 2 + int.from_bytes(inner[suites : suites + 2], "big")
    inner = longer(inner, compression + 1 + inner[compression], 2)
    assert server_name(inner) == ""


@given(st.data())
def test_no_bytes_upset_it(data: st.DataObject) -> None:
    """Hellos with bytes changed, cut and added, and any bytes at all."""
    hello = bytearray(HELLO)
    for _ in range(data.draw(st.integers(0, 5))):
        hello[data.draw(st.integers(0, len(hello) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(hello[: data.draw(st.integers(0, len(hello)))]) + data.draw(st.binary(max_size=50))
    for seen in (cut, data.draw(st.binary(max_size=100))):
        assert detect(seen) is None or detect(seen)
        assert guess(seen)


def test_what_servers_of_http_say_unasked() -> None:
    assert is_http_answer(b"HTTP/1.1 408 Request Timeout\r\n")
    assert is_http_answer(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x80")
    assert not is_http_answer(b"\x4a\0\0\0\x0a8.0.36\0")
    assert not is_http_answer(b"220 mail ESMTP\r\n")
    assert not is_http_answer(b"SSH-2.0-OpenSSH_9.2\r\n")
