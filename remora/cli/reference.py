"""The reference of a command's flags, as Markdown, made from its parser."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

_HELP = re.compile(r"(?P<text>.*) \[\$(?P<variable>\w+)\]", re.DOTALL)


def flag_tables(parser: argparse.ArgumentParser) -> str:
    """All flags and arguments, a table for each group that has any."""
    return "\n".join(_tables(parser))


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a command's commands, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def flags_of(parser: argparse.ArgumentParser) -> frozenset[str]:
    """All that starts with a dash."""
    return frozenset(option for action in parser._actions for option in action.option_strings)


def _tables(parser: argparse.ArgumentParser) -> Iterator[str]:
    for group in parser._action_groups:
        rows = [_row(action) for action in group._group_actions if not isinstance(action, argparse._HelpAction)]
        if not rows:
            continue
        title = (group.title or "").capitalize()
        heading = "" if title in ("Options", "Positional arguments") else f"**{title}**\n\n"
        yield heading + "\n".join(("| flag | variable | meaning |", "|---|---|---|", *rows)) + "\n"


def _row(action: argparse.Action) -> str:
    text = (action.help or "").replace("%%", "%").replace("|", "\\|")
    found = _HELP.fullmatch(text)
    meaning, variable = (found["text"], f"`{found['variable']}`") if found else (text, "")
    return f"| `{_name(action)}` | {variable} | {meaning} |"


def _name(action: argparse.Action) -> str:
    value = action.metavar if isinstance(action.metavar, str) else ""
    if not action.option_strings:
        return value or action.dest
    value = value if action.nargs != 0 else ""
    return " ".join(part for part in (", ".join(action.option_strings), value) if part)
