from __future__ import annotations

import pytest

from remora.model.address import Address
from remora.sidecar.source.addresses import parse_addresses


def test_several_with_and_without_port() -> None:
    assert parse_addresses("a:1, b ,[::1]:2,a:1") == (Address("a", 1), Address("b", 15010), Address("::1", 2))
    assert [str(address) for address in parse_addresses("a:1,[::1]:2")] == ["a:1", "[::1]:2"]


@pytest.mark.parametrize("text", ["a:x", ":15010", "a:0", "http://a:1", "a:99999", "[::1"])
def test_a_bad_one_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address of control; write HOST:PORT") as caught:
        parse_addresses(f"ok:1,{text}")
    assert text in str(caught.value)


def test_none_at_all() -> None:
    with pytest.raises(ValueError, match="has no address"):
        parse_addresses(" , ")
