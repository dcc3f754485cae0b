"""Text → documents: YAML (one or more documents), JSON, or a List of either, with every fault of every document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from remora.documents.checks import check
from remora.documents.errors import DocumentError, Fault, not_one_of
from remora.documents.kinds import KINDS, Document, DocumentKey, key_of
from remora.documents.shape import convert

MAX_DEPTH = 100
"""Of maps and lists in each other. libyaml composes recursively: a text that is deep enough would end the process."""
MAX_NODES = 100_000
"""Of one text, aliases expanded: far above any real file, far below what a bomb of aliases makes."""


class Parsed(msgspec.Struct, frozen=True):
    """The good documents of a text, in order, and all faults of the others."""

    documents: tuple[Document, ...] = ()
    raws: tuple[dict[str, Any], ...] = ()
    """The same documents as plain data, just as they were written."""
    errors: tuple[DocumentError, ...] = ()


def parse_text(text: str, source: str = "") -> Parsed:
    """All documents of a text. `source`, a file's name, is told in errors."""
    try:
        raws = list(_raw_documents(text))
    except UnreadableError as error:
        return Parsed(errors=(DocumentError("", "", str(error), source=source),))
    documents: dict[DocumentKey, Document] = {}
    written: list[dict[str, Any]] = []
    errors: list[DocumentError] = []
    for place, raw in raws:
        outcome = parse_raw(raw, place)
        if isinstance(outcome, tuple):
            errors += [msgspec.structs.replace(error, source=source) for error in outcome]
        elif key_of(outcome) in documents:
            fault = Fault("metadata.name", "this document is there twice; keep one")
            errors.append(DocumentError.of(str(key_of(outcome)), fault, source))
        else:
            documents[key_of(outcome)] = outcome
            written.append(raw)
    return Parsed(tuple(documents.values()), tuple(written), tuple(errors))


def parse_one(text: str) -> Document | tuple[DocumentError, ...]:
    """The one document of a text (a value in the store), or all that is wrong."""
    parsed = parse_text(text)
    if parsed.errors:
        return parsed.errors
    if len(parsed.documents) != 1:
        message = f"there must be exactly one document here, not {len(parsed.documents)}"
        return (DocumentError("", "", message),)
    return parsed.documents[0]


def parse_raw(raw: Any, place: str = "") -> Document | tuple[DocumentError, ...]:
    """A document from plain data. `place` names it in errors as long as it has no name."""
    label = _label(raw, place)
    if not isinstance(raw, dict):
        return (DocumentError(label, "", "a document must be a map with apiVersion, kind, metadata and spec"),)
    kind = raw.get("kind")
    if not isinstance(kind, str) or not kind:
        fault = Fault("kind", f"this field is required and missing (allowed: {', '.join(KINDS)})", tuple(KINDS))
        return (DocumentError.of(label, fault),)
    if kind not in KINDS:
        return (DocumentError.of(label, Fault("kind", not_one_of("unknown kind", kind, KINDS), tuple(KINDS))),)
    document = convert(raw, KINDS[kind])
    faults = document if isinstance(document, list) else check(document)
    if faults:
        return tuple(DocumentError.of(label, fault) for fault in faults)
    assert not isinstance(document, list)
    return document


def read_plain(text: str) -> dict[str, Any] | None:
    """The one document of a text as plain data, unchecked; None when it is not one map."""
    try:
        raws = [raw for _, raw in _raw_documents(text)]
    except UnreadableError:
        return None
    return raws[0] if len(raws) == 1 and isinstance(raws[0], dict) else None


def _label(raw: Any, place: str) -> str:
    """`HTTPRoute default/reviews` if the document says so much, else where it stands."""
    if not isinstance(raw, dict):
        return place
    metadata = raw.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    kind = raw.get("kind")
    if not isinstance(kind, str) or not isinstance(name, str):
        return " ".join(part for part in (place, kind if isinstance(kind, str) else "") if part)
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    return f"{kind} {namespace if isinstance(namespace, str) else 'default'}/{name}"


_TOO_DEEP = f"this is nested too deeply to be read (more than {MAX_DEPTH} levels)"


class UnreadableError(Exception):
    """The text is no YAML or JSON; its text says where."""


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """Safe YAML, without dates (a timestamp stays text) and without duplicate keys."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's way to configure a loader
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        result: dict[Any, Any] = super().construct_mapping(node, deep)
        return result


def _raw_documents(text: str) -> Iterator[tuple[str, Any]]:
    """(place, plain data) of each document; items of Lists one by one."""
    loaded = [raw for raw in _load(text) if raw is not None]
    for index, raw in enumerate(loaded):
        place = f"document {index + 1}" if len(loaded) > 1 else ""
        items = raw.get("items") if isinstance(raw, dict) else None
        if isinstance(items, list) and "spec" not in raw:
            for number, item in enumerate(items):
                yield f"{place} items[{number}]".lstrip(), item
        else:
            yield place, raw


def _load(text: str) -> list[Any]:
    if text.lstrip().startswith("{"):
        try:
            return [json.loads(text)]
        except (ValueError, RecursionError):
            pass  # YAML's flow style looks the same, and YAML's errors say where
    try:
        _refuse_depth(text)
        loaded = list(yaml.load_all(text, _Loader))
        _refuse_bombs(loaded)
    except yaml.MarkedYAMLError as error:
        raise UnreadableError(_yaml_error(error)) from None
    except yaml.YAMLError as error:
        raise UnreadableError(f"this is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UnreadableError(_TOO_DEEP) from None
    return loaded


def _refuse_depth(text: str) -> None:
    """Events come one by one, without recursion."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise UnreadableError(_TOO_DEEP)


def _yaml_error(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}{error.problem or error.context or 'this is not YAML'}"


def _refuse_bombs(loaded: list[Any]) -> None:
    """Aliases may make a small text huge, or endless."""
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        if not isinstance(node, dict | list):
            return 1
        if id(node) not in sizes:
            sizes[id(node)] = MAX_NODES + 1  # met again before it is known: it contains itself
            children = node.values() if isinstance(node, dict) else node
            sizes[id(node)] = 1 + sum(size(child) for child in children)
        return sizes[id(node)]

    if size(loaded) > MAX_NODES:
        raise UnreadableError(f"with its aliases written out, this has more than {MAX_NODES} values")
