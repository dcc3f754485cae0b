"""What the sidecar's flags mean."""

from __future__ import annotations

import pytest

from remora.cli.flags import Flags
from remora.model.address import Address
from remora.sidecar.cli import make_parser, options


def parse(*arguments: str, **environ: str):  # type: ignore[no-untyped-def]
    return options(make_parser(Flags("SIDECAR", environ)).parse_args(["run", *arguments]))


def test_upstream_alone_is_enough() -> None:
    found = parse("--upstream", ":8080")
    assert found.upstream == Address("127.0.0.1", 8080)
    assert (found.inbound.port, found.outbound, found.admin.port, found.metrics.port) == (
        15006,
        Address("127.0.0.1", 15001),
        15000,
        15020,
    )


def test_every_flag_has_a_variable_and_the_flag_wins() -> None:
    found = parse("--namespace", "shop", SIDECAR_UPSTREAM=":1", SIDECAR_SERVICE="orders", SIDECAR_NAMESPACE="other")
    assert (found.service, found.namespace) == ("orders", "shop")


def test_outbound_names_are_of_the_own_namespace() -> None:
    found = parse("--upstream", ":1", "--namespace", "shop", SIDECAR_OUTBOUND="a=:9101,b.bank=127.0.0.2:9102")
    assert [(binding.service, binding.address) for binding in found.bindings] == [
        ("a.shop", Address("127.0.0.1", 9101)),
        ("b.bank", Address("127.0.0.2", 9102)),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.1.2.3", Address("10.1.2.3", 0)),
        ("10.1.2.3:15006", Address("10.1.2.3", 15006)),
        ("fd00::12", Address("fd00::12", 0)),
        ("[fd00::12]:15006", Address("fd00::12", 15006)),
        ("pod.example", Address("pod.example", 0)),
    ],
)
def test_the_advertised_address(text: str, expected: Address) -> None:
    assert parse("--upstream", ":1", "--advertise", text).advertise == expected


def test_a_sidecar_may_only_call() -> None:
    assert parse("--control", "127.0.0.1:15010").upstream is None
