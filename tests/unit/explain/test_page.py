"""Questions, as people and the command ask them."""

from __future__ import annotations

import pytest

from remora.sidecar.explain.page import QuestionError, ask, query_of, read_query


def test_a_question_comes_through_a_query_as_it_is() -> None:
    asked = ask("get", "http://shop:8080/a b/é?x=1&y=%2F", (("x-group", "beta & co"), ("accept", "*/*")), "")
    assert (asked.method, asked.authority, asked.path) == ("GET", "shop:8080", "/a%20b/%C3%A9?x=1&y=%2F")
    assert read_query(query_of(asked)) == asked


def test_people_may_ask_by_url() -> None:
    asked = read_query("url=http://shop/a&header=x-a:+1&header=x-b:+2")
    assert (asked.method, asked.authority, asked.path) == ("GET", "shop", "/a")
    assert asked.headers == (("x-a", "1"), ("x-b", "2"))


@pytest.mark.parametrize(
    ("url", "authority", "path"), [("shop", "shop", "/"), ("shop/a", "shop", "/a"), ("/a", "s", "/a")]
)
def test_short_forms_are_understood(url: str, authority: str, path: str) -> None:
    asked = ask("GET", url, (), "s" if url.startswith("/") else "")
    assert (asked.authority, asked.path) == (authority, path)


@pytest.mark.parametrize("query", ["", "url=/a", "url=http://[::1/", "url=http://shop/&header=nonsense"])
def test_what_is_no_question_is_refused(query: str) -> None:
    with pytest.raises(QuestionError):
        read_query(query)
