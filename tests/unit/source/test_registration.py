from __future__ import annotations

import asyncio
import random

import pytest

from remora.model.names import is_label
from remora.model.snapshot import Endpoint
from remora.proto.mesh.v1.discovery_pb2 import Registered, SidecarMessage
from remora.sidecar.source.registration import Registrar, instance_id
from tests.support.waiting import until

APP = Endpoint("orders-1", "127.0.0.1", 8080)


class Sent:
    def __init__(self) -> None:
        self.messages: list[SidecarMessage] = []

    def __call__(self, matter: str, message: SidecarMessage) -> None:
        self.messages.append(message)

    @property
    def kinds(self) -> list[str | None]:
        return [message.WhichOneof("message") for message in self.messages]


def registered(lease: int = 5, ttl_s: int = 15) -> Registered:
    return Registered(instance=APP.id, lease_id=lease, ttl_s=ttl_s)


@pytest.mark.parametrize("service", ["orders", "a" * 63, "a" * 54 + "-b"])
def test_an_instance_id_is_a_label_that_starts_with_its_service(service: str) -> None:
    made = instance_id(service)
    assert is_label(made)
    assert made[:40] == service[:40] or made.startswith(service)


def test_instance_ids_differ_from_start_to_start() -> None:
    assert instance_id("orders", random.Random(1)) == instance_id("orders", random.Random(1))
    assert len({instance_id("orders") for _ in range(1000)}) == 1000


async def test_nothing_is_registered_before_the_app_is_healthy() -> None:
    registrar, sent = Registrar("orders", "default", APP), Sent()
    registrar.connected(sent)
    registrar.set_health(False)
    assert sent.messages == []
    registrar.set_health(True)
    assert sent.kinds == ["register"]
    assert registrar.state().phase == "registering"
    registrar.disconnected()


async def test_a_new_stream_hears_of_the_registration_with_its_lease() -> None:
    registrar, sent = Registrar("orders", "default", APP), Sent()
    registrar.connected(sent)
    registrar.set_health(True)
    registrar.registered(registered(lease=77))
    registrar.disconnected()
    again = Sent()
    registrar.connected(again)
    assert again.kinds == ["register"]
    assert again.messages[0].register.lease_id == 77
    assert registrar.state().phase == "registered"
    registrar.disconnected()


async def test_an_app_that_becomes_unhealthy_while_control_is_away_is_registered_so_later() -> None:
    registrar, sent = Registrar("orders", "default", APP), Sent()
    registrar.set_health(True)
    registrar.set_health(False)
    registrar.connected(sent)
    assert sent.kinds == ["register"]
    assert b'"healthy":false' in sent.messages[0].register.body
    registrar.disconnected()


async def test_messages_about_another_instance_are_passed_over() -> None:
    registrar, sent = Registrar("orders", "default", APP), Sent()
    registrar.connected(sent)
    registrar.set_health(True)
    registrar.registered(Registered(instance="orders-0", lease_id=1, ttl_s=15))
    registrar.failed("orders-0", "no")
    registrar.deregistered("orders-0")
    assert registrar.state().phase == "registering"
    registrar.disconnected()


async def test_what_was_never_registered_is_deregistered_at_once_and_for_good() -> None:
    registrar, sent = Registrar("orders", "default", APP), Sent()
    registrar.connected(sent)
    assert await registrar.deregister(0) is True
    registrar.set_health(True)
    assert sent.messages == []


async def test_after_deregistering_nothing_is_registered_any_more() -> None:
    registrar, sent = Registrar("orders", "default", APP), Sent()
    registrar.connected(sent)
    registrar.set_health(True)
    registrar.registered(registered())
    leaving = asyncio.create_task(registrar.deregister(30))
    await asyncio.sleep(0)
    registrar.set_health(False)
    registrar.registered(registered())
    assert sent.kinds == ["register", "deregister"]
    registrar.deregistered(APP.id)
    assert await leaving is True
    assert registrar.state().phase == "deregistered"


async def test_a_failure_is_tried_again_after_a_random_part_of_the_backoff() -> None:
    registrar, sent = Registrar("orders", "default", APP, random=lambda: 0.0), Sent()
    registrar.connected(sent)
    registrar.set_health(True)
    registrar.failed(APP.id, "etcd is away")
    assert registrar.state().last_error == "etcd is away"
    await until(lambda: len(sent.messages) == 2)
    assert sent.kinds == ["register", "register"]
    registrar.disconnected()
