"""HPACK, judged by the `hpack` library as encoder and as decoder."""

from __future__ import annotations

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import example, given
from hypothesis import strategies as st

from remora.sidecar.wire.hpack import (
    NO_DYNAMIC_TABLE,
    Decoder,
    HpackBombError,
    HpackError,
    NeverIndexed,
    encode_field,
    encode_int,
)
from remora.sidecar.wire.hpack.huffman import huffman_decode

LIST_BYTES = 64 * 1024

names = st.sampled_from([b":path", b":method", b"te", b"cookie", b"x-a", b"authorization"]) | st.binary(min_size=1)
values = st.sampled_from([b"", b"GET", b"trailers", b"/", b"a" * 200]) | st.binary(max_size=300)
field_lists = st.lists(st.tuples(names, values), max_size=12)


def decoder() -> Decoder:
    return Decoder(max_list_bytes=LIST_BYTES)


@given(blocks=st.lists(field_lists, max_size=6), huffman=st.booleans(), table=st.integers(0, 4096))
def test_what_the_library_encodes_is_decoded(
    blocks: list[list[tuple[bytes, bytes]]], huffman: bool, table: int
) -> None:
    encoder, ours = hpack.Encoder(), decoder()
    for number, fields in enumerate(blocks):
        if number == 2:
            encoder.header_table_size = table
        assert ours.decode(encoder.encode(fields, huffman=huffman)) == fields


@given(blocks=st.lists(field_lists, max_size=4))
def test_the_library_decodes_what_we_encode(blocks: list[list[tuple[bytes, bytes]]]) -> None:
    library = hpack.Decoder()
    opening = NO_DYNAMIC_TABLE
    for fields in blocks:
        assert library.decode(opening + b"".join(map(encode_field, fields)), raw=True) == fields
        opening = b""


@given(st.binary(max_size=400))
@example(bytes(range(256)))
def test_huffman_reads_what_the_library_writes(data: bytes) -> None:
    coded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(data)
    assert huffman_decode(coded) == data


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(block: bytes) -> None:
    library, ours = hpack.Decoder(), decoder()
    library.max_header_list_size = 1 << 20
    try:
        expected = library.decode(block, raw=True)
    except hpack.HPACKError:
        expected = None
    try:
        fields = ours.decode(block)
    except HpackError:
        # The library takes integers of any length, a size update anywhere and some paddings; we may refuse more.
        return
    assert fields == expected


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xbe",  # index 62 of an empty dynamic table
        b"\xff\x80\x80\x80\x80\x80\x01",  # an integer without end
        b"\x00\x05ab",  # a name longer than the block
        b"\x00",  # a field that ends early
        b"\x82\x20",  # a size update after a field
        b"\x3f\xe2\x1f",  # a table of 4097 bytes
        b"\x00\x01a\x84\xff\xff\xff\xff",  # EOS
        b"\x00\x01a\x81\x00",  # padding with zeros
        b"\x00\x01a\x82\x1f\xff",  # padding of a whole byte
    ],
)
def test_broken_blocks_are_refused(block: bytes) -> None:
    with pytest.raises(HpackError):
        decoder().decode(block)


def test_a_list_over_the_limit_is_cut_and_the_table_still_follows() -> None:
    encoder = hpack.Encoder()
    ours = Decoder(max_list_bytes=100)
    fields = [(b"x-a", b"1" * 60), (b"x-b", b"2" * 60)]
    assert ours.decode(encoder.encode(fields)) == fields[:1]
    assert ours.list_bytes == 190
    assert ours.decode(encoder.encode(fields[1:])) == fields[1:]


def test_a_block_that_unfolds_without_end_is_a_bomb() -> None:
    ours = decoder()
    ours.decode(b"\x40\x01a" + encode_int(4000, 0x7F, 0) + b"v" * 4000)
    with pytest.raises(HpackBombError):
        ours.decode(b"\xbe" * 1000)


@pytest.mark.parametrize("name", [b"authorization", b"cookie", b"set-cookie", b"proxy-authorization"])
def test_secrets_are_never_indexed(name: bytes) -> None:
    (field,) = hpack.Decoder().decode(encode_field((name, b"secret")), raw=True)
    assert isinstance(field, hpack.NeverIndexedHeaderTuple)


def test_never_indexed_fields_stay_so_on_the_next_hop() -> None:
    block = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(b"x-key", b"secret")])
    (field,) = decoder().decode(block)
    assert field == (b"x-key", b"secret")
    assert isinstance(field[1], NeverIndexed)
    (passed_on,) = hpack.Decoder().decode(encode_field(field), raw=True)
    assert isinstance(passed_on, hpack.NeverIndexedHeaderTuple)


def test_never_indexed_pseudo_fields_can_be_looked_up() -> None:
    block = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(b":method", b"PATCH")])
    ((_, method),) = decoder().decode(block)
    assert method in {b"PATCH"}


def test_the_first_volatile_field_is_found() -> None:
    ours = Decoder(max_list_bytes=LIST_BYTES, volatile=frozenset([b"traceparent"]))
    start = encode_field((b"x-a", b"1")) + b"\x82"
    ours.decode(start + encode_field((b"traceparent", b"00-1")))
    assert (ours.volatile_offset, ours.volatile_count) == (len(start), 2)
    ours.decode(start)
    assert ours.volatile_offset == -1
