"""What a route asks of a request beside its path, as conditions that can be tried and told."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import parse_qsl

from remora.model.names import split_authority
from remora.model.regex import Regex, compile_regex
from remora.model.routes import FieldMatch, PathMatch, Route, RouteMatch
from remora.sidecar.wire.heads import RequestHead

DEFAULT_PORT = 80
"""Of an authority that names none."""


class Condition:
    """One of them. Its text says what is asked for."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @abstractmethod
    def holds(self, head: RequestHead) -> bool:
        """Whether it is so of the request."""

    @abstractmethod
    def seen(self, head: RequestHead) -> str:
        """What the request has there, for people."""


class _Method(Condition):
    __slots__ = ("_method",)

    def __init__(self, method: str) -> None:
        Condition.__init__(self, f"method is {method}")
        self._method = method.encode()

    def holds(self, head: RequestHead) -> bool:
        return head.method == self._method

    def seen(self, head: RequestHead) -> str:
        return f"it is {_text(head.method)}"


class _IsGrpc(Condition):
    __slots__ = ()

    def __init__(self) -> None:
        Condition.__init__(self, "it is a gRPC call (content-type application/grpc)")

    def holds(self, head: RequestHead) -> bool:
        return head.is_grpc

    def seen(self, head: RequestHead) -> str:
        return "it has none" if head.content_type is None else f"it is {_text(head.content_type)}"


class _Host(Condition):
    __slots__ = ("_patterns",)

    def __init__(self, patterns: Sequence[str]) -> None:
        Condition.__init__(self, f"host is {' or '.join(patterns)}")
        self._patterns = tuple(patterns)

    def holds(self, head: RequestHead) -> bool:
        host = host_of(head.authority)
        return any(
            host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:])) for pattern in self._patterns
        )

    def seen(self, head: RequestHead) -> str:
        return f"it is {host_of(head.authority)}"


class _Port(Condition):
    __slots__ = ("_port",)

    def __init__(self, port: int) -> None:
        Condition.__init__(self, f"port is {port}")
        self._port = port

    def holds(self, head: RequestHead) -> bool:
        try:
            port = split_authority(head.authority.decode("latin-1"))[1]
        except ValueError:
            return False
        return (DEFAULT_PORT if port is None else port) == self._port

    def seen(self, head: RequestHead) -> str:
        return f"the authority is {_text(head.authority)}"


class _Path(Condition):
    """Exact, or a prefix of whole segments."""

    __slots__ = ("_below", "_exact")

    def __init__(self, path: PathMatch) -> None:
        is_prefix = path.kind == "prefix"
        Condition.__init__(self, f"path is {'at or below ' if is_prefix else ''}{path.value}")
        self._exact = path.value.encode()
        self._below = self._exact.rstrip(b"/") + b"/" if is_prefix else None

    def holds(self, head: RequestHead) -> bool:
        path = head.path.partition(b"?")[0]
        return path == self._exact or (self._below is not None and path.startswith(self._below))

    def seen(self, head: RequestHead) -> str:
        return f"it is {_text(head.path.partition(b'?')[0])}"


class _PathRegex(Condition):
    __slots__ = ("_regex",)

    def __init__(self, regex: str) -> None:
        Condition.__init__(self, f"path matches {regex}")
        self._regex = compile_regex(regex)

    def holds(self, head: RequestHead) -> bool:
        return self._regex.fullmatch(head.path.partition(b"?")[0]) is not None

    def seen(self, head: RequestHead) -> str:
        return f"it is {_text(head.path.partition(b'?')[0])}"


class _Header(Condition):
    __slots__ = ("_name", "_regex", "_value")

    def __init__(self, match: FieldMatch) -> None:
        Condition.__init__(self, f"header {match.name} {_told(match)}")
        self._name = match.name.encode()
        self._value = match.value.encode()
        self._regex: Regex | None = compile_regex(match.value) if match.kind == "regex" else None

    def holds(self, head: RequestHead) -> bool:
        value = request_field(head, self._name)
        if self._regex is not None:
            return value is not None and self._regex.fullmatch(value) is not None
        return value == self._value

    def seen(self, head: RequestHead) -> str:
        value = request_field(head, self._name)
        return "there is none" if value is None else f"it is {_text(value)}"


