"""Flags: precedence, and errors that name where the bad value came from."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.cli.flags import (
    EXIT_USAGE,
    Address,
    Flags,
    Parser,
    UsageError,
    one_of,
    parse_address,
    parse_boolean,
    parse_duration,
    port_in_use,
    run_command,
)


def _parser(environ: dict[str, str]) -> Parser:
    flags = Flags("CONTROL", environ)
    parser = Parser(prog="control run")
    flags.add(parser, "--grpc", parse_address, default=Address("0.0.0.0", 15010), help="100 % of it")
    flags.add_list(parser, "--outbound", str, help="names")
    flags.add_switch(parser, "--verbose", help="more")
    return parser


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":8080", Address("", 8080)),
        ("8080", Address("", 8080)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("orders.shop:80", Address("orders.shop", 80)),
        ("[::1]:80", Address("::1", 80)),
    ],
)
def test_addresses(text: str, expected: Address) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "host", ":", ":x", ":65536", "::1:80", "[::1]", "[]:1", "http://a:1", ":-1"])
def test_bad_addresses_are_value_errors(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|has no port"):
        parse_address(text)


@given(st.sampled_from(["", "a", "10.0.0.1", "::1", "fe80::2"]), st.integers(0, 65535))
def test_an_address_reads_back(host: str, port: int) -> None:
    assert parse_address(str(Address(host, port))) == Address(host, port)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("5s", 5), ("100ms", 0.1), ("1.5s", 1.5), ("1h30m", 5400)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "5sx", "-1s", "1d"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_flag_wins_over_variable_wins_over_default() -> None:
    assert _parser({}).parse_args([]).grpc.port == 15010
    assert _parser({"CONTROL_GRPC": ":1"}).parse_args([]).grpc.port == 1
    assert _parser({"CONTROL_GRPC": ":1"}).parse_args(["--grpc", ":2"]).grpc.port == 2


def test_a_list_flag_replaces_the_variable_and_repeats() -> None:
    parser = _parser({"CONTROL_OUTBOUND": "a, b"})
    assert parser.parse_args([]).outbound == ["a", "b"]
    assert parser.parse_args(["--outbound", "c", "--outbound", "d"]).outbound == ["c", "d"]
    assert parser.parse_args([]).outbound == ["a", "b"]


def test_switches() -> None:
    assert _parser({}).parse_args([]).verbose is False
    assert _parser({"CONTROL_VERBOSE": "yes"}).parse_args([]).verbose is True
    assert _parser({"CONTROL_VERBOSE": "yes"}).parse_args(["--no-verbose"]).verbose is False
    with pytest.raises(ValueError, match="neither true nor false"):
        parse_boolean("maybe")


def test_errors_name_the_flag_or_the_variable() -> None:
    with pytest.raises(UsageError, match=r"^--grpc: ':x' is not|^--grpc: 'x' is not a port"):
        _parser({}).parse_args(["--grpc", ":x"])
    with pytest.raises(UsageError, match=r"^environment variable CONTROL_GRPC: 'x' is not a port"):
        _parser({"CONTROL_GRPC": ":x"})
    with pytest.raises(UsageError, match="unrecognized arguments: --nope"):
        _parser({}).parse_args(["--nope"])
    with pytest.raises(UsageError, match="--grpc"):
        _parser({}).parse_args(["--grpc"])


def test_help_names_the_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser({}).parse_args(["--help"])
    assert "100 % of it [$CONTROL_GRPC]" in capsys.readouterr().out


def test_one_of() -> None:
    assert one_of("info", "debug")("debug") == "debug"
    with pytest.raises(ValueError, match="'x' is not one of info, debug"):
        one_of("info", "debug")("x")


def test_run_command_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise UsageError("--grpc: no")

    assert run_command(fail, "control") == EXIT_USAGE
    assert capsys.readouterr().err == "control: --grpc: no\n"


def test_port_in_use_names_the_flag() -> None:
    error = port_in_use(
        "--grpc", "CONTROL_GRPC", Address("", 15010), OSError(errno.EADDRINUSE, "Address already in use")
    )
    assert str(error) == (
        "cannot listen on :15010: address already in use; choose another with --grpc or CONTROL_GRPC "
        "(port 0 takes a free one)"
    )
