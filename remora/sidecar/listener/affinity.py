"""What keeps a user where they are: first the session, then the key of a gray release, then chance."""

from __future__ import annotations

import random
import time

from remora.sidecar.exchange.decision import Decision
from remora.sidecar.exchange.persistence import Persistence
from remora.sidecar.routing.session import Session
from remora.sidecar.routing.table import CompiledBackend, CompiledRoute
from remora.sidecar.upstream.cluster import Clusters
from remora.sidecar.wire.heads import Fields, RequestHead


class Affinity:
    """Where a request of a route that keeps users goes, and what its client has to be told."""

    __slots__ = ("_answer_fields", "_persistence", "backend")

    def __init__(self, backend: CompiledBackend | None, persistence: Persistence | None, answer_fields: Fields) -> None:
        self.backend = backend
        """None: no backend takes any."""
        self._persistence = persistence
        self._answer_fields = answer_fields

    def apply(self, decision: Decision) -> None:
        """Let the decision keep it."""
        if self._persistence is not None:
            decision.keep_session(self._persistence)
        if self._answer_fields:
            decision.add_to_answer(self._answer_fields)


def affinity_of(route: CompiledRoute, head: RequestHead, clusters: Clusters) -> Affinity:
    """A session goes before weights, even before a weight of 0 (GEP-1619)."""
    persistence: Persistence | None = None
    if route.session is not None:
        session = route.session.read(head, time.time())
        if session is not None:
            found = _of_session(route, session, clusters)
            if found is not None:
                return found
        persistence = Persistence(route.session, session, None)
    answer_fields: Fields = []
    key = None if route.keys is None else route.keys.read(head, answer_fields, random.getrandbits(64))
    backend = route.backend(random.random()) if key is None else route.backend_of(key)
    return Affinity(backend, persistence, answer_fields)


def _of_session(route: CompiledRoute, session: Session, clusters: Clusters) -> Affinity | None:
    backend = next((backend for name, backend in route.targets.items() if name == session.service), None)
    cluster = None if backend is None else clusters.get(backend.service)
    endpoint = None if cluster is None else cluster.find_well(session.endpoint)
    if endpoint is None or route.session is None:
        return None
    return Affinity(backend, Persistence(route.session, session, endpoint), [])
