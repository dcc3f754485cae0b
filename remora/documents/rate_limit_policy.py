"""RateLimitPolicy, of our own group: how many requests a service takes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from remora.documents.fields import (
    DocumentPart,
    FieldName,
    Label,
    Metadata,
    PositiveDuration,
    ServerSide,
)
from remora.documents.gateway import HTTPRouteMatch
from remora.documents.mesh import TargetRef

Requests = Annotated[int, Meta(ge=1, le=1_000_000_000)]
MaxKeys = Annotated[int, Meta(ge=1, le=1_000_000)]
KeyType = Literal["Header", "Path", "Method", "SourceAddress"]


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


class RateLimitPolicySpec(DocumentPart, frozen=True):
    target_refs: tuple[TargetRef, ...]
    enforcement: Literal["Enforce", "Shadow"] = "Enforce"
    enforced_by: Literal["Service", "Callers"] = "Service"
    limits: tuple[Limit, ...] = ()


class RateLimitPolicy(DocumentPart, frozen=True):
    """How many requests the services that it targets take. A service may have several."""

    api_version: Literal["mesh.remora.dev/v1alpha1"]
    kind: Literal["RateLimitPolicy"]
    metadata: Metadata
    spec: RateLimitPolicySpec
    status: ServerSide = None
