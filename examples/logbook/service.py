"""What the service knows to do."""

from __future__ import annotations

import dataclasses

from examples.logbook.model import FIRST_DIVES, LoggedDive


class UnknownDiveError(LookupError):
    """There is no such dive."""


class LogbookService:
    """Keeps dives, in memory."""

    def __init__(self) -> None:
        self._dives = list(FIRST_DIVES)

    def latest(self) -> LoggedDive:
        """The dive that was logged last."""
        return self._dives[-1]

    def dive(self, diver: str, number: int) -> LoggedDive:
        """One dive; raises UnknownDiveError."""
        for dive in self._dives:
            if (dive.diver, dive.number) == (diver, number):
                return dive
        raise UnknownDiveError(f"{diver} has no dive {number}")

    def dives(self, diver: str) -> list[LoggedDive]:
        """All dives of `diver`."""
        return [dive for dive in self._dives if dive.diver == diver]

    def log(self, dive: LoggedDive) -> LoggedDive:
        """Keep `dive` under the next number of its diver."""
        numbered = dataclasses.replace(dive, number=len(self.dives(dive.diver)) + 1)
        self._dives.append(numbered)
        return numbered
