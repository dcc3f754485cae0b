"""What filters do to heads: header edits, rewritten paths, redirects. Pure."""

from __future__ import annotations

from remora.model.names import split_authority
from remora.model.routes import FieldEdits, PathRewrite, Redirect, Rewrite
from remora.sidecar.wire.heads import Fields, RequestHead

_DEFAULT_PORTS = {"http": 80, "https": 443}


class CompiledEdits:
    """A header modifier, as bytes."""

    __slots__ = ("_add", "_gone", "_set")

    def __init__(self, edits: FieldEdits) -> None:
        self._set = [(name.encode(), value.encode()) for name, value in edits.set]
        self._add = [(name.encode(), value.encode()) for name, value in edits.add]
        self._gone = frozenset(name.lower() for name, _ in self._set) | {name.lower().encode() for name in edits.remove}

    def edit(self, fields: Fields) -> Fields:
        """The fields as they are to be."""
        gone = self._gone
        kept = [field for field in fields if field[0].lower() not in gone] if gone else list(fields)
        return [*kept, *self._set, *self._add]

    def edit_request(self, head: RequestHead) -> None:
        """Edit the fields of a request, wherever the head has them."""
        edited = self.edit([*head.fields, *_lifted(head)])
        head.fields = []
        head.content_type = head.request_id = head.trace_parent = head.grpc_timeout = None
        for field in edited:
            _put(head, field)


def _lifted(head: RequestHead) -> Fields:
    found = (
        (b"content-type", head.content_type),
        (b"x-request-id", head.request_id),
        (b"traceparent", head.trace_parent),
        (b"grpc-timeout", head.grpc_timeout),
    )
    return [(name, value) for name, value in found if value is not None]


def _put(head: RequestHead, field: tuple[bytes, bytes]) -> None:
    """The last one of a field that there can be only one of counts."""
    match field[0].lower():
        case b"content-type":
            head.content_type = field[1]
        case b"x-request-id":
            head.request_id = field[1]
        case b"traceparent":
            head.trace_parent = field[1]
        case b"grpc-timeout":
            head.grpc_timeout = field[1]
        case _:
            head.fields.append(field)


def rewrite_request(head: RequestHead, rewrite: Rewrite, prefix: str) -> None:
    """Make `head` what the backend is to see. `prefix` is what the route's match has matched, if it was a prefix."""
    if rewrite.hostname:
        head.authority = rewrite.hostname.encode()
    if rewrite.path is not None:
        head.path = rewrite_target(head.path, rewrite.path, prefix.encode())


def rewrite_target(target: bytes, rewrite: PathRewrite, prefix: bytes) -> bytes:
    """A request target with another path and the same query (Gateway API HTTPPathModifier, with its table). What is no
    path stays as it is: `*`, and nothing, of CONNECT."""
    if not target.startswith(b"/"):
        return target
    path, mark, query = target.partition(b"?")
    value = rewrite.value.encode()
    if rewrite.kind == "prefix":
        rest = path[len(prefix.rstrip(b"/")) :]
        if rest:
            value = value.rstrip(b"/") + rest
    return (value or b"/") + mark + query


def location(head: RequestHead, redirect: Redirect, prefix: str) -> bytes:
    """The URL that a redirect sends the client of `head` to."""
    asked_scheme = head.scheme.decode("latin-1")
    try:
        host, asked_port = split_authority(head.authority.decode("latin-1"))
    except ValueError:
        host, asked_port = head.authority.decode("latin-1"), None
    scheme = redirect.scheme or asked_scheme
    port = redirect.port
    if port is None and not redirect.scheme:
        port = asked_port
    host = redirect.hostname or host
    shown = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS.get(scheme):
        shown = f"{shown}:{port}"
    target = head.path if redirect.path is None else rewrite_target(head.path, redirect.path, prefix.encode())
    if not target.startswith(b"/"):
        target = b"/"
    return f"{scheme}://{shown}".encode("latin-1") + target
