"""Reading the list of etcd's members."""

from __future__ import annotations

import pytest

from remora.control.store.etcd import Endpoint, EtcdCredentials, EtcdStore, parse_endpoints


def test_one_or_several_with_or_without_port() -> None:
    assert parse_endpoints("http://127.0.0.1:2379") == (Endpoint("127.0.0.1", 2379),)
    assert parse_endpoints(" https://a:1, https://b/ ,") == (Endpoint("a", 1, tls=True), Endpoint("b", 2379, tls=True))
    assert parse_endpoints("http://[::1]:2379") == (Endpoint("::1", 2379),)


@pytest.mark.parametrize("text", ["http://a:1", "https://b:2", "http://[::1]:3"])
def test_an_endpoint_prints_as_its_url(text: str) -> None:
    assert str(parse_endpoints(text)[0]) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "name no member"),
        (" , ", "name no member"),
        ("127.0.0.1:2379", "'127.0.0.1:2379' is not http://HOST:PORT"),
        ("localhost:2379", "'localhost:2379' is not http://HOST:PORT"),
        ("etcd", "is not http://HOST:PORT"),
        ("ftp://a:1", "is not http://HOST:PORT"),
        ("http://:2379", "is not http://HOST:PORT"),
        ("http://a:0", "is not http://HOST:PORT"),
        ("http://a:70000", "out of range"),
        ("http://a:port", "is not http://HOST:PORT"),
        ("http://[::1:2379", "is not http://HOST:PORT"),
        ("http://a:1/v3", "is not http://HOST:PORT"),
        ("http://a:1?x=1", "is not http://HOST:PORT"),
        ("http://a:1,http://a:1", "twice"),
        ("http://a:1,https://b:1", "mix http and https"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        parse_endpoints(text)
    assert "\n" not in str(raised.value)


def test_a_password_in_an_endpoint_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="by their own options") as raised:
        parse_endpoints("http://root:secret@a:1")
    assert "secret" not in str(raised.value)


def test_a_password_is_not_printed() -> None:
    assert "secret" not in repr(EtcdCredentials("root", "secret"))


def test_a_store_needs_a_member() -> None:
    with pytest.raises(ValueError, match="at least one endpoint"):
        EtcdStore(())
