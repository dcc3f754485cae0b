"""The last good answers of a service, for when it has none. Pure: the time is an argument.

A shared cache by the storing rules of RFC 9111 §3, stricter where a mistake would show one user's page to another: only
200 to GET; nothing of `no-store`, `private` or `no-cache`; with Authorization or Cookie in the request, or Set-Cookie
in the answer, only what is `public`. Vary is kept. What is given out may be stale (§4.2.4), but not where
`must-revalidate`, `proxy-revalidate` or `s-maxage` forbid that.
"""

from __future__ import annotations

from collections import OrderedDict

from remora.model.policies import LastGood
from remora.sidecar.wire.heads import LIFTED, Fields, RequestHead, ResponseHead, field_value

MAX_BODY_BYTES = 64 * 1024
"""Longer answers are not kept."""

MAX_VARIANTS = 8
"""Of one target, by Vary; the oldest goes first."""

OVERHEAD_BYTES = 512
"""What an answer weighs beside its text."""

_CREDENTIALS = frozenset((b"authorization", b"cookie", b"proxy-authorization"))
_NEVER = frozenset(("no-store", "private", "no-cache"))
_NO_STALE = frozenset(("must-revalidate", "proxy-revalidate", "s-maxage"))
_NOT_KEPT = frozenset((b"set-cookie", b"age"))

Target = tuple[str, bytes, bytes]
"""Route, authority, path with query."""


class Kept:
    """One answer."""

    __slots__ = ("age_s", "body", "fields", "is_public", "kept_at", "size", "until", "vary")

    def __init__(
        self, fields: Fields, body: bytes, vary: Fields, now: float, age_s: float, until: float, *, is_public: bool
    ) -> None:
        self.fields = fields
        self.body = body
        self.vary = vary
        """What the request had in the fields that the answer varies by."""
        self.kept_at = now
        self.age_s = age_s
        """How old it was already."""
        self.until = until
        """When it is too old."""
        self.is_public = is_public
        self.size = OVERHEAD_BYTES + len(body) + sum(len(name) + len(value) for name, value in fields)

    def age(self, now: float) -> int:
        """In seconds, for the Age field (RFC 9111 §5.1)."""
        return int(self.age_s + now - self.kept_at)


class LastGoodCache:
    """Of one service. The answer that was neither kept nor found for the longest time goes first."""

    __slots__ = ("_by_target", "_config", "size")

    def __init__(self, config: LastGood) -> None:
        self._config = config
        self._by_target: OrderedDict[Target, list[Kept]] = OrderedDict()
        self.size = 0
        """Bytes, as far as they are counted; never over the configured ones."""

    def configure(self, config: LastGood) -> None:
        """Go on with `config`. What is kept stays as long as it was to stay, if there is room."""
        self._config = config
        self._make_room()

    def keep(self, target: Target, request: RequestHead, answer: ResponseHead, body: bytes, now: float) -> None:
        """A good answer has come: keep it, if that is allowed."""
        directives = _directives(answer.fields)
        varies = _list(answer.fields, b"vary")
        if not may_keep(request, answer) or b"*" in varies or len(body) > MAX_BODY_BYTES:
            return
        age_s = _seconds((field_value(answer.fields, b"age") or b"").decode("latin-1")) or 0
        lifetime_s = self._config.max_age_s
        if not _NO_STALE.isdisjoint(directives):
            fresh_s = _seconds(directives.get("s-maxage") or directives.get("max-age") or "") or 0
            lifetime_s = min(lifetime_s, fresh_s - age_s)
        if lifetime_s <= 0:
            return
        kept = Kept(
            [field for field in answer.fields if field[0].lower() not in _NOT_KEPT],
            body,
            [(name, _value(request, name)) for name in varies],
            now,
            age_s,
            now + lifetime_s,
            is_public="public" in directives,
        )
        self._put(target, kept, request)

    def find(self, target: Target, request: RequestHead, now: float) -> Kept | None:
        """The answer for `request`, if there is one and it may be used."""
        if request.method != b"GET" or not _NEVER.isdisjoint(_directives(request.fields)):
            return None
        private = _has_credentials(request)
        for kept in self._by_target.get(target, ()):
            if now < kept.until and (kept.is_public or not private) and _fits(kept, request):
                self._by_target.move_to_end(target)
                return kept
        return None

    def _put(self, target: Target, kept: Kept, request: RequestHead) -> None:
        variants = self._by_target.get(target, [])
        for old in [other for other in variants if _fits(other, request)] or variants[: 1 - MAX_VARIANTS]:
            variants.remove(old)
            self.size -= old.size
        variants.append(kept)
        self._by_target[target] = variants
        self._by_target.move_to_end(target)
        self.size += kept.size
        self._make_room()

    def _make_room(self) -> None:
        while self.size > self._config.max_bytes:
            _, variants = self._by_target.popitem(last=False)
            self.size -= sum(kept.size for kept in variants)


def may_keep(request: RequestHead, answer: ResponseHead) -> bool:
    """Whether the answer to `request` may be kept for others, as far as its head says."""
    if request.method != b"GET" or answer.status != 200 or request.upgrade is not None:
        return False
    if (answer.content_length or 0) > MAX_BODY_BYTES:
        return False
    directives = _directives(answer.fields)
    if not _NEVER.isdisjoint(directives) or "no-store" in _directives(request.fields):
        return False
    is_personal = _has_credentials(request) or field_value(answer.fields, b"set-cookie") is not None
    return "public" in directives or not is_personal


def _fits(kept: Kept, request: RequestHead) -> bool:
    return all(_value(request, name) == value for name, value in kept.vary)


def _has_credentials(request: RequestHead) -> bool:
    return any(name.lower() in _CREDENTIALS for name, _ in request.fields)


def _directives(fields: Fields) -> dict[str, str]:
    """Of Cache-Control. What quotes hold is of no use here."""
    found: dict[str, str] = {}
    for item in _list(fields, b"cache-control"):
        name, _, value = item.decode("latin-1").partition("=")
        found.setdefault(name.strip(), value.strip(' "'))
    return found


def _list(fields: Fields, name: bytes) -> list[bytes]:
    """The members of a list field, in lower case."""
    values = [value for key, value in fields if key.lower() == name]
    return [item.strip().lower() for value in values for item in value.split(b",") if item.strip()]


def _value(request: RequestHead, name: bytes) -> bytes:
    """All that the request says under `name`, as one text."""
    if name in LIFTED:
        lifted = {b"content-type": request.content_type, b"x-request-id": request.request_id}
        return lifted.get(name) or b""
    return b",".join(value.strip() for key, value in request.fields if key.lower() == name)


def _seconds(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
