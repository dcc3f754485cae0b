"""The last good answers of a service, for when it has none. Pure: the time is an argument.

A shared cache by the rules of RFC 9111, stricter where a mistake would show one user's page to another: only 200 to a
GET without content; nothing of `no-store`, `private` or `no-cache`; with Authorization or Cookie in the request, or
Set-Cookie in the answer, only what is `public`. Vary is kept, and what is not `public` is for requests that have the
same fields, of all that could say who asks: within a mesh users are known by fields of any name. What is given out may
be stale (§4.2.4), but not where `must-revalidate`, `proxy-revalidate` or `s-maxage` forbid that. What was written to,
or is gone, is forgotten (§4.4).
"""

from __future__ import annotations

import re
from collections import OrderedDict

from remora.model.policies import LastGood
from remora.sidecar.wire.heads import LIFTED, Fields, RequestHead, ResponseHead, field_value

MAX_BODY_BYTES = 64 * 1024
"""Longer answers are not kept."""

MAX_VARIANTS = 8
"""Of one target, by Vary; the oldest goes first."""

OVERHEAD_BYTES = 512
"""What an answer weighs beside its text."""

_ERROR = 400
"""Of HTTP's statuses, the least that is one."""

_CREDENTIALS = frozenset((b"authorization", b"cookie", b"proxy-authorization"))
_NEVER = frozenset(("no-store", "private", "no-cache"))
_NO_STALE = frozenset(("must-revalidate", "proxy-revalidate", "s-maxage"))
_NOT_KEPT = frozenset((b"set-cookie", b"age"))
_READING = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))
_GONE = frozenset((404, 410))

