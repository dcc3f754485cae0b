"""Keys of requests: the first that there is, from wherever it is; and cookies that are made where there is none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remora.model.policies import HashKey
from remora.sidecar.routing.keys import KeyReader
from remora.sidecar.wire.heads import Fields, RequestHead

USER = HashKey("header", "x-user")
COOKIE = HashKey("cookie", "uid")
QUERY = HashKey("query", "u")
ADDRESS = HashKey("address")


def head(path: bytes = b"/", fields: Fields | None = None, **slots: object) -> RequestHead:
    return RequestHead(b"GET", path, b"shop", fields or [], **slots)  # type: ignore[arg-type]


def key_of(request: RequestHead, *keys: HashKey) -> bytes | None:
    answer: Fields = []
    found = KeyReader(keys).read(request, answer, 1)
    assert answer == []
    return found


def test_keys_are_read_from_wherever_they_are() -> None:
    request = head(b"/a?u=%E2%82%AC&u=2", [(b"X-User", b"ann"), (b"cookie", b"a=1; uid=c")], peer="10.0.0.1")
    assert key_of(request, USER) == b"ann"
    assert key_of(request, COOKIE) == b"c"
    assert key_of(request, QUERY) == "€".encode()
    assert key_of(request, ADDRESS) == b"10.0.0.1"
    assert key_of(head(content_type=b"text/plain"), HashKey("header", "content-type")) == b"text/plain"


def test_the_first_key_that_there_is_counts_and_an_empty_one_is_none() -> None:
    assert key_of(head(fields=[(b"x-user", b""), (b"cookie", b"uid=")]), USER, COOKIE, QUERY) is None
    assert key_of(head(b"/?u=q", [(b"cookie", b"uid=c")]), USER, COOKIE, QUERY) == b"c"
    assert key_of(head(), ADDRESS) is None


def test_an_address_is_that_of_the_first_who_was_forwarded_for() -> None:
    forwarded = head(fields=[(b"X-Forwarded-For", b"192.0.2.1, 10.0.0.2")], was_forwarded=True, peer="10.0.0.1")
    assert key_of(forwarded, ADDRESS) == b"192.0.2.1"


@given(st.integers(0, 2**64 - 1))
def test_a_cookie_is_made_once_where_a_request_has_no_key_and_read_back(bits: int) -> None:
    reader = KeyReader((HashKey("cookie", "uid", ttl_s=3600.0), USER))
    answer: Fields = []
    made = reader.read(head(), answer, bits)
    assert made is not None
    assert answer == [(b"set-cookie", b"uid=" + made + b"; Path=/; HttpOnly; Max-Age=3600")]
    assert reader.read(head(), answer, bits) == made
    assert len(answer) == 1
    assert reader.read(head(fields=[(b"cookie", b"uid=" + made)]), answer, 0) == made
    assert reader.read(head(fields=[(b"x-user", b"ann")]), answer, 0) == b"ann"
    assert len(answer) == 1


def test_a_cookie_for_the_browsers_session_has_no_age() -> None:
    answer: Fields = []
    KeyReader((HashKey("cookie", "uid", ttl_s=0.0),)).read(head(), answer, 7)
    assert answer == [(b"set-cookie", b"uid=0000000000000007; Path=/; HttpOnly")]
