"""What one document cannot say: two policies for one service. The older one keeps it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from remora.documents.errors import Fault
from remora.documents.kinds import DocumentKey, key_of
from remora.documents.mesh import TrafficPolicy
from remora.documents.policies import targets
from remora.documents.routes import age
from remora.model.names import ServiceName


class Candidate(msgspec.Struct, frozen=True):
    """A policy as last written and, if that one cannot be used, as it last worked."""

    created: int
    latest: TrafficPolicy | None
    """None: it is refused for itself."""
    active: TrafficPolicy | None


class Verdict(msgspec.Struct, frozen=True):
    used: TrafficPolicy | None
    faults: tuple[Fault, ...] = ()
    """Why `latest` is not the one used."""


def settle(candidates: Iterable[Candidate]) -> dict[DocumentKey, Verdict]:
    """Who gets what, the oldest first; a policy gets all of its targets or is refused as a whole."""
    owners: dict[ServiceName, DocumentKey] = {}
    verdicts: dict[DocumentKey, Verdict] = {}
    for candidate in sorted(candidates, key=_age):
        policy = candidate.latest or candidate.active
        if policy is not None:
            verdicts[key_of(policy)] = _settle_one(candidate, owners)
    return verdicts


def _settle_one(candidate: Candidate, owners: dict[ServiceName, DocumentKey]) -> Verdict:
    faults: tuple[Fault, ...] = ()
    for policy in (candidate.latest, candidate.active):
        if policy is None:
            continue
        taken = _taken(policy, owners)
        if not taken:
            owners.update(dict.fromkeys(targets(policy), key_of(policy)))
            return Verdict(policy, faults)
        faults = faults or taken
    return Verdict(None, faults)


def _taken(policy: TrafficPolicy, owners: dict[ServiceName, DocumentKey]) -> tuple[Fault, ...]:
    return tuple(
        Fault(
            f"spec.targetRefs[{index}]",
            f"{owners[target]}, which is older, is the policy of {target} already; change that one or delete it",
        )
        for index, target in enumerate(targets(policy))
        if target in owners
    )


def _age(candidate: Candidate) -> tuple[object, ...]:
    policy = candidate.latest or candidate.active
    return age(policy, candidate.created) if policy else ()