_NOBODY = frozenset(
    (
        *(b"accept", b"accept-charset", b"accept-encoding", b"accept-language", b"te", b"user-agent", b"via"),
        *(b"cache-control", b"pragma", b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since"),
        *(b"if-unmodified-since", b"date", b"dnt", b"max-forwards", b"priority", b"referer"),
        *(b"upgrade-insecure-requests", b"tracestate", b"b3", b"uber-trace-id", b"sentry-trace", b"x-amzn-trace-id"),
        *(b"x-cloud-trace-context", b"x-ot-span-context", b"x-correlation-id", b"x-request-start"),
    )
)
_NOBODYS = (b"x-b3-", b"x-datadog-", b"x-envoy-", b"sec-ch-", b"sec-fetch-")
"""Fields, and beginnings of fields, that do not say who asks. Beside these there are those that are LIFTED."""

_QUOTED = re.compile(rb'"[^"]*"')

Place = tuple[bytes, bytes]
"""Authority, and path with query."""


class Kept:
    """One answer."""

    __slots__ = ("_asker", "_vary", "age_s", "body", "fields", "kept_at", "route", "size", "until")

    def __init__(
        self, route: str, request: RequestHead, answer: ResponseHead, body: bytes, now: float, lifetime_s: float
    ) -> None:
        self.route = route
        """Routes have services behind them that may say different things."""
        self.fields = [field for field in answer.fields if field[0].lower() not in _NOT_KEPT]
        self.body = body
        self._vary = [(name, _value(request, name)) for name in _varies(answer.fields)]
        """What the request had in the fields that the answer varies by."""
        self._asker = None if "public" in _directives(answer.fields) else _asker(request)
        """None: it is for all."""
        self.kept_at = now
        self.age_s = _age_s(answer)
        """How old it was already."""
        self.until = now + lifetime_s
        """When it is too old."""
        texts = [request.authority, request.path, body]
        texts += [text for field in (*self.fields, *self._vary, *(self._asker or ())) for text in field]
        self.size = OVERHEAD_BYTES + sum(map(len, texts))

    def age(self, now: float) -> int:
        """In seconds, for the Age field (RFC 9111 §5.1)."""
        return int(self.age_s + now - self.kept_at)

    def fits(self, route: str, request: RequestHead) -> bool:
        """Whether it is an answer to `request`, as far as both say."""
        if self.route != route or not all(_value(request, name) == value for name, value in self._vary):
            return False
        return self._asker is None or self._asker == _asker(request)


class LastGoodCache:
    """Of one service. The place where nothing was kept or found for the longest time goes first."""

    __slots__ = ("_by_place", "_config", "size")

    def __init__(self, config: LastGood) -> None:
        self._config = config
        self._by_place: OrderedDict[Place, list[Kept]] = OrderedDict()
        """The newest last."""
        self.size = 0
        """Bytes, as far as they are counted; never over the configured ones."""

    def configure(self, config: LastGood) -> None:
        """Go on with `config`. What is kept stays as long as it was to stay, if there is room."""
        self._config = config
        self._make_room()

    def keep(self, route: str, request: RequestHead, answer: ResponseHead, body: bytes, now: float) -> None:
        """A good answer has come: keep it, if that is allowed."""
        if not may_keep(request, answer) or len(body) > MAX_BODY_BYTES:
            return
        directives = _directives(answer.fields)
        lifetime_s = self._config.max_age_s
        if not _NO_STALE.isdisjoint(directives):
            fresh_s = _seconds(directives.get("s-maxage") or directives.get("max-age") or "") or 0
            lifetime_s = min(lifetime_s, fresh_s - _age_s(answer))
        if lifetime_s > 0:
            self._put(route, request, Kept(route, request, answer, body, now, lifetime_s))

    def find(self, route: str, request: RequestHead, now: float) -> Kept | None:
        """The answer for `request`, if there is one and it may be used."""
        if request.method != b"GET" or not _NEVER.isdisjoint(_directives(request.fields)):
            return None
        place = _place(request)
        for kept in reversed(self._by_place.get(place, ())):
            if now < kept.until and kept.fits(route, request):
                self._by_place.move_to_end(place)
                return kept
        return None

    def note(self, request: RequestHead, status: int) -> None:
        """The service has answered something that is not kept: it may be that what is kept holds no more."""
        written = request.method not in _READING and status < _ERROR
        if written or (status in _GONE and request.method == b"GET"):
            self.size -= sum(kept.size for kept in self._by_place.pop(_place(request), ()))

    def _put(self, route: str, request: RequestHead, kept: Kept) -> None:
        place = _place(request)
        variants = self._by_place.setdefault(place, [])
        for old in [other for other in variants if other.fits(route, request)] or variants[: 1 - MAX_VARIANTS]:
            variants.remove(old)
            self.size -= old.size
        variants.append(kept)
        self._by_place.move_to_end(place)
        self.size += kept.size
        self._make_room()

    def _make_room(self) -> None:
        while self.size > self._config.max_bytes:
            _, variants = self._by_place.popitem(last=False)
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
    if b"*" in _list(answer.fields, b"vary"):
        return False
    is_personal = _has_credentials(request) or field_value(answer.fields, b"set-cookie") is not None
    return "public" in directives or not is_personal


def _place(request: RequestHead) -> Place:
    return request.authority.lower(), request.path


def _has_credentials(request: RequestHead) -> bool:
    return any(name.lower() in _CREDENTIALS for name, _ in request.fields)


def _asker(request: RequestHead) -> Fields:
    """All that could say who asks."""
    fields = ((name.lower(), value.strip()) for name, value in request.fields)
    return sorted(field for field in fields if field[0] not in _NOBODY and not field[0].startswith(_NOBODYS))


def _varies(fields: Fields) -> list[bytes]:
    """The fields that the answer varies by. Who chooses an encoding and forgets to say so has asked for one all the
    same."""
    names = _list(fields, b"vary")
    return names if field_value(fields, b"content-encoding") is None else [*names, b"accept-encoding"]


def _age_s(answer: ResponseHead) -> int:
    return _seconds((field_value(answer.fields, b"age") or b"").decode("latin-1")) or 0


def _directives(fields: Fields) -> dict[str, str]:
    """Of Cache-Control."""
    found: dict[str, str] = {}
    for item in _list(fields, b"cache-control"):
        name, _, value = item.decode("latin-1").partition("=")
        found.setdefault(name.strip(), value.strip())
    return found


def _list(fields: Fields, name: bytes) -> list[bytes]:
    """The members of a list field, in lower case, without what is quoted."""
    values = [_QUOTED.sub(b"", value) for key, value in fields if key.lower() == name]
    return [item.strip().lower() for value in values for item in value.split(b",") if item.strip()]


def _value(request: RequestHead, name: bytes) -> bytes:
    """All that the request says under `name`, as one text."""
    if name in LIFTED:
        lifted = {b"content-type": request.content_type, b"x-request-id": request.request_id}
        return lifted.get(name) or b""
    return b",".join(value.strip() for key, value in request.fields if key.lower() == name)


def _seconds(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
