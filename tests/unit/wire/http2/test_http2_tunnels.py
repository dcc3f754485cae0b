"""Tunnels over HTTP/2: CONNECT, and extended CONNECT, which is an Upgrade to handlers (RFC 8441)."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, RemoteSettingsChanged, RequestReceived, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead, field_value
from remora.sidecar.wire.http2 import Http2ClientConnection
from remora.sidecar.wire.http2 import frames as wire
from remora.sidecar.wire.http2.tunnels import websocket_accept
from remora.sidecar.wire.stream import WRITE_HIGH_WATER, ResetReason
from tests.support.http2 import BufferedTransport, ClientPlay, ServerPlay
from tests.support.wire import Heard, Owner

SWITCH = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":path", b"/chat?x"),
    (b":authority", b"chat"),
    (b"sec-websocket-version", b"13"),
]
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
TAKES_SWITCHES: dict[Any, int] = {SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}


def test_accept_fits_the_key_of_rfc_6455() -> None:
    assert websocket_accept(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


# our server


async def ask(*fields: tuple[bytes, bytes]) -> tuple[ServerPlay, Heard]:
    play = ServerPlay(validate=False)
    play.peer.send_headers(1, fields)
    await play.talk()
    return play, play.last


async def test_the_server_says_that_it_takes_extended_connect() -> None:
    play = ServerPlay()
    await play.talk()
    changed = play.all(RemoteSettingsChanged)[0].changed_settings
    assert changed[SettingCodes.ENABLE_CONNECT_PROTOCOL].new_value == 1


async def test_an_extended_connect_is_an_upgrade_to_handlers_and_101_is_200_to_the_peer() -> None:
    play, heard = await ask(*SWITCH)
    head = heard.head
    assert (head.method, head.path, head.authority, head.upgrade) == (b"GET", b"/chat?x", b"chat", b"websocket")
    key = field_value(head.fields, b"sec-websocket-key")
    assert key is not None
    assert len(base64.b64decode(key)) == 16
    assert not heard.ended

    fields: Fields = [(b"Sec-WebSocket-Accept", websocket_accept(key)), (b"sec-websocket-protocol", b"v1")]
    heard.stream.send_head(ResponseHead(101, fields), False)
    heard.stream.send_data(b"\x81\x00", False)
    play.peer.send_data(1, b"\x00raw")
    await play.talk()
    assert play.one(ResponseReceived).headers == [(b":status", b"200"), (b"sec-websocket-protocol", b"v1")]
    assert play.one(DataReceived).data == b"\x81\x00"
    assert heard.data == b"\x00raw"

    play.peer.end_stream(1)
    await play.talk()
    assert heard.ended
    assert play.connection.live_streams == 1
    heard.stream.send_data(b"last", True)
    await play.talk()
    assert play.all(StreamEnded)
    assert play.connection.live_streams == 0


async def test_each_websocket_has_a_key_of_its_own() -> None:
    play = ServerPlay(validate=False)
    keys = set()
    for stream_id in (1, 3, 5):
        play.peer.send_headers(stream_id, SWITCH)
        await play.talk()
        keys.add(field_value(play.last.head.fields, b"sec-websocket-key"))
    assert len(keys) == 3


async def test_an_answer_that_takes_no_upgrade_is_not_mistaken_for_a_tunnel() -> None:
    play, heard = await ask(*SWITCH)
    heard.stream.send_head(ResponseHead(200, [], content_length=2), False)
    heard.stream.send_data(b"hi", True)
    heard.stream.reset(ResetReason.CANCELLED)
    await play.talk()
    assert play.one(ResponseReceived).headers[0] == (b":status", b"502")
    assert play.one(StreamReset).error_code == ErrorCodes.NO_ERROR


async def test_101_never_goes_to_who_has_not_asked() -> None:
    play, heard = await ask((b":method", b"GET"), *SWITCH[2:])
    heard.stream.send_head(ResponseHead(101, []), False)
    heard.stream.send_head(ResponseHead(200, []), True)
    await play.talk()
    assert play.one(ResponseReceived).headers == [(b":status", b"200")]


async def test_connect_carries_raw_bytes_both_ways() -> None:
    play, heard = await ask((b":method", b"CONNECT"), (b":authority", b"db:5432"))
    assert (heard.head.method, heard.head.authority, heard.head.path, heard.head.upgrade) == (
        b"CONNECT",
        b"db:5432",
        b"",
        None,
    )
    heard.stream.send_head(ResponseHead(200, []), False)
    heard.stream.send_data(b"hello", True)
    play.peer.send_data(1, b"query", end_stream=True)
    await play.talk()
    assert play.one(DataReceived).data == b"hello"
    assert (heard.data, heard.ended) == (b"query", True)
    assert play.connection.live_streams == 0


@pytest.mark.parametrize(
    "fields",
    [
        SWITCH[:2] + SWITCH[3:],
        SWITCH[:3] + SWITCH[4:],
        SWITCH[:4],
        [(b":method", b"GET"), *SWITCH[1:]],
        [SWITCH[0], (b":protocol", b"web socket"), *SWITCH[2:]],
        [SWITCH[0], (b":protocol", b"a\r\nb"), *SWITCH[2:]],
        [SWITCH[0], (b":protocol", b""), *SWITCH[2:]],
        [SWITCH[0], SWITCH[1], *SWITCH[1:]],
    ],
    ids=["no scheme", "no path", "no authority", "GET", "space", "CRLF", "empty", "twice"],
)
async def test_a_malformed_extended_connect_is_reset(fields: list[tuple[bytes, bytes]]) -> None:
    play = ServerPlay(validate=False)
    play.peer.send_headers(1, fields)
    await play.talk()
    assert play.one(StreamReset).error_code == ErrorCodes.PROTOCOL_ERROR
    assert play.requests.heard == []


# our client


def upgrade(*fields: tuple[bytes, bytes], protocol: bytes = b"websocket") -> RequestHead:
    return RequestHead(b"GET", b"/chat", b"chat", [(b"Sec-WebSocket-Key", KEY), *fields], upgrade=protocol)


async def test_an_upgrade_is_an_extended_connect_to_the_peer_and_200_is_101_to_handlers() -> None:
    play = ClientPlay(settings=TAKES_SWITCHES)
    await play.talk()
    heard = Heard()
    stream = play.connection.open(upgrade((b"sec-websocket-version", b"13")), False, heard)
    await asyncio.sleep(0)
    await play.talk()
    assert play.one(RequestReceived).headers == [*SWITCH[:3], (b":path", b"/chat"), *SWITCH[4:]]

    play.peer.send_headers(1, [(b":status", b"200"), (b"content-length", b"3"), (b"x-a", b"1")])
    play.peer.send_data(1, b"raw bytes")
    await play.talk()
    ((head, end),) = heard.heads
    assert (head.status, end, head.content_length) == (101, False, None)
    assert head.fields == [(b"x-a", b"1"), (b"sec-websocket-accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")]
    assert heard.data == b"raw bytes"

    stream.send_data(b"more", True)
    await play.talk()
    assert play.one(DataReceived).data == b"more"
    assert not heard.ended
    play.peer.end_stream(1)
    await play.talk()
    assert heard.ended
    assert play.connection.live_streams == 0


async def test_a_refused_upgrade_is_an_answer_like_any() -> None:
    play = ClientPlay(settings=TAKES_SWITCHES)
    await play.talk()
    heard = Heard()
    play.connection.open(upgrade(), False, heard)
    await asyncio.sleep(0)
    await play.talk()
    play.peer.send_headers(1, [(b":status", b"403")], end_stream=True)
    await play.talk()
    assert [(head.status, end) for head, end in heard.heads] == [(403, True)]


async def test_an_upgrade_waits_for_the_peers_settings() -> None:
    play = ClientPlay()
    heard = Heard()
    stream = play.connection.open(upgrade(), False, heard)
    stream.send_data(b"x" * (WRITE_HIGH_WATER + 1), False)
    assert heard.writable == [False]
    assert play.connection.live_streams == 0
    play.raw(wire.settings_frame(TAKES_SWITCHES))
    await play.talk()
    assert play.all(RequestReceived)
    assert sum(len(event.data) for event in play.all(DataReceived)) == 65535
    assert heard.writable == [False, True]
    play.peer.increment_flow_control_window(100)
    play.peer.increment_flow_control_window(100, 1)
    await play.talk()
    assert sum(len(event.data) for event in play.all(DataReceived)) == WRITE_HIGH_WATER + 1


@pytest.mark.parametrize("told", [True, False], ids=["settings seen", "settings to come"])
async def test_a_peer_without_extended_connect_is_not_asked(told: bool) -> None:
    play = ClientPlay()
    if told:
        await play.talk()
    heard = Heard()
    play.connection.open(upgrade(), False, heard)
    assert heard.heads == []
    await play.talk()
    assert not play.all(RequestReceived)
    assert heard.heads[0][0].status == 501
    assert b"RFC 8441" in heard.data
    assert heard.ended


async def test_an_upgrade_that_waits_takes_the_place_of_a_stream() -> None:
    owner = Owner()
    connection = Http2ClientConnection(owner, expected_streams=1)
    connection.connection_made(BufferedTransport())
    connection.open(upgrade(), False, Heard())
    assert connection.free_slots == 0
    connection.data_received(wire.settings_frame({**TAKES_SWITCHES, wire.MAX_CONCURRENT_STREAMS: 2}))
    assert (connection.live_streams, connection.free_slots, owner.freed) == (1, 1, 1)


async def test_an_upgrade_that_waits_when_the_connection_ends_was_never_asked() -> None:
    play = ClientPlay()
    heard = Heard()
    play.connection.open(upgrade(), False, heard)
    play.connection.connection_lost(None)
    assert heard.reset is ResetReason.STALE


async def test_an_upgrade_that_is_given_up_before_it_is_asked_is_not_asked() -> None:
    play = ClientPlay(settings=TAKES_SWITCHES)
    stream = play.connection.open(upgrade(), False, Heard())
    stream.reset(ResetReason.CANCELLED)
    play.raw(wire.settings_frame(TAKES_SWITCHES))
    await play.talk()
    assert not play.all(RequestReceived)


async def test_our_connect_has_no_length() -> None:
    play = ClientPlay()
    heard = Heard()
    play.connection.open(RequestHead(b"CONNECT", b"", b"db:5432", []), False, heard)
    await play.talk()
    assert play.one(RequestReceived).headers == [(b":method", b"CONNECT"), (b":authority", b"db:5432")]
    play.peer.send_headers(1, [(b":status", b"200"), (b"content-length", b"1")])
    play.peer.send_data(1, b"more than one", end_stream=True)
    await play.talk()
    assert [(head.status, head.content_length, end) for head, end in heard.heads] == [(200, None, False)]
    assert (heard.data, heard.ended) == (b"more than one", True)
