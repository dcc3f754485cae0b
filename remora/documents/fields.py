"""Field types that kinds share. `extra["form"]` says in words what `pattern` says in signs.

`NotForServices` and `NotInMesh` mark what Gateway API has and the mesh has not: a document that uses it is refused,
never half obeyed.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from remora.documents.durations import PATTERN as _DURATION_PATTERN
from remora.documents.durations import POSITIVE_PATTERN as _POSITIVE_PATTERN
from remora.model.names import DEFAULT_NAMESPACE

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL})*"

Label = Annotated[
    str,
    Meta(
        pattern=rf"^{_LABEL}\Z",
        extra={"form": "a name of lower case letters, digits and '-', at most 63, with no '-' at either end"},
    ),
]
DocumentName = Annotated[
    str,
    Meta(
        pattern=rf"^{_HOST}\Z",
        max_length=253,
        extra={"form": "a name of lower case letters, digits, '-' and '.' that starts and ends with a letter or digit"},
    ),
]
Hostname = Annotated[
    str,
    Meta(
        pattern=rf"^(\*\.)?{_HOST}\Z",
        max_length=253,
        extra={"form": "a host name in lower case, maybe with '*.' in front, without a port"},
    ),
]
PreciseHostname = Annotated[
    str,
    Meta(
        pattern=rf"^{_HOST}\Z",
        max_length=253,
        extra={"form": "a host name in lower case, without '*' and without a port"},
    ),
]
FieldName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_`|~]+\Z",
        max_length=256,
        extra={"form": "a header name (RFC 9110: letters, digits and !#$%&'*+-.^_`|~)"},
    ),
]
URL_PATH = r"^/(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})*\Z"
UrlPath = Annotated[
    str,
    Meta(
        pattern=URL_PATH,
        max_length=1024,
        extra={"form": "an absolute path: it starts with '/' and has only characters that a URL path may have"},
    ),
]
PrefixReplacement = Annotated[
    str,
    Meta(
        pattern=rf"\A\Z|{URL_PATH}",
        max_length=1024,
        extra={"form": "an absolute path, or nothing"},
    ),
]
NonEmpty = Annotated[str, Meta(min_length=1, max_length=4096)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Duration = Annotated[
    str, Meta(pattern=_DURATION_PATTERN, extra={"form": "a duration such as 5s, 100ms or 1m30s (0s: no limit)"})
]
PositiveDuration = Annotated[
    str,
    Meta(
        pattern=_POSITIVE_PATTERN,
        extra={"form": "a duration above zero such as 5s, 100ms or 1m30s"},
    ),
]
Percent = Annotated[int, Meta(ge=0, le=100)]
BackendWeight = Annotated[int, Meta(ge=0, le=1_000_000)]
RetryCode = Annotated[int, Meta(ge=400, le=599)]
RetryAttempts = Annotated[int, Meta(ge=0, le=10)]

NotForServices = Annotated[Any, Meta(extra={"refused": "means nothing for a Service of the mesh"})]
"""A field of Gateway API that is about gateways, or about what a Service of the mesh does not have."""

NotInMesh = Annotated[Any, Meta(extra={"refused": "is not something that the mesh does"})]
"""A field of Gateway API for which the mesh has its own way, or none."""

ServerSide = Annotated[Any, Meta(extra={"ignored": True})]
"""Bookkeeping that a Kubernetes API server adds; it says nothing to the mesh."""


class DocumentPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Base of everything inside a document: immutable, strict, camelCase outside."""


class Metadata(DocumentPart, frozen=True):
    """Kubernetes' ObjectMeta, as far as people write it."""

    name: DocumentName
    namespace: Label = DEFAULT_NAMESPACE
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""
    """RFC 3339; decides which of two documents is the older where the store does not know."""
    generation: ServerSide = None
    resource_version: ServerSide = None
    uid: ServerSide = None
    managed_fields: ServerSide = None
    owner_references: ServerSide = None
    finalizers: ServerSide = None
    self_link: ServerSide = None
