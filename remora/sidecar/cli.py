"""The `sidecar` command: flags, and the environment variables that stand for them."""

from __future__ import annotations

import argparse
import ipaddress
import json
import logging
import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from remora import __version__
from remora.cli.flags import (
    Flags,
    Parser,
    UsageError,
    existing_file,
    one_of,
    parse_address,
    parse_duration,
    run_command,
)
from remora.model.address import Address
from remora.model.names import DEFAULT_NAMESPACE, is_label, service_of_host
from remora.model.snapshot import SnapshotError
from remora.sidecar.app import Binding, Options, WorkersLostError
from remora.sidecar.app import run as run_sidecar
from remora.sidecar.build import version
from remora.sidecar.listener.forwarding import PRIVATE_NETWORKS, Network
from remora.sidecar.listener.listener import ListenError
from remora.sidecar.source.addresses import parse_addresses
from remora.sidecar.source.app_probe import Check, parse_check
from remora.sidecar.translate.cors import parse_origin
from remora.sidecar.workers.cores import usable_cores

LOOPBACK = "127.0.0.1"
MAX_WORKERS = 256


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
    _add_app_flags(flags, run)
    _add_mesh_flags(flags, run)
    _add_port_flags(flags, run)
    _add_process_flags(flags, run)
    _add_status(flags, commands.add_parser("status", help="show how a running sidecar is"))
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


def _add_app_flags(flags: Flags, run: argparse.ArgumentParser) -> None:
    app = run.add_argument_group("the app")
    flags.add(
        app, "--upstream", parse_address, metavar="ADDR:PORT", help="where the app listens; left out: it only calls"
    )
    flags.add(
        app,
        "--protocol",
        one_of("auto", "http1", "h2", "grpc", "tcp"),
        default="auto",
        metavar="NAME",
        help="what the app speaks: auto (as the caller does, the default), http1, h2, grpc, or tcp for anything else",
    )
    flags.add(
        app,
        "--health",
        parse_check,
        default=parse_check("tcp"),
        metavar="CHECK",
        help="how the app is asked whether it is well: tcp (default), http:/path, grpc or grpc:service",
    )
    flags.add(
        app,
        "--keep-alive",
        parse_duration,
        default=60.0,
        metavar="TIME",
        help="how long idle connections to the app are kept (default 60s); less where the app keeps them for less",
    )
    flags.add_list(
        app,
        "--grpc-json",
        existing_file,
        metavar="FILE.pb",
        help="a descriptor set of the app: its methods with google.api.http are called by JSON too; may be repeated",
    )
    flags.add_list(
        app,
        "--cors-origin",
        parse_origin,
        metavar="ORIGIN",
        help="an origin whose pages may call by gRPC-Web and JSON, such as https://shop.example, or *; may be repeated",
    )
    flags.add(app, "--service", _parse_label, metavar="NAME", help="the service that the app is one of")
    flags.add(
        app,
        "--namespace",
        _parse_label,
        default=DEFAULT_NAMESPACE,
        metavar="NAME",
        help=f"its namespace (default {DEFAULT_NAMESPACE})",
    )
    flags.add(app, "--version", _parse_label, metavar="NAME", help="the app's version, such as v2")
    flags.add(app, "--zone", str, metavar="NAME", help="where it runs")
    flags.add(app, "--weight", _parse_weight, default=1, metavar="N", help="its share among its equals (default 1)")


