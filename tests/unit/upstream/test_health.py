"""Active health checks: who is asked, by how many, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from aiohttp import web

from remora.model.names import ServiceName, service_name
from remora.model.policies import HealthCheck, ServicePolicy
from remora.model.snapshot import Endpoint, EndpointSet, Service, Snapshot
from remora.sidecar.telemetry.metrics import Metrics
from remora.sidecar.upstream.health import HealthChecks
from tests.support.backend import running_backend
from tests.support.waiting import until

SHOP, STORE = service_name("shop"), service_name("store")
CHECK = HealthCheck(path="/healthz", interval_s=0.02, timeout_s=5.0, healthy_after=2, unhealthy_after=2)


class App:
    def __init__(self) -> None:
        self.status = 200
        self.asked = 0
        self.ports: set[int] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.asked += 1
        self.ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response(status=self.status)


class Told:
    """What checks have told, the newest of each endpoint."""

    def __init__(self) -> None:
        self.news: list[tuple[ServiceName, str, str]] = []

    def __call__(self, service: ServiceName, endpoint: str, fault: str) -> None:
        self.news.append((service, endpoint, fault))

    @property
    def failing(self) -> set[tuple[str, str]]:
        newest = {(service, endpoint): fault for service, endpoint, fault in self.news}
        return {member for member, fault in newest.items() if fault}


def snapshot(port: int, *services: ServiceName, check: HealthCheck | None = CHECK, ids: str = "a") -> Snapshot:
    policy = ServicePolicy(health=check)
    endpoints = tuple(Endpoint(name, "127.0.0.1", port) for name in ids)
    return Snapshot(
        1,
        {name: Service(name, policy=policy) for name in services},
        {name: EndpointSet(name, endpoints) for name in services},
    )


@contextmanager
def checking(told: Told) -> Iterator[HealthChecks]:
    checks = HealthChecks(told, Metrics())
    try:
        yield checks
    finally:
        checks.close()


async def test_what_has_been_found_out_outlives_snapshots_and_other_times() -> None:
    app, told = App(), Told()
    async with running_backend(app.answer) as backend:
        with checking(told) as checks:
            app.status = 500
            checks.update(snapshot(backend.port, SHOP))
            await until(lambda: told.failing)
            assert told.news == [(SHOP, "a", "The endpoint answered 500 to /healthz.")]
            checks.update(snapshot(backend.port, SHOP))
            rarely = msgspec.structs.replace(CHECK, interval_s=0.01, unhealthy_after=50)
            checks.update(snapshot(backend.port, SHOP, check=rarely))
            assert len(told.news) == 1
            assert [(member.endpoint, fault) for member, fault in checks.failing()] == [("a", told.news[0][2])]
            app.status = 200
            await until(lambda: not told.failing)
            assert told.news[1:] == [(SHOP, "a", "")]


async def test_a_place_is_asked_once_for_all_its_services_over_one_connection() -> None:
    app, told = App(), Told()
    async with running_backend(app.answer) as backend:
        with checking(told) as checks:
            checks.update(snapshot(backend.port, SHOP))
            app.status = 500
            await until(lambda: told.failing)
            checks.update(snapshot(backend.port, SHOP, STORE, ids="ab"))
            # Who comes later is told what is known.
            assert told.failing == {(SHOP, "a"), (SHOP, "b"), (STORE, "a"), (STORE, "b")}
            before = app.asked
            await until(lambda: app.asked > before + 5)
            assert len(app.ports) == 1


async def test_services_that_ask_at_other_times_ask_for_themselves() -> None:
    app, told, metrics = App(), Told(), Metrics()
    patient = msgspec.structs.replace(CHECK, unhealthy_after=100)
    async with running_backend(app.answer) as backend:
        app.status = 500
        both = snapshot(backend.port, SHOP, STORE)
        policy = ServicePolicy(health=patient)
        both = msgspec.structs.replace(both, services={**both.services, STORE: Service(STORE, policy=policy)})
        checks = HealthChecks(told, metrics)
        try:
            checks.update(both)
            await until(lambda: told.failing and metrics.health_checks.get((STORE, "failed"), 0) >= 5)
            assert told.failing == {(SHOP, "a")}
            assert metrics.health_checks[SHOP, "failed"] >= 2
            assert len(app.ports) == 2

            # The same times as the other: the patient one is not needed any more.
            checks.update(snapshot(backend.port, SHOP, STORE))
            assert told.failing == {(SHOP, "a"), (STORE, "a")}
            app.status = 200
            await until(lambda: not told.failing)
            assert metrics.health_checks[STORE, "passed"] >= 2
        finally:
            checks.close()


async def test_a_shorter_interval_does_not_wait_for_the_end_of_a_long_one() -> None:
    app, told = App(), Told()
    async with running_backend(app.answer) as backend:
        with checking(told) as checks:
            checks.update(snapshot(backend.port, SHOP, check=msgspec.structs.replace(CHECK, interval_s=1e6)))
            checks.update(snapshot(backend.port, SHOP))
            await until(lambda: app.asked >= 2)


async def test_who_moves_to_a_place_that_is_not_well_is_told_so_last() -> None:
    one, other, told = App(), App(), Told()
    one.status = other.status = 500
    async with running_backend(one.answer) as first, running_backend(other.answer) as second:
        with checking(told) as checks:

            def places(**ports: int) -> Snapshot:
                found = tuple(Endpoint(name, "127.0.0.1", port) for name, port in ports.items())
                return msgspec.structs.replace(snapshot(0, SHOP), endpoints={SHOP: EndpointSet(SHOP, found)})

            checks.update(places(a=first.port, b=second.port, c=first.port))
            await until(lambda: len(told.failing) == 3)
            checks.update(places(b=second.port, a=second.port, c=first.port))
            assert told.failing == {(SHOP, "a"), (SHOP, "b"), (SHOP, "c")}


async def test_without_a_check_everyone_is_well_again() -> None:
    app, told = App(), Told()
    async with running_backend(app.answer) as backend:
        with checking(told) as checks:
            app.status = 500
            checks.update(snapshot(backend.port, SHOP))
            await until(lambda: told.failing)
            checks.update(snapshot(backend.port, SHOP, check=None))
            assert told.failing == set()
            assert list(checks.failing()) == []


async def test_a_server_that_closes_its_connection_after_each_answer_is_well() -> None:
    app, told = App(), Told()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = await app.answer(request)
        response.force_close()
        return response

    async with running_backend(answer) as backend:
        with checking(told) as checks:
            checks.update(snapshot(backend.port, SHOP, check=msgspec.structs.replace(CHECK, unhealthy_after=1)))
            await until(lambda: len(app.ports) >= 5)
            assert told.news == []


async def test_a_kept_connection_that_the_server_has_closed_is_no_failure() -> None:
    app, told = App(), Told()
    transports: list[Any] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        transports.append(request.transport)
        return await app.answer(request)

    check = msgspec.structs.replace(CHECK, unhealthy_after=1)
    async with running_backend(answer) as backend:
        with checking(told) as checks:
            checks.update(snapshot(backend.port, SHOP, check=check))
            for count in range(1, 6):
                await until(lambda count=count: len(app.ports) >= count)  # type: ignore[misc]
                transports[-1].close()
            assert told.news == []
