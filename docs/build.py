"""Writes the pages that are made from the code: `make docs`."""

from __future__ import annotations

from pathlib import Path

from remora.cli.flags import Flags
from remora.cli.reference import flag_tables, subcommands
from remora.control.cli import build_parser
from remora.documents.reference import reference
from remora.sidecar.cli import make_parser

FOLDER = Path(__file__).parent

_FLAGS = """\
<!-- Made by `make docs` from the commands. Do not edit. -->
# Flags and environment variables

The flag wins over its variable, the variable over the default. A variable that holds a list (`SIDECAR_OUTBOUND`) is
separated by commas. Durations are `500ms`, `5s`, `1m`. Addresses are `HOST:PORT`, `:PORT`, or `[IPV6]:PORT`. Bad input
ends with status 2 and one sentence that names the flag or the variable.
"""


def pages() -> dict[str, str]:
    """Text of each page by its name."""
    return {"policy.md": reference(), "flags.md": _flags()}


def _flags() -> str:
    parts = [_FLAGS]
    for command, parser in (("sidecar", make_parser(Flags("SIDECAR", {}))), ("control", build_parser({}))):
        parts += [f"## {command} {name}\n\n{flag_tables(sub)}" for name, sub in subcommands(parser).items()]
    return "\n".join(parts)


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
