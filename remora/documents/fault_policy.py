"""FaultPolicy, of our own group: failures made on purpose, to see how callers bear them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from remora.documents.fields import DocumentPart, Metadata, Percent, PositiveDuration, ServerSide
from remora.documents.gateway import HTTPRouteMatch
from remora.documents.mesh import TargetRef
from remora.model.grpc import GrpcFailureName

AbortStatus = Annotated[int, Meta(ge=400, le=599)]
Time = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})\Z",
        extra={"form": "a time of RFC 3339 such as 2026-12-01T18:00:00Z"},
    ),
]


class Abort(DocumentPart, frozen=True):
    """What is answered in the service's place; of one status the other follows."""

    status: AbortStatus | None = None
    grpc_status: GrpcFailureName | None = None


class InjectedFault(DocumentPart, frozen=True):
    """First the delay, then the abort, where there are both."""

    matches: tuple[HTTPRouteMatch, ...] = ()
    percent: Percent = 100
    delay: PositiveDuration | None = None
    abort: Abort | None = None


class FaultPolicySpec(DocumentPart, frozen=True):
    target_refs: tuple[TargetRef, ...]
    faults: tuple[InjectedFault, ...]
    enabled: bool = True
    expires: Time | None = None


class FaultPolicy(DocumentPart, frozen=True):
    """What callers of the services that it targets do to their own requests on purpose."""

    api_version: Literal["mesh.remora.dev/v1alpha1"]
    kind: Literal["FaultPolicy"]
    metadata: Metadata
    spec: FaultPolicySpec
    status: ServerSide = None
