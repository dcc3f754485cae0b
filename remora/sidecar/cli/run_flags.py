"""The flags of `sidecar run`."""

from __future__ import annotations

import argparse
from pathlib import Path

from remora.cli.flags import Flags, existing_file, one_of, parse_address, parse_duration, parse_label
from remora.model.address import Address
from remora.model.names import DEFAULT_NAMESPACE
from remora.sidecar.cli.values import (
    LOOPBACK,
    parse_advertise,
    parse_binding,
    parse_networks,
    parse_origin,
    parse_via,
    parse_weight,
    parse_workers,
)
from remora.sidecar.listener.forwarding import PRIVATE_NETWORKS
from remora.sidecar.probe.probes import parse_check
from remora.sidecar.source.addresses import parse_addresses

Group = argparse._ArgumentGroup


def add_run_flags(flags: Flags, run: argparse.ArgumentParser) -> None:
    """Add them all, in groups."""
    app = run.add_argument_group("the app")
    _add_app_flags(flags, app)
    _add_translation_flags(flags, app)
    _add_identity_flags(flags, app)
    mesh = run.add_argument_group("the mesh")
    _add_mesh_flags(flags, mesh)
    _add_traffic_flags(flags, mesh)
    _add_stay_flags(flags, mesh)
    ports = run.add_argument_group("ports (0 picks a free one; the sidecar prints what it listens on)")
    _add_port_flags(flags, ports)
    _add_process_flags(flags, run.add_argument_group("the process"))


def _add_app_flags(flags: Flags, app: Group) -> None:
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


def _add_translation_flags(flags: Flags, app: Group) -> None:
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


def _add_identity_flags(flags: Flags, app: Group) -> None:
    flags.add(app, "--service", parse_label, metavar="NAME", help="the service that the app is one of")
    flags.add(
        app,
        "--namespace",
        parse_label,
        default=DEFAULT_NAMESPACE,
        metavar="NAME",
        help=f"its namespace (default {DEFAULT_NAMESPACE})",
    )
    flags.add(app, "--version", parse_label, metavar="NAME", help="the app's version, such as v2")
    flags.add(app, "--zone", str, metavar="NAME", help="where it runs")
    flags.add(app, "--weight", parse_weight, default=1, metavar="N", help="its share among its equals (default 1)")


def _add_mesh_flags(flags: Flags, mesh: Group) -> None:
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
        parse_advertise,
        metavar="ADDR[:PORT]",
        help="where callers reach the inbound port (default: this machine's address)",
    )


def _add_traffic_flags(flags: Flags, mesh: Group) -> None:
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
        parse_networks,
        default=PRIVATE_NETWORKS,
        metavar="CIDR[,…]",
        help="callers whose X-Forwarded-* fields are taken inbound (default: loopback and private networks), or none",
    )
    flags.add(
        mesh,
        "--via",
        parse_via,
        metavar="NAME",
        help="add a Via field with this name to requests and answers; left out: none is added",
    )
    flags.add(
        mesh,
        "--faults",
        one_of("on", "off"),
        default="on",
        metavar="NAME",
        help="on (default), or off: no FaultPolicy has an effect on what this sidecar sends, whatever it says",
    )


def _add_stay_flags(flags: Flags, mesh: Group) -> None:
    flags.add(
        mesh,
        "--state-dir",
        Path,
        metavar="DIR",
        help="where the last known good configuration is kept (default $XDG_STATE_HOME/remora, ~/.local/state/remora)",
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


def _add_port_flags(flags: Flags, ports: Group) -> None:
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
        parse_binding,
        metavar="NAME=ADDR:PORT",
        help="a local port of its own for one service; may be repeated",
    )


def _add_process_flags(flags: Flags, process: Group) -> None:
    flags.add(
        process,
        "--workers",
        parse_workers,
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
