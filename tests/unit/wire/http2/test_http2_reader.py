"""Reading blocks from memory gives what reading each anew would give."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.wire.heads import RequestHead, ResponseHead, size_of
from remora.sidecar.wire.hpack import NO_DYNAMIC_TABLE, HpackError
from remora.sidecar.wire.http2.blocks import request_block, response_block, trailers_block
from remora.sidecar.wire.http2.errors import Http2StreamError
from remora.sidecar.wire.http2.reader import BlockReader
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.refused import RefusedError

START = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/a"), (b":authority", b"a")]
fields = st.lists(
    st.tuples(
        st.sampled_from([b"x-a", b"x-b", b"traceparent", b"x-request-id", b"grpc-timeout", b"cookie"]),
        st.sampled_from([b"", b"1", b"22", b"3" * 60]),
    ),
    max_size=5,
)
kinds = st.sampled_from(["library", "raw", "ours"])


def facts(head: RequestHead) -> tuple[object, ...]:
    found = (getattr(head, name) for name in dir(head) if not name.startswith("_"))
    return tuple(fact for fact in found if not callable(fact))


def first(values: list[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    return next((value for key, value in values if key == name), None)


@given(st.lists(st.tuples(fields, kinds), max_size=25), st.integers(0, 300))
def test_requests(requests: list[tuple[list[tuple[bytes, bytes]], str]], table: int) -> None:
    encoder, reader = hpack.Encoder(), BlockReader(RequestLimits())
    for number, (extra, kind) in enumerate(requests):
        if number == 10:
            encoder.header_table_size = table
        if kind == "library":
            block = encoder.encode([*START, *extra])
        elif kind == "raw":
            # Without indexing, so that the table stays and memory can serve.
            block = b"\x82\x86\x04\x02/a\x01\x01a" + trailers_block(extra)
        else:
            block = request_block(RequestHead(b"GET", b"/a", b"a", extra))
        head = reader.request(block)
        assert (head.method, head.scheme, head.path, head.authority) == (b"GET", b"http", b"/a", b"a")
        assert head.trace_parent == first(extra, b"traceparent")
        assert head.request_id == first(extra, b"x-request-id")
        assert head.grpc_timeout == first(extra, b"grpc-timeout")
        cookies = [value for name, value in extra if name == b"cookie"]
        expected = [field for field in extra if field[0] in (b"x-a", b"x-b")]
        assert [field for field in head.fields if field[0] != b"cookie"] == expected
        assert first(head.fields, b"cookie") == (b"; ".join(cookies) if cookies else None)
        head.path = b"/changed by a handler"


@given(
    st.lists(
        st.builds(
            RequestHead,
            st.sampled_from([b"GET", b"POST"]),
            st.sampled_from([b"/", b"/a.B/C", b"/" + b"p" * 300]),
            st.sampled_from([b"a", b"greeter:80"]),
            st.sampled_from([[], [(b"te", b"trailers")], [(b"x-a", b"1"), (b"x-b", b"v" * 200)]]),
            content_length=st.none() | st.integers(0, 10**12),
            content_type=st.sampled_from([None, b"application/grpc"]),
            expect_continue=st.booleans(),
            trace_parent=st.none() | st.sampled_from([b"00-1", b"00-2", b"3" * 130]),
            request_id=st.none() | st.sampled_from([b"r1", b"r22"]),
            grpc_timeout=st.none() | st.sampled_from([b"1S", b"999m"]),
        ),
        max_size=20,
    )
)
def test_heads_come_back_as_they_were_sent(heads: list[RequestHead]) -> None:
    reader = BlockReader(RequestLimits())
    opening = NO_DYNAMIC_TABLE
    for head in heads:
        assert facts(reader.request(opening + request_block(head))) == facts(head)
        opening = b""


@given(st.lists(st.tuples(st.integers(100, 599), fields, st.none() | st.integers(0, 10**9)), max_size=20))
def test_responses_and_trailers_come_back_as_they_were_sent(
    responses: list[tuple[int, list[tuple[bytes, bytes]], int | None]],
) -> None:
    reader = BlockReader(RequestLimits())
    for status, extra, length in responses:
        if status == 101:
            continue
        head = reader.response(response_block(ResponseHead(status, extra, content_length=length)))
        assert (head.status, head.fields, head.content_length) == (status, extra, length)
        assert reader.trailers(trailers_block(extra)) == extra


def test_a_resize_is_never_skipped() -> None:
    """A block that takes the table away looks the same each time, and has to take it away each time."""
    reader = BlockReader(RequestLimits())
    start = b"\x82\x86\x84\x01\x01a"
    shrink, grow = b"\x20" + start, b"\x3f\xe1\x1f" + start
    for block in (shrink, grow, shrink):
        assert reader.request(block).path == b"/"
    reader.request(start + b"\x40\x01x\x01y")
    with pytest.raises(HpackError):
        reader.request(start + b"\xbe")


def test_what_varies_is_checked_even_when_the_start_is_known() -> None:
    reader = BlockReader(RequestLimits())
    for number in range(3):
        reader.request(request_block(RequestHead(b"GET", b"/", b"a", [], trace_parent=b"0%d" % number)))
    with pytest.raises(Http2StreamError):
        reader.request(request_block(RequestHead(b"GET", b"/", b"a", [], trace_parent=b"0\n")))


def test_a_head_over_the_limit_is_refused_even_when_its_start_is_known() -> None:
    """Two rests of one length, so that the start is found for the second too: there each byte is a whole field."""
    reader = BlockReader(RequestLimits(head_bytes=250))
    start = request_block(RequestHead(b"GET", b"/", b"a", []))
    one = trailers_block([(b"traceparent", b"1" * 29)])
    two = b"\x90" * len(one)  # accept-encoding: gzip, deflate
    assert reader.request(start + one).trace_parent == b"1" * 29
    with pytest.raises(RefusedError):
        reader.request(start + two)


def test_what_the_mesh_adds_does_not_make_a_head_too_large() -> None:
    fields = [(b"x-%d" % number, b"v" * 20) for number in range(10)]
    own = RequestHead(b"GET", b"/", b"a", fields)
    reader = BlockReader(RequestLimits(head_bytes=size_of(own)))
    start = request_block(own)
    added = [(b"traceparent", b"1" * 55), (b"x-request-id", b"2" * 36), (b"via", b"1.1 a-name-of-some-length")]
    assert reader.request(start + trailers_block(added)).trace_parent == b"1" * 55
    with pytest.raises(RefusedError):
        reader.request(start + trailers_block([*added, (b"x", b"")]))
