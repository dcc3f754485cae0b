"""Checks that kinds share: of lists, and of references to Services."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

from remora.documents.errors import Fault

T = TypeVar("T")


def check_is_service(group: str, kind: str, place: str) -> Iterator[Fault]:
    if kind != "Service":
        yield Fault(f"{place}.kind", f"{kind!r} is not supported; the mesh knows Services", ("Service",))
    if group != "":
        yield Fault(f"{place}.group", f'{group!r} is not supported; a Service has group ""', ('""',))


def check_twice(items: Iterable[T], key: Callable[[T], Hashable], place: str, field: str) -> Iterator[Fault]:
    """A fault for each item whose key an earlier one has; None is no key."""
    seen: set[Hashable] = set()
    for index, item in enumerate(items):
        value = key(item)
        if value is None:
            continue
        if value in seen:
            yield Fault(f"{place}[{index}].{field}", "is there twice in this list; keep one")
        seen.add(value)
