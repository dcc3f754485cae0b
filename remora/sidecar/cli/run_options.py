"""What the flags of `sidecar run` say together."""

from __future__ import annotations

import argparse
import os
import socket
from pathlib import Path

from remora import __version__
from remora.cli.flags import UsageError, state_home
from remora.model.address import Address
from remora.model.names import service_of_host
from remora.sidecar.cli.values import LOOPBACK
from remora.sidecar.options import Binding, Options
from remora.sidecar.probe.probes import Check


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
        state_dir=_state_dir(arguments),
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
        faults=arguments.faults == "on",
        workers=arguments.workers,
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


def _state_dir(arguments: argparse.Namespace) -> Path | None:
    """None: there is no control whose word could be kept."""
    given: Path | None = arguments.state_dir
    return given or (state_home(os.environ, "--state-dir") if arguments.control else None)


def _bound(name: str, address: Address, namespace: str) -> Binding:
    service = service_of_host(name, namespace)
    if service is None:
        raise UsageError(f"--outbound: {name!r} names no service: give NAME or NAME.NAMESPACE, such as orders=:9101")
    return Binding(service, address.with_host(LOOPBACK))


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
