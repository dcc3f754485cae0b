"""RateLimitPolicy, of our own group: how many requests a service takes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from remora.documents.fields import (
    DocumentPart,
    FieldName,
    Label,
    Metadata,
    NonEmpty,
    PositiveDuration,
    ServerSide,
)
from remora.documents.gateway import HTTPRouteMatch
from remora.documents.mesh import TargetRef

Requests = Annotated[int, Meta(ge=1, le=1_000_000_000)]
MaxKeys = Annotated[int, Meta(ge=1, le=1_000_000)]
ServerAddress = Annotated[
    str,
    Meta(
        pattern=r"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}\Z",
        max_length=259,
        extra={"form": "HOST:PORT; an IPv6 address stands in brackets"},
    ),
]
Word = Annotated[str, Meta(min_length=1, max_length=256)]
KeyType = Literal["Header", "Path", "Method", "Peer", "SourceAddress"]


class LimitKey(DocumentPart, frozen=True):
    type: KeyType
    name: FieldName | None = None


class Limit(DocumentPart, frozen=True):
    """At most so many requests in a time."""

    name: Label
    requests: Requests
    per: PositiveDuration = "1s"
    burst: Requests | None = None
    scope: Literal["Instance", "Service"] = "Instance"
    matches: tuple[HTTPRouteMatch, ...] = ()
    keys: tuple[LimitKey, ...] = ()
    max_keys: MaxKeys = 10_000


class Entry(DocumentPart, frozen=True):
    key: Word
    type: Literal["Value", "Header", "Path", "Method", "Peer", "SourceAddress"] = "Value"
    value: Word | None = None
    name: FieldName | None = None


class Descriptor(DocumentPart, frozen=True):
    entries: tuple[Entry, ...]


class External(DocumentPart, frozen=True):
    """Somebody else's rate limit service."""

    address: ServerAddress
    domain: NonEmpty
    descriptors: tuple[Descriptor, ...]
    timeout: PositiveDuration = "20ms"
    fail_open: bool = True


class RateLimitPolicySpec(DocumentPart, frozen=True):
    target_refs: tuple[TargetRef, ...]
    enforcement: Literal["Enforce", "Shadow"] = "Enforce"
    enforced_by: Literal["Service", "Callers"] = "Service"
    limits: tuple[Limit, ...] = ()
    external: External | None = None


class RateLimitPolicy(DocumentPart, frozen=True):
    """How many requests the services that it targets take. A service may have several."""

    api_version: Literal["mesh.remora.dev/v1alpha1"]
    kind: Literal["RateLimitPolicy"]
    metadata: Metadata
    spec: RateLimitPolicySpec
    status: ServerSide = None
