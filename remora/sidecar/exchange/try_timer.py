"""The time of one try, or until a hedge. Only requests whose policy asks for it have such a timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class TryTimer:
    """What stands in the wheel for it."""

    __slots__ = ("_on_timer", "timer")

    def __init__(self, on_timer: Callable[[], None]) -> None:
        self._on_timer = on_timer
        self.timer: int | asyncio.TimerHandle | None = None

    def on_timer(self) -> None:
        self._on_timer()
