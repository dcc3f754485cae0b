"""`sidecar explain`: what would happen to a request, and why; of a live sidecar or of a file; or what
has become of one."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any
from urllib.parse import urlencode

import msgspec

from remora.cli.flags import Flags, UsageError, existing_file, one_of, parse_address, parse_label
from remora.model.address import Address
from remora.model.names import DEFAULT_NAMESPACE, service_of_host
from remora.model.snapshot import SnapshotError
from remora.sidecar.cli.values import LOOPBACK

_EPILOG = "The exit status is 1 where the mesh would answer with a failure of its own, and 2 for bad input."


def add_explain(flags: Flags, explain: argparse.ArgumentParser) -> None:
    """Its arguments."""
    explain.epilog = _EPILOG
    explain.add_argument("method", nargs="?", metavar="METHOD", help="such as GET")
    explain.add_argument("url", nargs="?", metavar="URL", help="where the app would send it: http://SERVICE/PATH")
    explain.add_argument(
        "-H", "--header", action="append", default=[], metavar="NAME: VALUE", help="a header of it; may be repeated"
    )
    explain.add_argument("--inbound", action="store_true", help="it comes to the app, instead of from it")
    explain.add_argument("--service", metavar="NAME", help="it comes by the port of this service (--outbound NAME=…)")
    explain.add_argument(
        "--request-id", metavar="ID", help="instead: what has become of the request with this x-request-id or trace id"
    )
    explain.add_argument(
        "--failures", action="store_true", help="instead: the newest requests that failed, or were tried more than once"
    )
    explain.add_argument("--json", action="store_true", help="the same facts as JSON")
    default = Address(LOOPBACK, 15000)
    flags.add(
        explain,
        "--admin",
        parse_address,
        default=default,
        metavar="ADDR:PORT",
        help=f"the admin port of the sidecar that is asked (default {default})",
    )
    _add_file_flags(flags, explain)
    explain.set_defaults(command=_explain)


def _add_file_flags(flags: Flags, explain: argparse.ArgumentParser) -> None:
    group = explain.add_argument_group("without a sidecar")
    group.add_argument("--config", metavar="FILE", help="what a sidecar would do that runs on this file")
    flags.add(
        group,
        "--namespace",
        parse_label,
        default=DEFAULT_NAMESPACE,
        metavar="NAME",
        help=f"the namespace of that sidecar (default {DEFAULT_NAMESPACE})",
    )
    flags.add(
        group,
        "--outbound-policy",
        one_of("allow-any", "registry-only"),
        default="allow-any",
        metavar="NAME",
        help="what that sidecar does with destinations outside the mesh (default allow-any)",
    )


def _explain(arguments: argparse.Namespace) -> int:
    if arguments.request_id is not None or arguments.failures:
        return _look_up(arguments)
    if arguments.url is None:
        raise UsageError("say which request: sidecar explain METHOD URL, --request-id ID, or --failures (see --help)")
    from remora.sidecar.explain.paint import Paint
    from remora.sidecar.explain.render import render

    explanation = _explanation(arguments)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(explanation), indent=2).decode())
    else:
        print(render(explanation, Paint.of(sys.stdout, dict(os.environ))))
    return 1 if explanation.failing is not None else 0


def _look_up(arguments: argparse.Namespace) -> int:
    """What the sidecar remembers of a request, or of all that failed."""
    from remora.model.happened import Happened
    from remora.sidecar.explain.history import render_history, render_list
    from remora.sidecar.explain.paint import Paint

    if arguments.method is not None or arguments.config is not None:
        raise UsageError("what has happened is asked of a sidecar alone: leave METHOD, URL and --config out")
    query = {"failures": "all"} if arguments.request_id is None else {"request_id": arguments.request_id}
    found = msgspec.convert(_fetch(arguments, urlencode(query)), list[Happened])
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    elif arguments.request_id is None:
        print(render_list(found, Paint.of(sys.stdout, dict(os.environ))))
        return 0
    elif found:
        print(render_history(found, Paint.of(sys.stdout, dict(os.environ))))
    else:
        print(
            f"this sidecar does not remember {arguments.request_id}: of requests that it has carried itself it keeps "
            "the last failures, and samples of the rest"
        )
    return 0 if found else 1


def _explanation(arguments: argparse.Namespace) -> Any:
    # What weighs is loaded by this command alone: a sidecar that runs has no use for it.
    from remora.sidecar.explain.page import QuestionError, ask, read_header

    service = arguments.service or ""
    if service and service_of_host(service) is None:
        raise UsageError(f"--service: {service!r} names no service: give NAME or NAME.NAMESPACE")
    try:
        headers = tuple(read_header(header) for header in arguments.header)
        asked = ask(arguments.method, arguments.url, headers, service, inbound=arguments.inbound)
    except QuestionError as error:
        raise UsageError(str(error)) from None
    return _of_file(arguments, asked) if arguments.config is not None else _of_sidecar(arguments, asked)


def _of_file(arguments: argparse.Namespace, asked: Any) -> Any:
    from remora.sidecar.explain.files import view_of_file
    from remora.sidecar.explain.reasons import explain

    if asked.inbound:
        raise UsageError("--inbound asks a sidecar how its app is protected: leave --config out")
    try:
        file = existing_file(arguments.config)
        return explain(asked, view_of_file(file, arguments.namespace, arguments.outbound_policy))
    except (SnapshotError, ValueError) as error:
        raise UsageError(f"--config: {error}") from None


def _of_sidecar(arguments: argparse.Namespace, asked: Any) -> Any:
    from remora.sidecar.explain.page import query_of
    from remora.sidecar.explain.values import Explanation

    return msgspec.convert(_fetch(arguments, query_of(asked)), Explanation)


def _fetch(arguments: argparse.Namespace, query: str) -> Any:
    from remora.sidecar.admin.client import AdminError, fetch

    admin: Address = arguments.admin.with_host(LOOPBACK)
    try:
        return fetch(admin.host, admin.port, f"/explain?{query}")
    except AdminError as error:
        raise UsageError(str(error)) from None
