"""Templates of google.api.http against their grammar, and the table against a matcher that tries one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.sidecar.translate.path_template import PathTable, parse_template


def find(template: str, path: str) -> list[tuple[str, str]] | None:
    """Fields and values, or None where the path does not match."""
    table: PathTable[str] = PathTable()
    table.add("GET", parse_template(template), "target")
    found = table.find("GET", path)
    return None if found is None else [(".".join(names), value) for names, value in found.bound]


@pytest.mark.parametrize(
    ("template", "path", "bound"),
    [
        ("/v1/messages/{message_id}", "/v1/messages/123", [("message_id", "123")]),
        ("/v1/messages/{message_id}", "/v1/messages/", None),
        ("/v1/messages/{message_id}", "/v1/messages/1/2", None),
        ("/v1/{name=shelves/*/books/*}", "/v1/shelves/1/books/2", [("name", "shelves/1/books/2")]),
        ("/v1/{name=shelves/*}", "/v1/shelves/1", [("name", "shelves/1")]),
        ("/v1/{a.b.c}/{d}", "/v1/1/2", [("a.b.c", "1"), ("d", "2")]),
        ("/v1/{name=**}", "/v1", [("name", "")]),
        ("/v1/{name=**}", "/v1/a/b", [("name", "a/b")]),
        ("/v1/{name=**}/tail", "/v1/a/b/tail", [("name", "a/b")]),
        ("/v1/{name=**}:act", "/v1/a/b:act", [("name", "a/b")]),
        ("/v1/{name=a/**}/x/{y}", "/v1/a/b/c/x/d", [("name", "a/b/c"), ("y", "d")]),
        ("/v1/*/x", "/v1/any/x", []),
        ("/v1/{id}:archive", "/v1/7:archive", [("id", "7")]),
        ("/v1/{id}:archive", "/v1/7", None),
        ("/v1/{id}", "/v1/7:archive", [("id", "7:archive")]),
        ("/v1/{id}", "/v1/a%2Fb%20c", [("id", "a/b c")]),
        ("/v1/{id=x/*}", "/v1/x/a%2Fb%20c", [("id", "x/a%2Fb c")]),
        ("/v1/{id=x/*}", "/v1/x/a%2fb", [("id", "x/a%2fb")]),
        ("/v1/caf%C3%A9", "/v1/caf%c3%a9", []),
        ("/", "/", []),
        ("/", "/a", None),
    ],
)
def test_examples(template: str, path: str, bound: list[tuple[str, str]] | None) -> None:
    assert find(template, path) == bound


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("v1", "does not begin with /"),
        ("", "does not begin with /"),
        ("/v1/{}", "names no field"),
        ("/v1/{a", "neither a word nor"),
        ("/v1/{a=}", "neither a word nor"),
        ("/v1/a*", "neither a word nor"),
        ("/v1//x", "neither a word nor"),
        ("/v1/{a=**}/**", "twice"),
        ("/v1/{a}/{a}", "binds a field twice"),
        ("/v1/{a={b}}", "neither a word nor"),
        ("/v1:a b", "not a word"),
    ],
)
def test_bad_templates_are_told(template: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_template(template)


def test_the_most_specific_wins() -> None:
    table: PathTable[str] = PathTable()
    for template in ("/v1/**", "/v1/{a}/b", "/v1/x/{b}", "/v1/x/b", "/v1/x/b:act", "/{a}/x/b"):
        table.add("GET", parse_template(template), template)
    for path, expected in (
        ("/v1/x/b", "/v1/x/b"),
        ("/v1/x/b:act", "/v1/x/b:act"),
        ("/v1/x/c", "/v1/x/{b}"),
        ("/v1/y/b", "/v1/{a}/b"),
        ("/v1/y/c", "/v1/**"),
        ("/v2/x/b", "/{a}/x/b"),
    ):
        found = table.find("GET", path)
        assert found is not None
        assert found.target == expected


def test_methods_are_kept_apart() -> None:
    table: PathTable[str] = PathTable()
    table.add("GET", parse_template("/a/{b}"), "get")
    table.add("*", parse_template("/a/{c}"), "any")
    assert (table.find("GET", "/a/1") or table).target == "get"  # type: ignore[union-attr]
    assert (table.find("PUT", "/a/1") or table).target == "any"  # type: ignore[union-attr]
    assert table.methods("/a/1") == {"GET", "*"}
    assert table.methods("/b") == set()
    with pytest.raises(ValueError, match="bound twice"):
        table.add("GET", parse_template("/a/*"), "again")


WORDS = st.sampled_from(("a", "b", "v1"))
TEMPLATES = st.lists(st.one_of(WORDS, st.just("*"), st.just("**")), max_size=4).filter(lambda t: t.count("**") < 2)


def matches(template: Sequence[str], segments: Sequence[str]) -> bool:
    if not template:
        return not segments
    first, rest = template[0], template[1:]
    if first == "**":
        return any(matches(rest, segments[at:]) for at in range(len(segments) + 1))
    return (
        bool(segments)
        and (first == segments[0] or (first == "*" and segments[0] != ""))
        and matches(rest, segments[1:])
    )


@given(
    st.lists(TEMPLATES, max_size=6, unique_by=tuple), st.lists(st.sampled_from(("a", "b", "v1", "c", "")), max_size=5)
)
def test_the_table_finds_what_matches(templates: list[list[str]], segments: list[str]) -> None:
    table: PathTable[int] = PathTable()
    for number, template in enumerate(templates):
        table.add("GET", parse_template("/" + "/".join(template)), number)
    found = table.find("GET", "/" + "/".join(segments))
    # "/" has no segment, not one that is empty.
    read = [] if segments in ([], [""]) else segments
    matching = {number for number, template in enumerate(templates) if matches(template, read)}
    assert (found is None) == (not matching)
    assert found is None or found.target in matching


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_values_come_as_they_were_encoded(values: list[str]) -> None:
    template = "/" + "/".join(f"{{f{number}}}" for number in range(len(values)))
    bound = find(template, "/" + "/".join(quote(value, safe="") for value in values))
    assert bound == [(f"f{number}", value) for number, value in enumerate(values)]


@given(st.text())
def test_any_text_is_a_template_or_told(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_template(text)


@given(st.text(alphabet="/:%*{}aF2é", max_size=40))
def test_any_path_is_found_or_not(path: str) -> None:
    table: PathTable[str] = PathTable()
    for template in ("/{a=**}:v", "/a/{b}/{c=**}", "/a/*"):
        table.add("GET", parse_template(template), template)
    try:
        table.find("GET", "/" + path)
    except UnicodeDecodeError:
        assert "%" in path
