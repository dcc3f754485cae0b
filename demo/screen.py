"""What the demo shows: a line for each step, a live table where there is a terminal, a summary at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo.processes import ChildError
from demo.tally import Tally
from demo.traffic import Row

PLAIN_WIDTH = 110
"""Columns for tables when stdout is no terminal that could say."""


class StepFailedError(Exception):
    """A step of the story did not hold; the message says what was expected and what was seen."""


class Step:
    """A step while it is told; `note` adds what was seen to its line."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.started = time.monotonic()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Something that was seen."""
        self.notes.append(text)


class Screen:
    """The terminal, or whatever stdout is: without a terminal there are plain lines only."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else PLAIN_WIDTH
        self._console = Console(highlight=False, soft_wrap=True, width=width)
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if self.is_live else None
        self._step: Step | None = None
        self._rows: list[Row] = []
        self._line = ""
        self.failed_steps: list[str] = []

    @property
    def is_live(self) -> bool:
        """Whether there is a terminal to draw a live table in."""
        return self._console.is_terminal

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str = "", style: str = "") -> None:
        """A line of its own."""
        self._console.print(Text(text, style=style))

    @asynccontextmanager
    async def step(self, title: str) -> AsyncIterator[Step]:
        """Tells a step: its line says whether it held, how long it took and what was seen.

        A step that fails is remembered; whether the story goes on is for its teller to decide, by catching.
        """
        step = self._step = Step(title)
        self._draw()
        try:
            yield step
        except (StepFailedError, ChildError) as error:
            self.failed_steps.append(title)
            self._finish(step, "✗", "bold red", [*step.notes, str(error)])
            raise
        self._finish(step, "✓", "green", step.notes)

    def _finish(self, step: Step, mark: str, style: str, notes: list[str]) -> None:
        self._step = None
        self._draw()
        line = Text.assemble((mark, style), f" {step.title} ", (f"({time.monotonic() - step.started:.1f} s)", "dim"))
        for note in notes:
            line.append(f"\n    {note}", style="dim" if mark == "✓" else "red")
        self._console.print(line)

    def show_traffic(self, rows: Iterable[Row], line: str) -> None:
        """New numbers for the live table."""
        self._rows = list(rows)
        self._line = line
        self._draw()

    def print_traffic(self, rows: Iterable[Row]) -> None:
        """The table once, for good."""
        self._console.print(_traffic_table(rows, "requests", lambda row: row.requests))

    def print_summary(self, tally: Tally) -> None:
        """Requests and failures by kind."""
        table = Table(title="What the clients saw", title_justify="left")
        table.add_column("requests of this kind")
        for column in ("sent", "failed", "p50 ms", "p99 ms"):
            table.add_column(column, justify="right")
        for kind, counts in tally.kinds.items():
            failed = Text(str(counts.failures), style="bold red" if counts.failures else "")
            quantiles = (f"{counts.quantile_ms(share):.1f}" for share in (0.5, 0.99))
            table.add_row(kind.value, str(counts.requests), failed, *quantiles)
        table.add_section()
        table.add_row("all", str(tally.requests), str(tally.failures), "", "", style="bold")
        self._console.print(table)

    def _draw(self) -> None:
        if self._live is None:
            return
        now = Text(f"… {self._step.title}", style="yellow") if self._step else Text("")
        table = _traffic_table(self._rows, "requests/s", lambda row: row.requests_per_s)
        self._live.update(Group(table, Text(self._line, style="dim"), now), refresh=True)


def _traffic_table(rows: Iterable[Row], counted: str, count: Callable[[Row], float]) -> Table:
    table = Table(title="What goes where", title_justify="left")
    for column in ("service", "version", "instance"):
        table.add_column(column)
    for column in (counted, "failed", "p50 ms ≤"):
        table.add_column(column, justify="right")
    service = ""
    for row in sorted(rows, key=lambda row: row.name):
        if service and service != row.service:
            table.add_section()
        service = row.service
        p50 = f"{row.p50_ms:g}" if row.p50_ms else "-"
        style = "" if row.alive else "dim red"
        table.add_row(
            row.service,
            row.version,
            row.name,
            f"{count(row):.0f}" if row.alive else "gone",
            str(row.failures),
            p50,
            style=style,
        )
    return table