def _add_mesh_flags(flags: Flags, run: argparse.ArgumentParser) -> None:
    mesh = run.add_argument_group("the mesh")
    flags.add(
        mesh,
        "--control",
        parse_addresses,
        metavar="ADDR:PORT[,…]",
        help="join the mesh of this control, or of several replicas of it",
    )
    flags.add(mesh, "--config", existing_file, metavar="FILE", help="take routes, policies and endpoints from a file")
    flags.add(
        mesh,
        "--advertise",
        _parse_advertise,
        metavar="ADDR[:PORT]",
        help="where callers reach the inbound port (default: this machine's address)",
    )
    flags.add(
        mesh,
        "--outbound-policy",
        one_of("allow-any", "registry-only"),
        default="allow-any",
        metavar="NAME",
        help="destinations outside the mesh: allow-any (default) or registry-only",
    )
    flags.add(
        mesh,
        "--trust-forwarded",
        _parse_networks,
        default=PRIVATE_NETWORKS,
        metavar="CIDR[,…]",
        help="callers whose X-Forwarded-* fields are taken inbound (default: loopback and private networks), or none",
    )
    flags.add(
        mesh,
        "--via",
        _parse_via,
        metavar="NAME",
        help="add a Via field with this name to requests and answers; left out: none is added",
    )
    flags.add(
        mesh,
        "--state-dir",
        Path,
        default=_default_state_dir(),
        metavar="DIR",
        help="where the last known good configuration is kept",
    )
    flags.add(
        mesh,
        "--drain-delay",
        parse_duration,
        default=1.0,
        metavar="TIME",
        help="on SIGTERM, how long requests are still taken after deregistration (default 1s)",
    )
    flags.add(
        mesh,
        "--drain-timeout",
        parse_duration,
        default=30.0,
        metavar="TIME",
        help="on SIGTERM, how long live requests may take to end (default 30s)",
    )


def _add_port_flags(flags: Flags, run: argparse.ArgumentParser) -> None:
    ports = run.add_argument_group("ports (0 picks a free one; the sidecar prints what it listens on)")
    defaults = (
        ("--inbound", Address("", 15006), "from callers to the app"),
        ("--outbound-listen", Address(LOOPBACK, 15001), "from the app to services and elsewhere, also as HTTP_PROXY"),
        ("--admin", Address(LOOPBACK, 15000), "what the sidecar does, for people"),
        ("--metrics", Address("", 15020), "/metrics and probes"),
    )
    for flag, default, meaning in defaults:
        flags.add(
            ports, flag, parse_address, default=default, metavar="ADDR:PORT", help=f"{meaning} (default {default})"
        )
    flags.add_list(
        ports,
        "--outbound",
        _parse_binding,
        metavar="NAME=ADDR:PORT",
        help="a local port of its own for one service; may be repeated",
    )


def _add_process_flags(flags: Flags, run: argparse.ArgumentParser) -> None:
    process = run.add_argument_group("the process")
    flags.add(
        process,
        "--workers",
        _parse_workers,
        default=1,
        metavar="N",
        help="processes that carry traffic: 1 (default), more, or auto, one for each core that it may use",
    )
    flags.add(
        process,
        "--log-level",
        one_of("debug", "info", "warning", "error"),
        default="info",
        metavar="LEVEL",
        help="debug, info, warning or error (default info)",
    )


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


def options(arguments: argparse.Namespace) -> Options:
    """Options from parsed flags; UsageError for those that do not go together."""
    health: Check = arguments.health
    if arguments.cors_origin and arguments.protocol != "grpc" and not arguments.grpc_json:
        raise UsageError("--cors-origin goes with --protocol grpc or --grpc-json: other apps answer pages themselves")
    return Options(
        upstream=_upstream(arguments),
        upstream_protocol=arguments.protocol,
        health=health,
        service=arguments.service or "",
        namespace=arguments.namespace,
        version=arguments.version or "",
        zone=arguments.zone or "",
        weight=arguments.weight,
        advertise=arguments.advertise or Address(_own_host(arguments.inbound), 0),
        control=arguments.control or (),
        config=arguments.config,
        state_dir=arguments.state_dir,
        inbound=arguments.inbound,
        outbound=arguments.outbound_listen.with_host(LOOPBACK),
        bindings=tuple(_bound(name, address, arguments.namespace) for name, address in arguments.outbound),
        admin=arguments.admin.with_host(LOOPBACK),
        metrics=arguments.metrics,
        outbound_policy=arguments.outbound_policy,
        drain_delay_s=arguments.drain_delay,
        drain_timeout_s=arguments.drain_timeout,
        sidecar_version=__version__,
        trust_forwarded=arguments.trust_forwarded,
        via=arguments.via,
        keep_alive_s=arguments.keep_alive,
        workers=arguments.workers or usable_cores(),
        grpc_json=_grpc_json(arguments.grpc_json),
        cors_origins=frozenset(arguments.cors_origin),
    )


