"""Target: what control pushes, as the sidecar puts it to use. A bad one is refused by SnapshotError, nothing else."""

from __future__ import annotations

import msgspec
from google.protobuf.message import DecodeError

from fuzz.laws import LawBrokenError, one_turn
from remora.model.snapshot import Snapshot, SnapshotError
from remora.proto.mesh.v1.discovery_pb2 import Delta, Resource
from remora.sidecar.routing.table import RouteTable
from remora.sidecar.source.delta import decode, named_in
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.cluster import Clusters
from remora.sidecar.wire.heads import RequestHead

NEXT_DELTA, NEXT_RESOURCE = b"\xfe", b"\xff"
MOST = 8


async def control(data: bytes) -> None:
    """Deltas, one after the other: as protobuf if the first octet is odd, else of resources `kind name body`."""
    if not data:
        return
    snapshot, clusters = Snapshot(), Clusters(Metrics())
    for part in data[1:].split(NEXT_DELTA)[:MOST]:
        try:
            delta = Delta.FromString(part) if data[0] & 1 else _delta(part)
            after = decode(delta).onto(snapshot, named_in(delta) & frozenset(snapshot.services))
            table = RouteTable(after, "default")
            clusters.update(after)
        except (SnapshotError, DecodeError):
            continue
        snapshot = after
        _use(table, clusters)
        if msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot) != snapshot:
            raise LawBrokenError("the last known good on disk is another one")
    clusters.abort()
    await one_turn()


def _delta(part: bytes) -> Delta:
    delta = Delta(revision=len(part))
    for line in part.split(NEXT_RESOURCE)[:MOST]:
        name, _, body = line[1:].partition(b" ")
        text = name.decode("latin-1")
        if line[:1] == b"-":
            delta.removals.append(text)
        else:
            kind = Resource.SERVICE if line[:1] == b"S" else Resource.ENDPOINTS
            delta.upserts.append(Resource(kind=kind, name=text, body=body))
    return delta


def _use(table: RouteTable, clusters: Clusters) -> None:
    """What a request does with them."""
    for name, service in table.services.items():
        head = RequestHead(b"GET", b"/a/b?c=d&c&=", str(name).encode(), [(b"x", b"y")])
        table.find(head.authority)
        route = service.route(head)
        if route is not None:
            route.backend(0.99)
    for cluster in clusters:
        picked = cluster.pick()
        if picked is not None:
            cluster.pick([picked])
