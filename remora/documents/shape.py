"""Walks raw data along a type, and finds every fault, each told in people's words.

msgspec stops at the first fault and tells it in its own words; here all are wanted, so the walk is ours and msgspec
converts what has passed it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from remora.documents.errors import Fault, not_one_of

T = TypeVar("T", bound=msgspec.Struct)

_Json = Any
"""What YAML or JSON gives: dict, list, str, int, float, bool, None (and dates, from YAML)."""


def convert(raw: _Json, kind: type[T]) -> T | list[Fault]:
    """`raw` as `kind`, or all that is wrong with it."""
    clean = _without_nulls(raw)
    faults = list(_walk(clean, _type_of(kind), ""))
    if faults:
        return faults
    try:
        return msgspec.convert(_without_ignored(clean, _type_of(kind)), kind)
    except msgspec.ValidationError as error:
        return [_translated(error)]


@cache
def _type_of(kind: type) -> inspect.Type:
    return inspect.type_info(kind)


def _without_nulls(raw: _Json) -> _Json:
    """A field that is null is a field left out (Kubernetes' reading)."""
    if isinstance(raw, dict):
        return {key: _without_nulls(value) for key, value in raw.items() if value is not None}
    if isinstance(raw, list):
        return [_without_nulls(item) for item in raw]
    return raw


def _without_ignored(raw: _Json, expected: inspect.Type) -> _Json:
    """Bookkeeping is left out, so that documents that differ only in that are equal."""
    if not isinstance(expected, inspect.StructType) or not isinstance(raw, dict):
        return raw
    types = {field.encode_name: field.type for field in expected.fields}
    return {name: _without_ignored(value, types[name]) for name, value in raw.items() if not _is_ignored(types[name])}


def _is_ignored(expected: inspect.Type) -> bool:
    return isinstance(expected, inspect.Metadata) and bool((expected.extra or {}).get("ignored"))


def _walk(value: _Json, expected: inspect.Type, path: str) -> Iterator[Fault]:
    match expected:
        case inspect.Metadata():
            yield from _walk_marked(value, expected, path)
        case inspect.UnionType():
            inner = next(choice for choice in expected.types if not isinstance(choice, inspect.NoneType))
            yield from _walk(value, inner, path)
        case inspect.StructType():
            yield from _walk_struct(value, expected, path)
        case inspect.VarTupleType():
            yield from _walk_list(value, expected.item_type, path)
        case inspect.DictType():
            yield from _walk_map(value, expected, path)
        case inspect.LiteralType():
            yield from _literal(value, expected, path)
        case inspect.StrType():
            yield from _string(value, expected, path, "")
        case inspect.IntType():
            yield from _integer(value, expected, path)
        case inspect.BoolType():
            if not isinstance(value, bool):
                yield _wrong_type(value, "true or false", path)


def _walk_marked(value: _Json, expected: inspect.Metadata, path: str) -> Iterator[Fault]:
    extra = expected.extra or {}
    if extra.get("ignored"):
        return
    if "refused" in extra:
        if value not in ([], {}):
            yield Fault(path, f"this field of Gateway API {extra['refused']}; take it out")
        return
    if isinstance(expected.type, inspect.StrType):
        yield from _string(value, expected.type, path, extra.get("form", ""))
        return
    yield from _walk(value, expected.type, path)


def _walk_struct(value: _Json, expected: inspect.StructType, path: str) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield _wrong_type(value, "a map of fields", path)
        return
    fields = {field.encode_name: field for field in expected.fields}
    for name, item in value.items():
        place = _join(path, str(name))
        field = fields.get(name)
        if field is None:
            names = _writable(expected)
            yield Fault(place, not_one_of("unknown field", str(name), names), tuple(names))
        else:
            yield from _walk(item, field.type, place)
    for name, field in fields.items():
        if field.required and name not in value:
            yield Fault(_join(path, name), "this field is required and missing")


def _writable(expected: inspect.StructType) -> list[str]:
    """The fields that people may write."""
    return [
        field.encode_name
        for field in expected.fields
        if not (isinstance(field.type, inspect.Metadata) and field.type.extra)
        or not {"ignored", "refused"} & field.type.extra.keys()
    ]


def _walk_list(value: _Json, item_type: inspect.Type, path: str) -> Iterator[Fault]:
    if not isinstance(value, list):
        yield _wrong_type(value, "a list", path)
        return
    for index, item in enumerate(value):
        yield from _walk(item, item_type, f"{path}[{index}]")


def _walk_map(value: _Json, expected: inspect.DictType, path: str) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield _wrong_type(value, "a map", path)
        return
    for name, item in value.items():
        if not isinstance(name, str):
            yield Fault(path, f"the key {name!r} must be a string; put it in quotes")
        yield from _walk(item, expected.value_type, _join(path, str(name)))


def _literal(value: _Json, expected: inspect.LiteralType, path: str) -> Iterator[Fault]:
    if value not in expected.values or isinstance(value, bool):
        allowed = [str(choice) for choice in expected.values]
        yield Fault(path, not_one_of("unknown value", str(value), allowed), tuple(allowed))


def _string(value: _Json, expected: inspect.StrType, path: str, form: str) -> Iterator[Fault]:
    if not isinstance(value, str):
        yield _wrong_type(value, "a string", path)
    elif expected.pattern is not None and re.search(expected.pattern, value) is None:
        yield Fault(path, f"{value!r} is not {form or f'of the form {expected.pattern}'}")
    elif expected.min_length is not None and len(value) < expected.min_length:
        yield Fault(path, "must not be empty")
    elif expected.max_length is not None and len(value) > expected.max_length:
        yield Fault(path, f"is {len(value)} characters long; at most {expected.max_length} are allowed")


def _integer(value: _Json, expected: inspect.IntType, path: str) -> Iterator[Fault]:
    if not isinstance(value, int) or isinstance(value, bool):
        yield _wrong_type(value, "a whole number", path)
    elif (expected.ge is not None and value < expected.ge) or (expected.le is not None and value > expected.le):
        yield Fault(path, f"{value} is not from {expected.ge} to {expected.le}")


def _wrong_type(value: _Json, wanted: str, path: str) -> Fault:
    return Fault(path, f"must be {wanted}, not {_called(value)}")


def _called(value: _Json) -> str:
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f"the string {value!r}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    return str(value)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _translated(error: msgspec.ValidationError) -> Fault:
    """A fault that only msgspec saw: its text ends in ``- at `$.spec.rules` ``."""
    message, _, place = str(error).partition(" - at `$")
    return Fault(place.rstrip("`").lstrip("."), message[:1].lower() + message[1:])