def _grpc_json(files: list[Path]) -> tuple[Path, ...]:
    """The descriptor sets, which were tried: a bad one is the user's to mend."""
    if not files:
        return ()
    try:
        from remora.sidecar.translate.descriptors import DescriptorError, load_bindings
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "google":
            raise
        raise UsageError("--grpc-json needs googleapis-common-protos: pip install 'remora-mesh[json]'") from None
    try:
        load_bindings(files)
    except DescriptorError as error:
        raise UsageError(f"--grpc-json: {error}") from None
    return tuple(files)


def _upstream(arguments: argparse.Namespace) -> Address | None:
    """Where the app listens; None for a sidecar that only calls, which makes sense only within a mesh."""
    upstream: Address | None = arguments.upstream
    if upstream is None:
        if not arguments.service and (arguments.control or arguments.config):
            return None
        raise UsageError("say where the app listens: --upstream :8080, or SIDECAR_UPSTREAM")
    if not upstream.port:
        raise UsageError("--upstream: port 0 is no port that an app listens on")
    return upstream.with_host(LOOPBACK)


def _bound(name: str, address: Address, namespace: str) -> Binding:
    service = service_of_host(name, namespace)
    if service is None:
        raise UsageError(f"--outbound: {name!r} names no service: give NAME or NAME.NAMESPACE, such as orders=:9101")
    return Binding(service, address.with_host(LOOPBACK))


def _parse_label(text: str) -> str:
    if not is_label(text):
        raise ValueError(f"{text!r} is not a name: use lower case letters, digits and dashes, at most 63")
    return text


def _parse_weight(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 10_000:
        raise ValueError(f"{text!r} is not a weight: give a number from 1 to 10000")
    return int(text)


def _parse_workers(text: str) -> int:
    """A number; 0 stands for `auto`."""
    if text == "auto":
        return 0
    if not text.isascii() or not text.isdigit() or int(text) > MAX_WORKERS:
        raise ValueError(f"{text!r} is not a number of workers: give one from 1 to {MAX_WORKERS}, or auto")
    return int(text)


def _parse_networks(text: str) -> tuple[Network, ...]:
    if text == "none":
        return ()
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"{error}: give networks such as 10.0.0.0/8,2001:db8::/32, or none") from None


def _parse_via(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+\-.^_`|~:\[\]]+", text):
        raise ValueError(f"{text!r} is not a name for Via: use letters, digits and dashes")
    return text


def _parse_binding(text: str) -> tuple[str, Address]:
    name, equals, address = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not NAME=ADDR:PORT, such as orders=:9101")
    return name, parse_address(address)


def _parse_advertise(text: str) -> Address:
    """An address with or without a port; a bare IPv6 address needs no brackets, as Kubernetes gives a pod's."""
    try:
        return Address(str(ipaddress.ip_address(text)), 0)
    except ValueError:
        return parse_address(text if ":" in text else f"{text}:0")


def _own_host(inbound: Address) -> str:
    """Where others reach this machine: the inbound address if it is one, else that of the route to the outside."""
    if inbound.host and inbound.host not in ("0.0.0.0", "::"):  # noqa: S104
        return inbound.host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing; it only asks for the route.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return LOOPBACK
        host: str = probe.getsockname()[0]
        return host


def _default_state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "remora"


if __name__ == "__main__":
    sys.exit(main())
