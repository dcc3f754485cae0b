"""Which file keeps a sidecar's last known good configuration."""

from __future__ import annotations

from pathlib import Path

from remora.cli.flags import Flags
from remora.sidecar.app.state_file import state_file
from remora.sidecar.cli import make_parser, options

DIR = Path("state")
APP = ("--upstream", ":8080", "--service", "orders")


def file_of(*arguments: str) -> str:
    """For a sidecar with these flags and a control."""
    parsed = make_parser(Flags("SIDECAR", {})).parse_args(["run", "--control", "control:15010", *arguments])
    found = state_file(options(parsed), DIR)
    assert found.parent == DIR
    return found.name


def test_a_service_has_its_own_wherever_it_listens() -> None:
    assert file_of(*APP) == "orders.default.127.0.0.1-8080.snapshot.json"
    assert file_of(*APP, "--inbound", ":1", "--outbound-listen", ":0", "--outbound", "stock=:0") == file_of(*APP)
    assert file_of(*APP, "--namespace", "shop") == "orders.shop.127.0.0.1-8080.snapshot.json"


def test_instances_of_one_service_on_a_machine_differ_by_their_apps() -> None:
    """All picked ports: only the apps' are told."""
    free = ("--service", "orders", "--inbound", ":0", "--outbound-listen", ":0", "--admin", ":0", "--metrics", ":0")
    upstreams = (":8080", ":8081", "127.0.0.2:8080", "[::1]:8080")
    files = {file_of("--upstream", upstream, *free) for upstream in upstreams}
    assert len(files) == len(upstreams)
    assert not any(":" in file for file in files)


def test_callers_without_a_service_differ_by_their_ports() -> None:
    files = [
        file_of(),
        file_of("--outbound-listen", ":15101"),
        file_of("--outbound-listen", "127.0.0.2:15101"),
        file_of("--outbound-listen", "[::1]:15101"),
        file_of("--outbound-listen", ":15101", "--namespace", "shop"),
        file_of("--outbound-listen", ":0", "--outbound", "orders=:9101"),
        file_of("--outbound-listen", ":0", "--outbound", "orders=:9102"),
        file_of("--outbound-listen", ":0", "--admin", ":15100"),
    ]
    assert len(set(files)) == len(files)
    assert not any(":" in file for file in files)


def test_callers_whose_ports_are_picked_differ_by_what_they_call() -> None:
    free = ("--outbound-listen", ":0", "--admin", ":0", "--metrics", ":0")
    orders, stock = ("--outbound", "orders=:0"), ("--outbound", "stock=:0")
    files = {file_of(*free), file_of(*free, *orders), file_of(*free, *stock), file_of(*free, *orders, *stock)}
    assert len(files) == 4
    assert file_of(*free, *orders, *stock) == file_of(*free, *stock, *orders)


def test_no_caller_has_the_file_of_a_service() -> None:
    """Labels have no underscores, so there is no service of that name."""
    assert file_of("--outbound-listen", "127.0.0.1:8080") == "no_service.default.127.0.0.1-8080.snapshot.json"
