"""What would happen to a request that comes to the app: no route decides it, but there are gates before the app."""

from __future__ import annotations

import dataclasses

from msgspec.structs import replace

from remora.model.names import ServiceName
from remora.model.snapshot import Service
from remora.sidecar.explain import endpoints
from remora.sidecar.explain.policies import BEFORE_APP
from remora.sidecar.explain.subject import App, Subject, View
from remora.sidecar.explain.values import BackendFacts, Explanation, Failing
from remora.sidecar.explain.verdict import fails_with, judged
from remora.sidecar.routing.table import CompiledRoute, default_route
from remora.sidecar.wire.heads import RequestHead

GRPC = b"application/grpc"


def explain_inbound(base: Explanation, app: App, head: RequestHead, view: View) -> Explanation:
    """`base`, with all that there is to say."""
    found = "which is the app beside this sidecar"
    call = app.call_of(head)
    if isinstance(call, bytes):
        found += f"; what is asked for is made a call of {call.decode('latin-1')}, by gRPC"
        head = RequestHead(b"POST", call, head.authority, head.fields, content_type=GRPC, peer=head.peer)
    elif call is not None:
        failing = Failing(call.flag, call.http_status, call.code, call.status.message)
        return fails_with(replace(base, service=app.name, found=found), failing)
    name, policy = ServiceName(app.name), app.cluster.policy
    service = Service(name, policy=policy)
    route = CompiledRoute(0, default_route(name), service)
    subject = Subject(head, service, route, name, policy, app.cluster, app.gates, view.faults, view.live)
    backend = BackendFacts(name, 1, 1.0, "the app beside this sidecar", tuple(endpoints.live(app.cluster)), chosen=True)
    rules = tuple(rule for describe in BEFORE_APP for rule in describe(subject))
    told = replace(base, service=name, found=found, backends=(backend,), rules=rules)
    return judged(told, subject, dataclasses.replace(view, cluster=lambda _: app.cluster))
