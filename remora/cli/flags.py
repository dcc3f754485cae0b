"""Flags that environment variables can set too, and the values they take.

Precedence: the flag, then `PREFIX_FLAG_NAME`, then the default. A malformed value is a `UsageError`, one sentence that
names the flag or the variable that it came from; the commands print it and exit with `EXIT_USAGE`.

    flags = Flags("SIDECAR", os.environ)
    parser = Parser(prog="sidecar run")
    flags.add(parser, "--upstream", parse_address, metavar="ADDR:PORT", help="where the app listens")
    flags.add(parser, "--drain", parse_duration, default=30.0, help="…")
    flags.add_list(parser, "--outbound", parse_pair, help="…")       # repeatable; in the variable: comma separated
    flags.add_switch(parser, "--verbose", help="…")                   # variable: 1/true/yes/on or 0/false/no/off
    arguments = parser.parse_args(argv)
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from remora.model.address import Address
from remora.model.names import is_label

EXIT_USAGE = 2
"""Exit status for bad input."""

T = TypeVar("T")


class UsageError(Exception):
    """Bad input by a person; its text is one sentence: what, where, what to do."""


def parse_port(text: str) -> int:
    """0 to 65535; ValueError says what is wrong."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port: give a number from 0 to 65535")
    return int(text)


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `:PORT`, `PORT` or `[IPV6]:PORT`; ValueError says what is wrong."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or not host or not rest.startswith(":"):
            raise ValueError(f"{text!r} is not an address: write an IPv6 address as [ADDRESS]:PORT")
        return Address(host, parse_port(rest[1:]))
    host, colon, port = text.rpartition(":")
    if ":" in host:
        raise ValueError(f"{text!r} is not an address: write an IPv6 address as [ADDRESS]:PORT")
    if not colon and not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} has no port: give HOST:PORT or :PORT")
    if re.search(r"[\s/@]", host):
        raise ValueError(f"{text!r} is not an address: give HOST:PORT or :PORT, without a scheme or a path")
    return Address(host, parse_port(port))


_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds of `1.5s`, `100ms`, `5m`, `1h30m` or `0`; ValueError says what is wrong."""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration: give a number with a unit, such as 100ms, 5s or 1m")
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def one_of(*allowed: str) -> Callable[[str], str]:
    """A parser that takes one of these words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is not one of {', '.join(allowed)}")
        return text

    return parse


def parse_boolean(text: str) -> bool:
    """1/true/yes/on or 0/false/no/off, in any case."""
    word = text.lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("", "0", "false", "no", "off"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def existing_file(text: str) -> Path:
    """A path to a file that is there."""
    path = Path(text)
    if not path.is_file():
        raise ValueError(f"there is no file {text!r}")
    return path


def parse_label(text: str) -> str:
    """A name as DNS has them (RFC 1123, section 2.1)."""
    if not is_label(text):
        raise ValueError(f"{text!r} is not a name: use lower case letters, digits and dashes, at most 63")
    return text


def state_home(environ: Mapping[str, str], flag: str) -> Path:
    """Our folder for state by the XDG Base Directory Specification; UsageError where there is none: give `flag`."""
    try:
        return Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "remora"
    except RuntimeError:
        raise UsageError(f"this user has no home folder to keep state in: say with {flag} where it should be") from None


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one sentence; subparsers are of this class too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", _formatter)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def _formatter(prog: str) -> argparse.HelpFormatter:
    # Left to itself it loads shutil to ask for the width, with three kinds of compression: 0.5 MiB of a sidecar.
    try:
        columns = int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size().columns
    except (ValueError, OSError):
        columns = 0
    return argparse.HelpFormatter(prog, width=(columns or 80) - 2)


class Flags:
    """Adds flags to a parser, each with its environment variable."""

    def __init__(self, prefix: str, environ: Mapping[str, str]) -> None:
        self._prefix = prefix
        self._environ = environ

    def variable(self, flag: str) -> str:
        """The environment variable of a flag: `--data-dir` → `CONTROL_DATA_DIR`."""
        return f"{self._prefix}_{flag.lstrip('-').replace('-', '_').upper()}"

    def add(
        self,
        parser: argparse.ArgumentParser | argparse._ArgumentGroup,
        flag: str,
        parse: Callable[[str], T],
        *,
        default: T | None = None,
        help: str,  # noqa: A002 - argparse's word
        metavar: str | None = None,
        variable: str | None = None,
        short: str | None = None,
    ) -> None:
        """A flag with one value; `default` is taken as it is when neither flag nor variable is given.

        `variable`: its environment variable, where it is not named after the flag. `short`: `-n`, beside the flag.
        """
        name = variable or self.variable(flag)
        value = self._from_environment(name, parse)
        parser.add_argument(
            *((short, flag) if short else (flag,)),
            type=_reported(parse, flag),
            default=default if value is None else value,
            metavar=metavar,
            help=_help(help, name),
        )

    def add_list(
        self,
        parser: argparse.ArgumentParser | argparse._ArgumentGroup,
        flag: str,
        parse: Callable[[str], T],
        *,
        help: str,  # noqa: A002 - argparse's word
        metavar: str | None = None,
    ) -> None:
        """A flag that may be repeated; its variable holds a comma separated list. The result is a list, maybe empty.

        A flag given once or more replaces what the variable says.
        """
        values = self._from_environment(self.variable(flag), lambda text: [parse(part) for part in _split(text)])
        parser.add_argument(
            flag,
            action=_Append,
            type=_reported(parse, flag),
            default=values or [],
            metavar=metavar,
            help=_help(help, self.variable(flag)),
        )

    def add_switch(
        self,
        parser: argparse.ArgumentParser | argparse._ArgumentGroup,
        flag: str,
        *,
        help: str,  # noqa: A002 - argparse's word
    ) -> None:
        """A flag without value, and its `--no-` form."""
        default = bool(self._from_environment(self.variable(flag), parse_boolean))
        parser.add_argument(
            flag, action=argparse.BooleanOptionalAction, default=default, help=_help(help, self.variable(flag))
        )

    def _from_environment(self, variable: str, parse: Callable[[str], T]) -> T | None:
        text = self._environ.get(variable, "")
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as error:
            raise UsageError(f"environment variable {variable}: {error}") from None


def run_command(main: Callable[[], int], prog: str) -> int:
    """Run `main`; a UsageError becomes one line on stderr and EXIT_USAGE, Ctrl-C the status 130."""
    try:
        return main()
    except UsageError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who reads our output has seen enough. What is left of it goes nowhere, without a complaint at the very end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def port_in_use(flag: str, variable: str, address: Address, reason: OSError) -> UsageError:
    """The error for a socket that could not be bound, with the flag that moves it."""
    known = reason.errno is not None and reason.errno > 0  # asyncio's own text repeats the address
    why = os.strerror(reason.errno) if known and reason.errno else reason.strerror or str(reason)
    return UsageError(
        f"cannot listen on {address}: {why.lower()}; choose another with {flag} or {variable} (port 0 takes a free one)"
    )


class _Append(argparse.Action):
    """Collects values into a list of its own: the default (from the environment) is replaced, not extended."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        _option: str | None = None,
    ) -> None:
        seen: Sequence[Any] = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [values] if seen is self.default else [*seen, values])


def _reported(parse: Callable[[str], T], flag: str) -> Callable[[str], T]:
    """`parse`, with its ValueErrors as UsageErrors that name the flag (argparse would hide their text)."""

    def parse_argument(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise UsageError(f"{flag}: {error}") from None

    return parse_argument


def _help(text: str, variable: str) -> str:
    return f"{text} [${variable}]".replace("%", "%%")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
