"""A request's way through gates, and the copies of it that go to mirrors."""

from __future__ import annotations

import asyncio
import random
import time

from remora.sidecar.exchange.gate import Gate, Granted, Stopped, Verdict
from remora.sidecar.policy.outcome import Outcome
from remora.sidecar.wire.heads import RequestHead
from remora.sidecar.wire.stream import RequestHandler, ResetReason


class Passage:
    """That of one request to one service. Gates and mirrors see the request as it came: it is edited after them."""

    __slots__ = ("_entered", "_gates", "copies", "flag", "held", "is_edited")

    def __init__(self, gates: tuple[Gate, ...], *, is_edited: bool = False) -> None:
        self._gates = gates
        self._entered = 0
        """How many of them have let it go on."""
        self.is_edited = is_edited
        """Its filters have seen it."""
        self.copies: tuple[RequestHandler, ...] = ()
        """They go to mirrors."""
        self.flag = ""
        """How it counts if it goes well: what a gate has done to it."""
        self.held: asyncio.TimerHandle | asyncio.Future[Stopped | Granted | None] | None = None
        """What a gate has it wait for."""

    def enter(self, head: RequestHead) -> Verdict:
        """Pass the gates that are left, up to one that holds it up; None: there is no other."""
        while self._entered < len(self._gates):
            verdict = self._gates[self._entered].enter(head, time.monotonic(), random.random())
            if isinstance(verdict, Stopped):
                return verdict
            self._entered += 1
            if verdict is not None:
                return verdict
        return None

    def leave(self, outcome: Outcome, started: float) -> None:
        """Wait no more, and tell the gates that it has passed how it went, once; it began at `started`."""
        held, self.held = self.held, None
        if held is not None:
            held.cancel()
        entered, self._entered = self._entered, 0
        now = time.monotonic()
        for gate in self._gates[:entered]:
            gate.leave(outcome, now, now - started)

    def end(self, outcome: Outcome, started: float) -> None:
        """The request is over."""
        self.leave(outcome, started)
        for copy in self.copies:
            copy.on_reset(ResetReason.CANCELLED)