class _Query(Condition):
    __slots__ = ("_name", "_regex", "_value")

    def __init__(self, match: FieldMatch) -> None:
        Condition.__init__(self, f"query parameter {match.name} {_told(match)}")
        self._name = match.name
        self._value = match.value
        self._regex: Regex | None = compile_regex(match.value) if match.kind == "regex" else None

    def holds(self, head: RequestHead) -> bool:
        value = query_value(head.path, self._name)
        if self._regex is not None:
            return value is not None and self._regex.fullmatch(value.encode()) is not None
        return value == self._value

    def seen(self, head: RequestHead) -> str:
        value = query_value(head.path, self._name)
        return "there is none" if value is None else f"it is {value}"


def conditions_of(route: Route) -> tuple[Condition, ...]:
    """What must hold beside an exact path or a prefix. Raises RegexError."""
    found: list[Condition] = []
    if route.grpc_only:
        found.append(_IsGrpc())
    if route.hostnames:
        found.append(_Host(route.hostnames))
    return (*found, *_beside_path(route.match))


class Matcher:
    """Whether a request is one of those that some matches take; all are, where there are none."""

    __slots__ = ("_any",)

    def __init__(self, matches: Sequence[RouteMatch]) -> None:
        """Raises RegexError."""
        self._any = tuple(all_conditions(match) for match in matches)

    def takes(self, head: RequestHead) -> bool:
        return not self._any or any(all(each.holds(head) for each in match) for match in self._any)

    def missed(self, head: RequestHead) -> str:
        """Why a request is none of them, for people; empty when it is."""
        missed = [
            " and ".join(f"{each.text} ({each.seen(head)})" for each in match if not each.holds(head))
            for match in self._any
        ]
        return "" if "" in missed else "; or ".join(missed)

    def told(self) -> str:
        """Which requests these are, for people."""
        told = [" and ".join(each.text for each in match) for match in self._any]
        return "all requests" if not told or "" in told else "; or ".join(told)


def all_conditions(match: RouteMatch) -> tuple[Condition, ...]:
    """What a match asks for that has no index for its path. Raises RegexError."""
    path = match.path
    if path is None or path.kind == "regex":
        return _beside_path(match)
    return (_Path(path), *_beside_path(match))


def path_condition(path: PathMatch) -> Condition:
    """What a path is asked for, be it by an index. Raises RegexError."""
    return _PathRegex(path.value) if path.kind == "regex" else _Path(path)


def _beside_path(match: RouteMatch) -> tuple[Condition, ...]:
    found: list[Condition] = []
    if match.method:
        found.append(_Method(match.method))
    if match.port is not None:
        found.append(_Port(match.port))
    if match.path is not None and match.path.kind == "regex":
        found.append(_PathRegex(match.path.value))
    found += [_Header(item) for item in match.headers]
    found += [_Query(item) for item in match.query]
    return tuple(found)


def host_of(authority: bytes) -> str:
    """The host of an authority, lower case; empty when it is none."""
    try:
        return split_authority(authority.decode("latin-1"))[0]
    except ValueError:
        return ""


def request_field(head: RequestHead, name: bytes) -> bytes | None:
    """The value of a field, given in lower case, wherever the head has it; values of a repeated one are joined by
    commas (RFC 9110 §5.3), of Cookie by semicolons (RFC 9113 §8.2.3)."""
    if name == b"content-type":
        return head.content_type
    if name == b"x-request-id":
        return head.request_id
    if name == b"grpc-timeout":
        return head.grpc_timeout
    if name == b"host":
        return head.authority or None
    if name == b"content-length":
        return None if head.content_length is None else b"%d" % head.content_length
    joined: bytes | None = None
    separator = b"; " if name == b"cookie" else b","
    for key, value in head.fields:
        if key == name or key.lower() == name:
            joined = value if joined is None else joined + separator + value
    return joined


def query_value(target: bytes, name: str) -> str | None:
    """The value of a query parameter; of a repeated one the first counts (Gateway API HTTPQueryParamMatch)."""
    return _parameters(target).get(name)


@lru_cache(maxsize=8)
def _parameters(target: bytes) -> dict[str, str]:
    """Remembered, since every rule that asks for one asks of the same request: a query may have thousands."""
    query = target.partition(b"?")[2].decode("latin-1")
    return dict(reversed(parse_qsl(query, keep_blank_values=True)))


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _told(match: FieldMatch) -> str:
    return f"matches {match.value}" if match.kind == "regex" else f"is {match.value}"
