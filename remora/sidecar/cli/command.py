"""What `sidecar run` and `sidecar status` do; `sidecar explain` has a file of its own."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import cast

from remora.cli.flags import Flags, Parser, UsageError, parse_address, run_command
from remora.model.address import Address
from remora.model.snapshot import SnapshotError
from remora.sidecar.app import WorkersLostError
from remora.sidecar.app import run as run_sidecar
from remora.sidecar.build import version
from remora.sidecar.cli.explain import add_explain
from remora.sidecar.cli.run_flags import add_run_flags
from remora.sidecar.cli.run_options import options
from remora.sidecar.cli.values import LOOPBACK
from remora.sidecar.listener.listener import ListenError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit status: 0 done, 2 bad input."""
    return run_command(lambda: _main(sys.argv[1:] if argv is None else argv), "sidecar")


def _main(argv: Sequence[str]) -> int:
    arguments = make_parser(Flags("SIDECAR", os.environ)).parse_args(argv)
    return cast(int, arguments.command(arguments))


def make_parser(flags: Flags) -> Parser:
    """The parser of `sidecar` and its commands."""
    parser = Parser(prog="sidecar", description="The proxy beside one instance of a service.")
    parser.add_argument("--version", action="version", version=f"remora sidecar {version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="proxy for the app at --upstream",
        description="Proxy all traffic of the app at --upstream. Each flag has an environment variable, in brackets.",
    )
    run.set_defaults(command=_run)
    add_run_flags(flags, run)
    _add_status(flags, commands.add_parser("status", help="show how a running sidecar is"))
    add_explain(
        flags,
        commands.add_parser(
            "explain",
            help="say what would happen to a request, and why",
            description="Say what would happen to a request that leaves the app, and why.",
        ),
    )
    return parser


def _add_status(flags: Flags, status: argparse.ArgumentParser) -> None:
    default = Address(LOOPBACK, 15000)
    flags.add(
        status,
        "--admin",
        parse_address,
        default=default,
        metavar="ADDR:PORT",
        help=f"its admin port (default {default})",
    )
    status.add_argument("--json", action="store_true", help="all there is, as JSON")
    status.set_defaults(command=_status)


def _run(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=arguments.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sidecar_options = options(arguments)
    try:
        run_sidecar(sidecar_options)
    except (ListenError, SnapshotError) as error:
        raise UsageError(str(error)) from None
    except WorkersLostError as error:
        print(f"sidecar: {error}", file=sys.stderr)
        return 1
    return 0


def _status(arguments: argparse.Namespace) -> int:
    # It brings a client of HTTP along, 1 MiB that a sidecar which runs has no use for.
    from remora.sidecar.admin.client import AdminError, fetch_status, render_status

    admin: Address = arguments.admin.with_host(LOOPBACK)
    try:
        found = fetch_status(admin.host, admin.port)
    except AdminError as error:
        raise UsageError(str(error)) from None
    print(json.dumps(found, indent=2) if arguments.json else render_status(found))
    return 0 if found["ready"] else 1
