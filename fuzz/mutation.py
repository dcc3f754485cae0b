"""Random mutation of byte strings: for machines without atheris, and for what is compared with other servers."""

from __future__ import annotations

import random
from collections.abc import Sequence

MAX_CHANGES = 4
SHORT_REPEAT = 8


class Mutator:
    """Changes seeds a little, by single octets, by words, and by each other. The same `seed`: the same mutations."""

    def __init__(self, corpus: Sequence[bytes], words: Sequence[bytes], seed: int) -> None:
        self._corpus = corpus
        self._words = words
        self._random = random.Random(seed)

    def next(self) -> bytes:
        """One more mutation."""
        data = self._random.choice(self._corpus)
        for _ in range(self._random.randint(1, MAX_CHANGES)):
            data = self._change(data)
        return data

    def _change(self, data: bytes) -> bytes:
        rnd = self._random
        at = rnd.randint(0, len(data))
        until = min(len(data), at + rnd.choice((0, 1, 1, 2, 4, 16)))
        match rnd.randrange(7):
            case 0:
                return data[:at] + bytes((rnd.randrange(256),)) + data[until:]
            case 1:
                return data[:at] + data[until:]
            case 2:
                return data[:at] + data[at:until] * rnd.randint(2, SHORT_REPEAT) + data[until:]
            case 3:
                return self._at_line(data)
            case 4:
                other = rnd.choice(self._corpus)
                return data[:at] + other[rnd.randint(0, len(other)) :]
            case _:
                return data[:at] + rnd.choice(self._words) + data[until:]

    def _at_line(self, data: bytes) -> bytes:
        """A word in the place of a line's beginning: where fields stand."""
        starts = [index + 2 for index in range(len(data)) if data.startswith(b"\r\n", index)] or [0]
        at = self._random.choice(starts)
        return data[:at] + self._random.choice(self._words) + data[at:]
