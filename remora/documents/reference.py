"""The reference of all kinds, as Markdown, made from the types that documents are read with.

Types know names, forms, limits and defaults; what a field means stands in `MEANINGS`, and a field without a meaning, or
a meaning without a field, is an error: so the reference cannot fall behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import NODEFAULT, inspect

from remora.documents.fields import Metadata
from remora.documents.kinds import API_VERSIONS, KINDS
from remora.documents.reference_differences import differences_of
from remora.documents.reference_errors import mistakes_everywhere, mistakes_of
from remora.documents.reference_texts import ABOUT, DEFAULTS, FORMS, INTRODUCTION, MEANINGS, PARTS


class ReferenceGapError(Exception):
    """The texts and the types do not name the same fields."""


class Row(NamedTuple):
    """One field."""

    path: str
    form: str
    default: str
    meaning: str


class _Bare(NamedTuple):
    """A type without what is wrapped around it."""

    type: inspect.Type
    extra: dict[str, Any]
    is_list: bool


def reference() -> str:
    """The whole page. Raises ReferenceGapError."""
    used: set[str] = set()
    parts: dict[str, inspect.StructType] = {}
    sections = [_forms(), mistakes_everywhere(), _metadata(used, parts)]
    sections += [_section(kind, used, parts) for kind in KINDS]
    sections.append(_shared(used, parts))
    unused = sorted(MEANINGS.keys() - used)
    if unused:
        raise ReferenceGapError(f"there is no such field: {', '.join(unused)}")
    return "\n".join((INTRODUCTION, *sections))


def _forms() -> str:
    lines = [f"* **{short}**: {form}" for form, short in FORMS.items()]
    return "What the tables call\n\n" + "\n".join(lines) + "\n"


def _metadata(used: set[str], parts: dict[str, inspect.StructType]) -> str:
    metadata = inspect.type_info(Metadata)
    assert isinstance(metadata, inspect.StructType)
    return "## metadata\n\nOf every kind.\n\n" + _table(tuple(_rows(metadata, "metadata", used, parts)))


def _shared(used: set[str], parts: dict[str, inspect.StructType]) -> str:
    """What stands in more than one place, told once. Parts may have parts."""
    told: dict[str, str] = {}
    while pending := [name for name in parts if name not in told]:
        for name in pending:
            table = _table(tuple(_rows(parts[name], "", used, parts)))
            told[name] = f"## {PARTS[name]}\n\n{ABOUT[name]}\n{table}"
    return "\n".join(told[name] for name in PARTS if name in told)


def _section(kind: str, used: set[str], parts: dict[str, inspect.StructType]) -> str:
    root = inspect.type_info(KINDS[kind])
    assert isinstance(root, inspect.StructType)
    spec = next(_unwrap(field.type).type for field in root.fields if field.encode_name == "spec")
    assert isinstance(spec, inspect.StructType)
    rows = tuple(_rows(spec, "spec", used, parts))
    refused = tuple(_refused(root, ""))
    texts = [f"## {kind}\n\n`apiVersion: {API_VERSIONS[kind]}`\n\n{ABOUT[kind]}", _table(rows)]
    if refused:
        texts.append(f"Of Gateway API but not of the mesh, so refused: {', '.join(f'`{path}`' for path in refused)}.\n")
    texts += [text for text in (mistakes_of(kind), differences_of(kind)) if text]
    return "\n".join(texts)


def _table(rows: Sequence[Row]) -> str:
    lines = ["| field | what it may be | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{row.path}` | {_cell(row.form)} | {row.default} | {_cell(row.meaning)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _rows(struct: inspect.StructType, path: str, used: set[str], parts: dict[str, inspect.StructType]) -> Iterator[Row]:
    for field in struct.fields:
        bare = _unwrap(field.type)
        if {"ignored", "refused"} & bare.extra.keys():
            continue
        name = f"{struct.cls.__name__}.{field.encode_name}"
        used.add(name)
        if not MEANINGS.get(name):
            raise ReferenceGapError(f"the field {name} has no meaning: write one")
        place = _join(path, field.encode_name) + ("[]" if bare.is_list else "")
        yield Row(place, _form(bare), _default(name, field), MEANINGS[name])
        if isinstance(bare.type, inspect.StructType) and bare.type.cls.__name__ in PARTS:
            parts[bare.type.cls.__name__] = bare.type
        elif isinstance(bare.type, inspect.StructType):
            yield from _rows(bare.type, place, used, parts)


def _refused(struct: inspect.StructType, path: str) -> Iterator[str]:
    """Fields that documents may not use."""
    for field in struct.fields:
        bare = _unwrap(field.type)
        place = _join(path, field.encode_name) + ("[]" if bare.is_list else "")
        if "refused" in bare.extra:
            yield place
        if isinstance(bare.type, inspect.StructType):
            yield from _refused(bare.type, place)


def _unwrap(wrapped: inspect.Type) -> _Bare:
    extra: dict[str, Any] = {}
    is_list = False
    while True:
        match wrapped:
            case inspect.Metadata():
                extra |= wrapped.extra or {}
                wrapped = wrapped.type
            case inspect.UnionType():
                wrapped = next(choice for choice in wrapped.types if not isinstance(choice, inspect.NoneType))
            case inspect.VarTupleType():
                is_list = True
                wrapped = wrapped.item_type
            case _:
                return _Bare(wrapped, extra, is_list)


def _form(bare: _Bare) -> str:
    one = _form_of_one(bare)
    return f"list of {one}" if bare.is_list else one


def _form_of_one(bare: _Bare) -> str:
    match bare.type:
        case inspect.StructType():
            part = PARTS.get(bare.type.cls.__name__)
            return "fields below" if part is None else f"[{part}](#{part.lower().replace(' ', '-')})"
        case inspect.LiteralType():
            return ", ".join(f"`{value}`" for value in sorted(map(str, bare.type.values)))
        case inspect.BoolType():
            return "`true`, `false`"
        case inspect.IntType():
            return f"whole number, {bare.type.ge} to {bare.type.le}"
        case inspect.DictType():
            return "map of texts"
        case _:
            form = str(bare.extra.get("form", "text"))
            return FORMS.get(form, form)


def _default(name: str, field: inspect.Field) -> str:
    if field.required:
        return "required"
    if name in DEFAULTS:
        return DEFAULTS[name]
    value = field.default
    if isinstance(value, bool):
        return f"`{value}`".lower()
    if value is not NODEFAULT and isinstance(value, str | int):
        return f"`{value}`" if value != "" else '`""`'
    return "those below" if isinstance(value, msgspec.Struct) else "none"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
