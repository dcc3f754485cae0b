"""What filters do, in words, and what a backend sees of a request after them."""

from __future__ import annotations

from collections.abc import Iterator

from remora.model.routes import FieldEdits, Filters, PathRewrite
from remora.sidecar.explain.numbers import percent
from remora.sidecar.routing.filters import CompiledFilters
from remora.sidecar.wire.heads import RequestHead


def told(filters: Filters | None) -> Iterator[str]:
    """Each of them, a sentence."""
    if filters is None:
        return
    if filters.request is not None:
        yield f"request headers: {_edits(filters.request)}"
    if filters.response is not None:
        yield f"answer headers: {_edits(filters.response)}"
    if filters.rewrite is not None:
        host = [f"host becomes {filters.rewrite.hostname}"] if filters.rewrite.hostname else []
        yield " and ".join([*host, *_path(filters.rewrite.path)])
    if filters.redirect is not None:
        yield f"answers {filters.redirect.status} with a redirect"
    for mirror in filters.mirrors:
        yield f"copies {percent(mirror.share)} of the requests to {mirror.service}"
    if filters.cors is not None:
        yield f"pages of {', '.join(filters.cors.origins) or 'no origin'} may ask (CORS)"


def _edits(edits: FieldEdits) -> str:
    parts = [f"set {name}: {value}" for name, value in edits.set]
    parts += [f"add {name}: {value}" for name, value in edits.add]
    parts += [f"remove {name}" for name in edits.remove]
    return ", ".join(parts)


def _path(path: PathRewrite | None) -> Iterator[str]:
    if path is not None:
        yield f"path becomes {path.value}" if path.kind == "full" else f"the matched prefix becomes {path.value or '/'}"


def sees(head: RequestHead, filters: tuple[CompiledFilters, ...]) -> Iterator[str]:
    """What the backend sees otherwise than it was sent."""
    edited = head.copy()
    for each in filters:
        each.edit_request(edited)
    for name, before, after in (("host", head.authority, edited.authority), ("path", head.path, edited.path)):
        if before != after:
            yield f"{name} {_text(after)}, not {_text(before)}"
    for field, value in edited.fields:
        if (field, value) not in head.fields:
            yield f"{_text(field)}: {_text(value)}"
    left = {field.lower() for field, _ in edited.fields}
    for field, _ in head.fields:
        if field.lower() not in left:
            yield f"no {_text(field)}"


def _text(value: bytes) -> str:
    return value.decode("latin-1")
