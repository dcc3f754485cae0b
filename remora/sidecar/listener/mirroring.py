"""Which mirrors get a copy of a request: each by its share."""

from __future__ import annotations

import random

from remora.sidecar.exchange.decision import MirrorTarget
from remora.sidecar.routing.filters import CompiledFilters
from remora.sidecar.upstream.cluster import Clusters


def mirror_targets(filters: tuple[CompiledFilters, ...], clusters: Clusters) -> tuple[MirrorTarget, ...]:
    """Those of the route's filters and of the backend's, in this order."""
    return tuple(
        MirrorTarget(mirror.service, clusters.get(mirror.service), filters[: level + 1])
        for level, found in enumerate(filters)
        for mirror in found.mirrors
        if random.random() < mirror.share
    )
