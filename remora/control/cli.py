"""The command `control`. Every flag of a command can be set by a variable CONTROL_* too.

Exit status: 0 done; 1 not done (control away, no such document, `diff` found differences); 2 bad input.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from remora import __version__
from remora.cli.flags import (
    EXIT_USAGE,
    Flags,
    Parser,
    UsageError,
    existing_file,
    one_of,
    parse_address,
    parse_label,
    parse_port,
    run_command,
    state_home,
)
from remora.control.client import show
from remora.control.client.files import read_documents
from remora.control.client.rest import ControlClient, ControlError
from remora.documents.errors import DocumentError
from remora.documents.kinds import KINDS, DocumentKey, find_kind, key_of
from remora.documents.parse import Parsed
from remora.model.address import Address
from remora.model.names import DEFAULT_NAMESPACE

DEFAULT_CONTROL = "http://127.0.0.1:15014"
_ANY = "0.0.0.0"  # noqa: S104 - sidecars of other machines connect to it
_DEFAULT_GRPC = Address(_ANY, 15010)
_DEFAULT_HTTP = Address(_ANY, 15014)

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    arguments = sys.argv[1:] if argv is None else argv

    def command() -> int:
        parsed = build_parser(os.environ).parse_args(arguments)
        chosen: Command = parsed.command
        return chosen(parsed)

    return run_command(command, "control")


def build_parser(environ: Mapping[str, str]) -> Parser:
    """All commands. Raises UsageError for a malformed variable."""
    flags = Flags("CONTROL", environ)
    parser = Parser(
        prog="control", description="The control process of a Remora mesh, and the commands that talk to it."
    )
    parser.add_argument("--version", action="version", version=f"control {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="run the control process"), flags)
    _add_apply(commands.add_parser("apply", help="put documents into the mesh, all or none"), flags)
    _add_get(commands.add_parser("get", help="show documents"), flags)
    _add_delete(commands.add_parser("delete", help="delete documents"), flags)
    _add_check(commands.add_parser("check", help="say what apply would do, and change nothing"), flags)
    _add_diff(commands.add_parser("diff", help="show what apply would change; exit status 1 if anything"), flags)
    _add_status(commands.add_parser("status", help="show documents, services and sidecars"), flags)
    return parser


def _add_run(parser: argparse.ArgumentParser, flags: Flags) -> None:
    parser.set_defaults(command=_run)
    flags.add(parser, "--etcd", str, metavar="URL[,URL]", help="etcd's members; without it, control starts its own")
    flags.add(parser, "--etcd-user", str, metavar="NAME", help="user in etcd")
    flags.add(parser, "--etcd-password", str, metavar="TEXT", help="password in etcd; rather use the variable")
    flags.add(parser, "--etcd-ca", existing_file, metavar="FILE", help="certificates that etcd's is checked by")
    flags.add(parser, "--etcd-cert", existing_file, metavar="FILE", help="our certificate for etcd")
    flags.add(parser, "--etcd-key", existing_file, metavar="FILE", help="key of our certificate")
    flags.add(parser, "--env", parse_label, default="dev", metavar="NAME", help="environment (default dev)")
    flags.add(
        parser,
        "--data-dir",
        Path,
        metavar="DIR",
        help="where our own etcd keeps its data (default $XDG_STATE_HOME/remora or ~/.local/state/remora)",
    )
    flags.add(
        parser, "--etcd-port", parse_port, default=0, metavar="PORT", help="of our own etcd (default: a free one)"
    )
    flags.add(
        parser,
        "--grpc",
        parse_address,
        default=_DEFAULT_GRPC,
        metavar="ADDR:PORT",
        help="for sidecars (default :15010)",
    )
    flags.add(
        parser,
        "--http",
        parse_address,
        default=_DEFAULT_HTTP,
        metavar="ADDR:PORT",
        help="REST, metrics (default :15014)",
    )
    levels = one_of("debug", "info", "warning", "error")
    flags.add(parser, "--log-level", levels, default="info", metavar="LEVEL", help="debug, info, warning or error")


def _add_apply(parser: argparse.ArgumentParser, flags: Flags) -> None:
    parser.set_defaults(command=_apply)
    _add_files(parser, required=True)
    _add_control(parser, flags)


def _add_get(parser: argparse.ArgumentParser, flags: Flags) -> None:
    parser.set_defaults(command=_get)
    parser.add_argument("kind", metavar="KIND", help=f"{', '.join(KINDS)} (in any case, or plural)")
    parser.add_argument("name", metavar="NAME", nargs="?", help="one document; without it, all of the kind")
    _add_namespace(parser, flags)
    _add_output(parser, flags, ("table", "yaml", "json"), "default table; yaml for one document")
    _add_control(parser, flags)


def _add_delete(parser: argparse.ArgumentParser, flags: Flags) -> None:
    parser.set_defaults(command=_delete)
    parser.add_argument("kind", metavar="KIND", nargs="?")
    parser.add_argument("name", metavar="NAME", nargs="?")
    _add_namespace(parser, flags)
    _add_files(parser, required=False)
    _add_control(parser, flags)


def _add_check(parser: argparse.ArgumentParser, flags: Flags) -> None:
    parser.set_defaults(command=_check)
    _add_files(parser, required=True)
    flags.add_switch(parser, "--offline", help="check the files by themselves, without a control")
    _add_control(parser, flags)


def _add_diff(parser: argparse.ArgumentParser, flags: Flags) -> None:
    parser.set_defaults(command=_diff)
    _add_files(parser, required=True)
    _add_control(parser, flags)


def _add_status(parser: argparse.ArgumentParser, flags: Flags) -> None:
    parser.set_defaults(command=_status)
    _add_output(parser, flags, ("table", "json"), "default table")
    _add_control(parser, flags)


def _add_files(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "-f", "--file", action="append", required=required, metavar="FILE", help="a file, a folder, or - ; repeatable"
    )


def _add_namespace(parser: argparse.ArgumentParser, flags: Flags) -> None:
    said = f"default {DEFAULT_NAMESPACE}; a list has all"
    flags.add(parser, "--namespace", parse_label, short="-n", metavar="NAMESPACE", help=said)


def _add_output(parser: argparse.ArgumentParser, flags: Flags, choices: tuple[str, ...], said: str) -> None:
    words = f"{', '.join(choices)} ({said})"
    flags.add(parser, "--output", one_of(*choices), short="-o", metavar="FORMAT", help=words)


def _add_control(parser: argparse.ArgumentParser, flags: Flags) -> None:
    flags.add(
        parser,
        "--control",
        _url,
        default=DEFAULT_CONTROL,
        metavar="URL",
        help=f"control's REST address (default {DEFAULT_CONTROL})",
        variable="CONTROL_URL",
    )


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError(f"{text!r} is not a URL such as {DEFAULT_CONTROL}")
    return text


def _run(arguments: argparse.Namespace) -> int:
    # Only this command needs etcd, gRPC and the server: the others start faster without them.
    from remora.control.process import RunOptions, run
    from remora.control.server import Ports
    from remora.control.store.etcd import EtcdCredentials, EtcdTls, parse_endpoints

    try:
        endpoints = tuple(parse_endpoints(arguments.etcd)) if arguments.etcd else ()
    except ValueError as error:
        raise UsageError(f"--etcd (CONTROL_ETCD): {error}") from None
    if bool(arguments.etcd_user) != bool(arguments.etcd_password):
        raise UsageError("--etcd-user and --etcd-password (CONTROL_ETCD_PASSWORD) go together: give both or none")
    if bool(arguments.etcd_cert) != bool(arguments.etcd_key):
        raise UsageError("--etcd-cert and --etcd-key go together: give both or none")
    tls_files = (arguments.etcd_ca, arguments.etcd_cert, arguments.etcd_key)
    options = RunOptions(
        env=arguments.env,
        ports=Ports(arguments.grpc.with_host(_ANY), arguments.http.with_host(_ANY)),
        etcd=endpoints,
        tls=EtcdTls(*tls_files) if any(tls_files) else None,
        credentials=EtcdCredentials(arguments.etcd_user, arguments.etcd_password) if arguments.etcd_user else None,
        data_dir=None if endpoints else arguments.data_dir or state_home(os.environ, "--data-dir"),
        etcd_port=arguments.etcd_port,
        log_level=arguments.log_level,
    )
    return run(options)


def _apply(arguments: argparse.Namespace) -> int:
    return _send(arguments, dry_run=False)


def _check(arguments: argparse.Namespace) -> int:
    if not arguments.offline:
        return _send(arguments, dry_run=True)
    parsed = read_documents(arguments.file)
    if parsed.errors:
        return _refuse(parsed.errors)
    for document in parsed.documents:
        print(f"{key_of(document)} good")
    return 0


def _send(arguments: argparse.Namespace, *, dry_run: bool) -> int:
    parsed = read_documents(arguments.file)
    if parsed.errors:
        return _refuse(parsed.errors)

    async def send(control: ControlClient) -> int:
        results = await control.apply(parsed.raws, dry_run=dry_run)
        print(show.applied(results, dry_run=dry_run), end="")
        return 0

    return _talk(arguments, send)


def _get(arguments: argparse.Namespace) -> int:
    kind = _kind(arguments.kind)

    async def get(control: ControlClient) -> int:
        if arguments.name is None:
            found = await control.find(kind, arguments.namespace)
            print(show.documents(found, arguments.output or "table", single=False), end="")
            return 0
        one = await control.get(DocumentKey(kind, arguments.namespace or DEFAULT_NAMESPACE, arguments.name))
        print(show.documents([one], arguments.output or "yaml", single=True), end="")
        return 0

    return _talk(arguments, get)


def _delete(arguments: argparse.Namespace) -> int:
    keys = _to_delete(arguments)

    async def delete(control: ControlClient) -> int:
        for key in keys:
            await control.delete(key)
            print(f"{key} deleted")
        return 0

    return _talk(arguments, delete)


def _to_delete(arguments: argparse.Namespace) -> list[DocumentKey]:
    if bool(arguments.file) == bool(arguments.kind) or bool(arguments.kind) != bool(arguments.name):
        raise UsageError("say what to delete: either KIND NAME or -f FILE")
    if arguments.file:
        return [key_of(document) for document in _good(read_documents(arguments.file)).documents]
    return [DocumentKey(_kind(arguments.kind), arguments.namespace or DEFAULT_NAMESPACE, arguments.name)]


def _diff(arguments: argparse.Namespace) -> int:
    parsed = _good(read_documents(arguments.file))

    async def diff(control: ControlClient) -> int:
        differences = [
            show.difference(str(key_of(document)), await _stored(control, key_of(document)), raw)
            for document, raw in zip(parsed.documents, parsed.raws, strict=True)
        ]
        print("".join(differences), end="")
        return int(any(differences))

    return _talk(arguments, diff)


async def _stored(control: ControlClient, key: DocumentKey) -> dict[str, Any] | None:
    try:
        return await control.get(key)
    except ControlError as error:
        if error.status == 404:
            return None
        raise


def _status(arguments: argparse.Namespace) -> int:
    async def status(control: ControlClient) -> int:
        view = await control.status()
        print(show.as_json(view) if arguments.output == "json" else show.status(view), end="")
        return 0

    return _talk(arguments, status)


def _talk(arguments: argparse.Namespace, conversation: Callable[[ControlClient], Coroutine[Any, Any, int]]) -> int:
    async def talk() -> int:
        async with ControlClient(arguments.control) as control:
            return await conversation(control)

    try:
        return asyncio.run(talk())
    except ControlError as error:
        print(f"control: {error}", file=sys.stderr)
        _print_errors(error.errors)
        return EXIT_USAGE if error.errors else 1


def _kind(text: str) -> str:
    kind = find_kind(text)
    if kind is None:
        raise UsageError(f"there is no kind {text!r} (allowed: {', '.join(KINDS)})")
    return kind


def _good(parsed: Parsed) -> Parsed:
    if parsed.errors:
        raise UsageError("\n  ".join(("the documents have errors:", *map(str, parsed.errors))))
    return parsed


def _refuse(errors: Iterable[DocumentError]) -> int:
    print("control: the documents have errors, so nothing was done:", file=sys.stderr)
    _print_errors(errors)
    return EXIT_USAGE


def _print_errors(errors: Iterable[DocumentError]) -> None:
    for error in errors:
        print(f"  {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
