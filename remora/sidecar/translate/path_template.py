"""Path templates of `google.api.http` (google/api/http.proto, "Path template syntax") and a table that finds them.

    Template = "/" Segments [ ":" Verb ]     Segment = "*" | "**" | Literal | "{" FieldPath [ "=" Segments ] "}"

Of several templates that match a path the most specific is found: segment by segment a literal goes before `*`, and `*`
before `**`. (grpc-gateway takes the one declared last.) `*` takes one segment that is not empty, `**` any number. As in
published APIs, `**` may stand before other segments, once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Generic, TypeVar
from urllib.parse import unquote

FieldPath = tuple[str, ...]
"""Names of nested fields, from the outside in."""

ANY_METHOD = "*"
"""The method of a rule for all methods."""

_LITERAL = re.compile(r"[A-Za-z0-9\-._~%!$&'()+,;=:@]+")
_FIELD_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_SLASH_OUTSIDE_BRACES = re.compile(r"/(?![^{}]*\})")
_ENCODED_SLASH = re.compile(r"(%2[Ff])")

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Variable:
    """A field that is bound to the segments from `start` up to, not with, `end` of its template."""

    field: FieldPath
    start: int
    end: int
    is_multi: bool
    """Binds more than one `*`: an encoded slash stays encoded in it (google/api/http.proto)."""


@dataclasses.dataclass(frozen=True, slots=True)
class PathTemplate:
    """A parsed template. `segments` are literals, `*` and `**`."""

    segments: tuple[str, ...]
    variables: tuple[Variable, ...]
    verb: str

    def bind(self, raw: list[str]) -> list[tuple[FieldPath, str]]:
        """Values of the variables in a path's segments, still encoded, which match. UnicodeDecodeError: not UTF-8."""
        rest = self.segments.index("**") if "**" in self.segments else len(self.segments)
        longer = len(raw) - len(self.segments)
        bound = []
        for variable in self.variables:
            start, end = (at if at <= rest else at + longer for at in (variable.start, variable.end))
            text = "/".join(raw[start:end])
            bound.append((variable.field, _decode_all_but_slash(text) if variable.is_multi else _decode(text)))
        return bound


def parse_template(text: str) -> PathTemplate:
    """The template of `text`; ValueError says what is wrong."""
    if not text.startswith("/"):
        raise ValueError(f"the path {text!r} does not begin with /")
    body, verb = _split_verb(text)
    segments: list[str] = []
    variables: list[Variable] = []
    for piece in _SLASH_OUTSIDE_BRACES.split(body[1:]) if body != "/" else []:
        if piece.startswith("{") and piece.endswith("}"):
            variable, inner = _parse_variable(piece[1:-1], len(segments), text)
            variables.append(variable)
            segments += inner
        else:
            segments.append(piece)
    _check(segments, variables, verb, text)
    return PathTemplate(tuple(segments), tuple(variables), verb)


def _split_verb(text: str) -> tuple[str, str]:
    colon = text.rfind(":")
    if colon < max(text.rfind("/"), text.rfind("}")):
        return text, ""
    return text[:colon], text[colon + 1 :]


def _parse_variable(text: str, start: int, template: str) -> tuple[Variable, list[str]]:
    name, equals, pattern = text.partition("=")
    if not _FIELD_PATH.fullmatch(name):
        raise ValueError(f"the path {template!r} has {{{text}}}, which names no field")
    segments = pattern.split("/") if equals else ["*"]
    is_multi = len(segments) > 1 or segments[0] == "**"
    return Variable(tuple(name.split(".")), start, start + len(segments), is_multi), segments


def _check(segments: list[str], variables: list[Variable], verb: str, template: str) -> None:
    for segment in segments:
        if segment not in ("*", "**") and not _LITERAL.fullmatch(segment):
            raise ValueError(f"the path {template!r} has the segment {segment!r}, which is neither a word nor *")
    if segments.count("**") > 1:
        raise ValueError(f"the path {template!r} has ** twice: a path could be read in several ways")
    fields = [variable.field for variable in variables]
    if len(set(fields)) < len(fields):
        raise ValueError(f"the path {template!r} binds a field twice")
    if verb and not _LITERAL.fullmatch(verb):
        raise ValueError(f"the path {template!r} has the verb {verb!r}, which is not a word")


def _decode(text: str) -> str:
    return unquote(text, errors="strict")


def _decode_all_but_slash(text: str) -> str:
    parts = _ENCODED_SLASH.split(text)
    return "".join(part if index & 1 else _decode(part) for index, part in enumerate(parts))


class _Node(Generic[T]):
    """A place in the tree of all templates' segments."""

    __slots__ = ("ends", "literals", "rest", "star")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.star: _Node[T] | None = None
        self.rest: _Node[T] | None = None
        self.ends: dict[tuple[str, str], tuple[PathTemplate, T]] = {}
        """What ends here, by verb and method."""


@dataclasses.dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """A target, and the fields that the path gives it."""

    target: T
    bound: list[tuple[FieldPath, str]]


class PathTable(Generic[T]):
    """Targets by method and template."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, method: str, template: PathTemplate, target: T) -> None:
        """Have `target` found. ValueError: the same method and path are taken."""
        node = self._root
        for segment in template.segments:
            if segment == "*":
                node.star = node = node.star or _Node()
            elif segment == "**":
                node.rest = node = node.rest or _Node()
            else:
                node = node.literals.setdefault(_decode(segment), _Node())
        if (template.verb, method) in node.ends:
            raise ValueError(f"{method} of the same path is bound twice")
        node.ends[template.verb, method] = template, target

    def find(self, method: str, path: str) -> Found[T] | None:
        """The target of a request; `path` begins with / and has no query. UnicodeDecodeError: it is not UTF-8."""
        for segments, verb in _readings(path):
            decoded = [_decode(segment) for segment in segments]
            for node in _ends(self._root, decoded, 0):
                end = node.ends.get((verb, method)) or node.ends.get((verb, ANY_METHOD))
                if end is not None:
                    template, target = end
                    return Found(target, template.bind(segments))
        return None

    def methods(self, path: str) -> set[str]:
        """The methods that the path could be asked with."""
        found: set[str] = set()
        for segments, verb in _readings(path):
            for node in _ends(self._root, [_decode(segment) for segment in segments], 0):
                found |= {method for known, method in node.ends if known == verb}
        return found


def _readings(path: str) -> Iterator[tuple[list[str], str]]:
    """The path's segments with what follows the last colon as the verb, and without a verb."""
    segments = path[1:].split("/") if path != "/" else []
    if segments and ":" in segments[-1]:
        last, _, verb = segments[-1].rpartition(":")
        yield [*segments[:-1], last], verb
    yield segments, ""


def _ends(node: _Node[T], segments: list[str], at: int) -> Iterator[_Node[T]]:
    """The nodes where a path may end, the most specific first."""
    if at == len(segments):
        if node.ends:
            yield node
    else:
        segment = segments[at]
        literal = node.literals.get(segment)
        if literal is not None:
            yield from _ends(literal, segments, at + 1)
        if node.star is not None and segment:
            yield from _ends(node.star, segments, at + 1)
    if node.rest is not None:
        for after in range(len(segments), at - 1, -1):
            yield from _ends(node.rest, segments, after)
