"""A follower of a prefix that tests can wait on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from remora.control.store.follow import Backoff, FollowState, Update, follow
from remora.control.store.interface import EventKind, Store

DEADLINE_S = 40
BACKOFF = Backoff(base_s=0.02, cap_s=0.2)


class Follower:
    """What `follow()` has told so far: `data` as a reader would hold it, all updates, all states."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.updates: list[Update] = []
        self.states: list[FollowState] = []
        self._changed = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def of(cls, store: Store, prefix: str) -> AsyncIterator[Follower]:
        follower = cls()
        task = asyncio.create_task(follower._run(store, prefix))
        try:
            yield follower
            assert not task.done(), f"follow() ended: {task!r}"
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def until(self, reached: Callable[[Follower], bool]) -> None:
        """Wait for an update or a state that makes this true."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not reached(self):
                    await self._changed.wait()
                    self._changed.clear()
        except TimeoutError:
            raise AssertionError(f"not reached: {len(self.data)} keys, states {self.states}") from None

    async def until_value(self, key: str, value: bytes | None) -> None:
        await self.until(lambda self: self.data.get(key) == value)

    async def until_connected(self) -> None:
        await self.until(lambda self: bool(self.states) and self.states[-1].connected)

    async def until_disconnected(self) -> FollowState:
        await self.until(lambda self: bool(self.states) and not self.states[-1].connected)
        return self.states[-1]

    async def _run(self, store: Store, prefix: str) -> None:
        async with aclosing(follow(store, prefix, on_state=self._note, backoff=BACKOFF)) as updates:
            async for update in updates:
                self._apply(update)

    def _apply(self, update: Update) -> None:
        self.updates.append(update)
        for event in update.events:
            if event.kind is EventKind.PUT:
                self.data[event.key] = event.value
            else:
                del self.data[event.key]  # a deletion of what we never had would be an error
        self._changed.set()

    def _note(self, state: FollowState) -> None:
        self.states.append(state)
        self._changed.set()
