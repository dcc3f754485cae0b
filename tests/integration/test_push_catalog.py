"""Documents and instances in a real etcd, control's catalog and push, and a sidecar's source: the whole way down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import msgspec
from prometheus_client import CollectorRegistry

from remora.control.compile.catalog import Catalog
from remora.control.push import PushServer
from remora.control.store.follow import follow
from remora.control.store.interface import Store
from remora.control.store.keys import config_key, instance_key
from remora.model.address import Address
from remora.model.snapshot import Endpoint
from remora.sidecar.source.control import ControlSource, Node
from tests.support.etcd import EtcdServer
from tests.support.push import ENV, Taken, name, running
from tests.support.waiting import until

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: default}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews}]
  rules:
    - name: canary
      backendRefs:
        - {name: reviews-v1, weight: %d}
        - {name: reviews-v2, weight: %d}
"""


@asynccontextmanager
async def control(store: Store) -> AsyncIterator[int]:
    catalog = Catalog(ENV)
    push = PushServer(catalog, store, CollectorRegistry(), control_id="control-1", env=ENV)
    port = await push.start("127.0.0.1", 0)

    async def feed() -> None:
        async with aclosing(follow(store, f"/mesh/{ENV}/")) as updates:
            async for update in updates:
                changes = catalog.apply(update.events, update.revision)
                push.changed(changes.services, changes.endpoint_sets)
                push.mark_ready()

    feeding = asyncio.create_task(feed())
    try:
        yield port
    finally:
        feeding.cancel()
        await asyncio.wait([feeding])
        await push.stop()


async def put_instance(store: Store, instance: str, version: str) -> None:
    body = msgspec.json.encode(Endpoint(instance, "127.0.0.1", 8080, version=version))
    await store.put(instance_key(ENV, name("reviews"), instance), body)


async def test_a_canary_reaches_the_sidecar_with_the_versions_it_needs() -> None:
    async with EtcdServer.running() as etcd, AsyncExitStack() as unwinding:
        taken = Taken()
        store = etcd.store()
        unwinding.push_async_callback(store.close)
        await put_instance(store, "reviews-1", "v1")
        await put_instance(store, "reviews-2", "v2")
        async with control(store) as port:
            source = ControlSource([Address("127.0.0.1", port)], Node("caller-1"), taken, services=[name("reviews")])
            async with running(source):
                await until(lambda: source.synced)
                assert taken.last.services[name("reviews")].routes == ()
                assert set(taken.last.endpoints) == {name("reviews")}

                key = config_key(ENV, "HTTPRoute", "default", "reviews")
                await store.put(key, (ROUTE % (50, 50)).encode())
                await until(lambda: taken.last.services[name("reviews")].routes)
                versions = {
                    version: [known.id for known in taken.last.endpoints[name(f"reviews-{version}")].endpoints]
                    for version in ("v1", "v2")
                }
                assert versions == {"v1": ["reviews-1"], "v2": ["reviews-2"]}

                deltas = source.state().deltas
                await put_instance(store, "reviews-3", "v2")
                await until(lambda: len(taken.last.endpoints[name("reviews-v2")].endpoints) == 2)
                await until(lambda: len(taken.last.endpoints[name("reviews")].endpoints) == 3)
                assert source.state().deltas == deltas + 1

                # A policy that cannot be: nothing changes for the sidecar.
                await store.put(key, (ROUTE % (-1, 50)).encode())
                await put_instance(store, "reviews-4", "v2")
                await until(lambda: len(taken.last.endpoints[name("reviews-v2")].endpoints) == 3)
                assert [backend.weight for backend in taken.last.services[name("reviews")].routes[0].backends] == [
                    50,
                    50,
                ]

                await store.delete(key)
                await until(lambda: not taken.last.services[name("reviews")].routes)
                await until(lambda: set(taken.last.endpoints) == {name("reviews")})
