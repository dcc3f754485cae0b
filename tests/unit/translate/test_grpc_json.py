"""JSON calls, played, and driven by bytes of chance from both sides."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.translate import conversion, json_call
from remora.sidecar.translate.conversion import INLINE_BYTES
from remora.sidecar.translate.descriptors import load_bindings
from remora.sidecar.translate.grpc_json import Transcoder
from remora.sidecar.translate.message_reader import MAX_MESSAGE_BYTES
from remora.sidecar.translate.refusal import Refusals
from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.stream import RequestHandler, ResetReason
from tests.support.grpc_frames import framed
from tests.support.library import descriptor_set, types
from tests.unit.translate.played import DONE, OK, Downstream, Upstream

JSON = b"application/json"
LIST = b"/v1/shelves/1/books"


@functools.cache
def transcoder(only: bool = True) -> Transcoder:
    return Transcoder(load_bindings([descriptor_set()]), Refusals(Metrics(), "app"), only=only)


class Play:
    """One request with both of its ends."""

    def __init__(
        self, method: bytes, path: bytes, *, end: bool = True, fields: Fields | None = None, kind: bytes | None = None
    ) -> None:
        self.downstream = Downstream()
        self.upstream = Upstream()
        head = RequestHead(method, path, b"a", fields or [], content_type=kind)
        self.handler: Any = transcoder().start(self.upstream, self.downstream, head, end, [])
        assert self.handler is not None

    @property
    def stream(self) -> Any:
        assert self.upstream.stream is not None, "no call was made"
        return self.upstream.stream

    def answer(self, *messages: bytes, trailers: Fields = DONE) -> None:
        self.stream.send_head(OK, False)
        for message in messages:
            self.stream.send_data(framed(message), False)
        self.stream.send_trailers(trailers)

    @property
    def value(self) -> Any:
        return json.loads(self.downstream.data)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)


def book(**fields: Any) -> bytes:
    return bytes(types()["Book"](**fields).SerializeToString())


async def test_a_unary_call() -> None:
    play = Play(b"GET", b"/v1/messages/1?revision=2", fields=[(b"X-User", b"ada"), (b"Accept", b"*/*")])
    assert play.upstream.head is not None
    assert play.upstream.head.is_grpc
    assert play.upstream.head.path == b"/library.v1.Messaging/GetMessage"
    assert play.upstream.head.fields == [(b"X-User", b"ada"), (b"te", b"trailers")]
    assert types()["GetMessageRequest"].FromString(play.upstream.data[5:]).revision == 2
    play.stream.send_head(ResponseHead(200, [*OK.fields, (b"x-app", b"1")]), False)
    play.stream.send_data(framed(types()["Message"](text="t").SerializeToString()), False)
    assert not play.downstream.heads
    play.stream.send_trailers(DONE)
    assert (play.downstream.status, play.value["text"], play.downstream.ended) == (200, "t", True)
    assert play.downstream.fields() == {"content-type": "application/json", "x-app": "1"}


async def test_a_body_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_call, "BODY_TIMEOUT_S", 0.01)
    play = Play(b"PATCH", b"/v1/messages/1", end=False, kind=JSON)
    play.handler.on_data(b"{", False)
    await play.until(lambda: play.downstream.ended)
    assert (play.downstream.status, play.value["message"]) == (408, "the body did not come within 0.01 s")
    assert play.downstream.resets == [ResetReason.CANCELLED]
    assert play.upstream.head is None


async def test_a_body_too_long_is_not_kept() -> None:
    play = Play(b"PATCH", b"/v1/messages/1", end=False, kind=JSON)
    play.handler.on_data(b" " * MAX_MESSAGE_BYTES, False)
    assert not play.downstream.heads
    play.handler.on_data(b" ", False)
    assert play.downstream.status == 413
    play.handler.on_data(b" ", True)
    assert play.upstream.head is None


async def test_long_messages_are_converted_in_order_and_the_app_is_held_back() -> None:
    play = Play(b"GET", LIST)
    long = "t" * (INLINE_BYTES + 1)
    play.stream.send_head(OK, False)
    play.stream.send_data(framed(book(title=long)) + framed(book(title="short")) + framed(book(title=long)), False)
    play.stream.send_trailers(DONE)
    assert (play.downstream.data, play.upstream.writable) == (b"", [False])
    await play.until(lambda: play.downstream.ended)
    titles = [json.loads(line)["result"]["title"] for line in play.downstream.data.splitlines()]
    assert titles == [long, "short", long]


async def test_the_app_goes_on_once_a_long_message_is_converted() -> None:
    play = Play(b"GET", LIST)
    play.stream.send_head(OK, False)
    play.stream.send_data(framed(book(title="t" * (INLINE_BYTES + 1))), False)
    play.handler.on_writable(False)
    play.handler.on_writable(True)
    assert play.upstream.writable == [False]
    await play.until(lambda: bool(play.downstream.data))
    assert play.upstream.writable == [False, True]


async def test_a_caller_that_leaves_ends_conversions() -> None:
    ask = Play(b"REPORT", b"/v1/search", end=False, kind=JSON)
    ask.handler.on_data(json.dumps({"words": ["w"] * 5_000}).encode(), True)
    ask.handler.on_reset(ResetReason.PEER_RESET)
    listed = Play(b"GET", LIST)
    listed.stream.send_head(OK, False)
    listed.stream.send_data(framed(book(title="t" * (INLINE_BYTES + 1))), False)
    listed.handler.on_reset(ResetReason.PEER_RESET)
    assert listed.upstream.resets == [ResetReason.PEER_RESET]
    last = Play(b"REPORT", b"/v1/search", end=False, kind=JSON)
    last.handler.on_data(json.dumps({"words": ["w"] * 5_000}).encode(), True)
    await last.until(lambda: last.upstream.ended)
    assert (ask.upstream.head, listed.downstream.data) == (None, b"")


async def test_long_bodies_do_not_queue_up_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "MAX_WAITING", 2)
    body = json.dumps({"words": ["w"] * 5_000}).encode()
    plays = [Play(b"REPORT", b"/v1/search", end=False, kind=JSON) for _ in range(3)]
    for play in plays:
        play.handler.on_data(body, True)
    assert (plays[2].downstream.status, plays[2].downstream.fields()["x-mesh-error"]) == (503, "json_overflow")
    await plays[1].until(lambda: plays[1].upstream.ended)
    again = Play(b"REPORT", b"/v1/search", end=False, kind=JSON)
    again.handler.on_data(body, True)
    await again.until(lambda: again.upstream.ended)


async def test_an_answer_cut_in_a_message_fails() -> None:
    play = Play(b"GET", b"/v1/messages/1")
    play.stream.send_head(OK, False)
    play.stream.send_data(framed(b"abc")[:-1], False)
    play.stream.send_trailers(DONE)
    assert (play.downstream.status, play.value["code"]) == (500, 13)


@pytest.mark.parametrize(
    ("messages", "status", "says"),
    [
        ((), 500, "without a message"),
        ((b"", b""), 500, "more than one message"),
        ((b"\xff\xff",), 500, "is no library.v1.Message"),
    ],
)
async def test_unary_answers_that_are_none(messages: tuple[bytes, ...], status: int, says: str) -> None:
    play = Play(b"GET", b"/v1/messages/1")
    play.answer(*messages)
    assert play.downstream.status == status
    assert says in play.value["message"]


async def test_a_call_broken_off() -> None:
    unary = Play(b"GET", b"/v1/messages/1")
    unary.stream.reset(ResetReason.INTERNAL)
    assert (unary.downstream.status, unary.value["code"]) == (503, 14)
    listed = Play(b"GET", LIST)
    listed.stream.send_head(OK, False)
    listed.stream.send_data(framed(b""), False)
    listed.stream.reset(ResetReason.INTERNAL)
    assert json.loads(listed.downstream.data.splitlines()[-1])["error"]["code"] == 14
    assert (listed.downstream.ended, listed.downstream.resets) == (True, [])


async def test_an_answer_that_is_not_grpc_is_given_up() -> None:
    play = Play(b"GET", b"/v1/messages/1")
    play.stream.send_head(ResponseHead(404, [(b"content-type", b"text/html")]), False)
    assert (play.downstream.status, play.upstream.resets) == (501, [ResetReason.BAD_ANSWER])
    play.stream.send_data(b"<html>", True)


def test_what_is_not_bound_is_the_apps_own_unless_it_speaks_grpc_only() -> None:
    ask = RequestHead(b"GET", b"/%ff", b"a", [])
    assert transcoder(only=False).start(Upstream(), Downstream(), ask, True, []) is None
    assert not transcoder(only=False).takes(ask)
    assert transcoder().start(Upstream(), Downstream(), ask, True, []) is not None


PATHS = st.sampled_from(
    (
        b"/v1/messages/1",
        b"/v1/search?text=a",
        LIST,
        b"/v1/shelves/1:follow",
        b"/v1/files/a",
        b"/v1/fail/3",
        b"/%ff",
        b"*",
    )
) | st.binary(max_size=20).map(lambda rest: b"/v1/" + rest)
METHODS = st.sampled_from((b"GET", b"PATCH", b"PUT", b"POST", b"REPORT", b"HEAD", b"OPTIONS", b"CONNECT", b"\xff"))
KINDS = st.sampled_from((None, JSON, b"text/plain", b"\xff"))
SAID = st.sampled_from(("ask", "head", "html", "failed", "data", "raw", "trailers", "reset", "gone", "writable"))


@settings(max_examples=400)
@given(
    METHODS, PATHS, KINDS, st.booleans(), st.lists(st.tuples(SAID, st.binary(max_size=20), st.booleans()), max_size=12)
)
async def test_whatever_comes_the_answer_is_well_formed(
    method: bytes, path: bytes, kind: bytes | None, end: bool, said: list[tuple[str, bytes, bool]]
) -> None:
    """Each side keeps to the rules of streams, and says what it likes in them; Downstream insists on the answer."""
    play = Play(method, path, end=end, kind=kind)
    handler: RequestHandler = play.handler
    asked = end
    begun = answered = False
    for what, data, last in said:
        if what == "ask" and not asked:
            asked = last
            handler.on_data(data, last)
        elif what == "gone":
            handler.on_reset(ResetReason.PEER_RESET)
            return
        elif what == "writable":
            handler.on_writable(last)
        elif play.upstream.stream is None or answered:
            continue
        elif what == "reset":
            answered = True
            play.stream.reset(ResetReason.INTERNAL)
        elif what in ("head", "html", "failed") and not begun:
            begun, answered = True, what == "failed" or last
            heads = {
                "head": OK,
                "html": ResponseHead(502, []),
                "failed": ResponseHead(200, [*OK.fields, *said_status(data)]),
            }
            play.stream.send_head(heads[what], answered)
        elif what in ("data", "raw") and begun:
            answered = last
            play.stream.send_data(framed(data) if what == "data" else data, last)
        elif what == "trailers" and begun:
            answered = True
            play.stream.send_trailers(said_status(data))
    if answered:
        assert play.downstream.ended
    handler.on_reset(ResetReason.PEER_RESET)


def said_status(data: bytes) -> Fields:
    return [(b"grpc-status", data[:2]), (b"grpc-message", data[2:])]
