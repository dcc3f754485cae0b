"""Inbound: what comes from other sidecars and clients goes to the one app beside us."""

from __future__ import annotations

import msgspec

from remora.model.policies import Caps, RetryPolicy, ServicePolicy, Timeouts
from remora.model.snapshot import Endpoint
from remora.sidecar.exchange.decision import Decided, Decision, Direction
from remora.sidecar.exchange.gate import Gate
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import Cluster
from remora.sidecar.wire.heads import RequestHead

POLICY = ServicePolicy(
    # The caller's sidecar times requests, and tries again elsewhere what may have been executed. Were we to do so too,
    # tries would multiply, and what has made the app crash would come back to it. What is left to us is what the app
    # has not taken: no connection, a refused stream, a connection that it closed in the moment that we used it.
    retry=RetryPolicy(attempts=1, codes=(), grpc_statuses=(), on_reset=False),
    timeouts=Timeouts(request_s=0),
    # How much a service takes is said at its callers, and by its own limits of concurrency.
    caps=Caps(pending=0, requests=0),
)


class InboundRouter:
    """Decides every request for the app."""

    __slots__ = ("_decision",)

    direction: Direction = "inbound"

    def __init__(self, service: str, app: Endpoint, keep_alive_s: float, metrics: Metrics) -> None:
        """`service`: what requests are counted as; `app`: where the app listens; `keep_alive_s`: for how long idle
        connections to it are kept, at most; 0: as long as it keeps them."""
        timeouts = msgspec.structs.replace(POLICY.timeouts, keep_alive_s=keep_alive_s)
        policy = msgspec.structs.replace(POLICY, timeouts=timeouts)
        cluster = Cluster(service, policy, metrics)
        cluster.update((app,), policy)
        self._decision = Decision(service, "app", cluster, policy.retry, timeouts.request_s, timeouts.idle_s)

    def use(self, gates: tuple[Gate, ...]) -> None:
        """From now on requests pass these."""
        self._decision = self._decision.with_gates(gates)

    @property
    def cluster(self) -> Cluster:
        return self._decision.cluster

    def decide(self, head: RequestHead, *, final: bool) -> Decided:  # noqa: ARG002
        return self._decision
