"""What keeps a user where they are: first the session, then the key of a gray release, then chance."""

from __future__ import annotations

import random
import time

from remora.model.names import ServiceName
from remora.sidecar.exchange.decision import Decision
from remora.sidecar.exchange.persistence import Persistence
from remora.sidecar.policy.hashing import hash_of
from remora.sidecar.routing.keys import KeyReader
from remora.sidecar.routing.session import Session
from remora.sidecar.routing.table import CompiledBackend, CompiledRoute
from remora.sidecar.upstream.cluster import Clusters
from remora.sidecar.wire.heads import Fields, RequestHead


class Affinity:
    """Where a request of a route that keeps users goes, and what its client has to be told."""

    __slots__ = ("_answer_fields", "_persistence", "backend", "bits")

    def __init__(
        self, backend: CompiledBackend | None, persistence: Persistence | None, answer_fields: Fields, bits: int = 0
    ) -> None:
        self.bits = bits
        """Of the cookie that may have been made; 0: none was."""
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
    bits = random.getrandbits(64)
    key = None if route.keys is None else route.keys.read(head, answer_fields, bits)
    backend = route.backend(random.random()) if key is None else route.backend_of(key)
    return Affinity(backend, persistence, answer_fields, bits)


def place_of(decision: Decision, keys: KeyReader, head: RequestHead, bits: int = 0) -> int | None:
    """The hash that keeps requests with one endpoint; None: there is nothing to go by. `bits`: of a cookie that may
    have been made for the route, and may be the same one."""
    told: Fields = []
    key = keys.read(head, told, bits or random.getrandbits(64))
    told = [field for field in told if field not in decision.answer_fields]
    if told:
        decision.add_to_answer(told)
    return None if key is None else hash_of(key)


def _of_session(route: CompiledRoute, session: Session, clusters: Clusters) -> Affinity | None:
    backend = route.targets.get(ServiceName(session.service))
    cluster = None if backend is None else clusters.get(backend.service)
    endpoint = None if cluster is None else cluster.find_well(session.endpoint)
    if endpoint is None or route.session is None:
        return None
    return Affinity(backend, Persistence(route.session, session, endpoint), [])
