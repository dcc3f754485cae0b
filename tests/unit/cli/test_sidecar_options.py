"""What the sidecar's flags mean."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from remora.cli.flags import Flags, UsageError
from remora.model.address import Address
from remora.sidecar.cli import make_parser, options
from remora.sidecar.workers.cores import usable_cores


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


def test_whom_the_sidecar_believes() -> None:
    assert ip_network("10.0.0.0/8") in parse("--upstream", ":1").trust_forwarded
    assert parse("--upstream", ":1", "--trust-forwarded", "none").trust_forwarded == ()
    given = parse("--upstream", ":1", SIDECAR_TRUST_FORWARDED="192.0.2.0/24, 2001:db8::/32").trust_forwarded
    assert given == (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


def test_auto_is_a_worker_for_each_core() -> None:
    assert parse("--upstream", ":1", "--workers", "3").workers == 3
    assert parse("--upstream", ":1", "--workers", "auto").workers == usable_cores()


@pytest.mark.parametrize("text", ["0", "257", "-1", "x", "²", "1" * 5_000])
@pytest.mark.parametrize("flag", ["--workers", "--weight"])
def test_bad_numbers_are_the_users_to_mend(flag: str, text: str) -> None:
    text = text if flag == "--workers" else text.replace("257", "10001")
    with pytest.raises(UsageError, match=f"{flag}: .* is not a .*: give"):
        parse("--upstream", ":1", flag, text)


def test_state_is_kept_where_the_user_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    joined = ("--upstream", ":1", "--control", "127.0.0.1:15010")
    assert parse(*joined).state_dir == tmp_path / "remora"
    assert parse(*joined, "--state-dir", "/s").state_dir == Path("/s")


def test_a_user_without_a_home_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    with pytest.raises(UsageError, match="--state-dir"):
        parse("--upstream", ":1", "--control", "127.0.0.1:15010")
    assert parse("--upstream", ":1").upstream == Address("127.0.0.1", 1)


@pytest.mark.parametrize("flags", [("--trust-forwarded", "10.0.0.1/8"), ("--trust-forwarded", "x"), ("--via", "a b")])
def test_bad_networks_and_names_are_the_users_to_mend(flags: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match=flags[0]):
        parse("--upstream", ":1", *flags)
