"""Colours and signs of a terminal, for those that have them."""

from __future__ import annotations

import dataclasses
from typing import TextIO


@dataclasses.dataclass(frozen=True, slots=True)
class Paint:
    """`colours`: escape sequences are understood (ECMA-48 SGR); `signs`: more than ASCII is."""

    colours: bool = False
    signs: bool = False

    @classmethod
    def of(cls, stream: TextIO, environ: dict[str, str] | None = None) -> Paint:
        """What `stream` takes; NO_COLOR (https://no-color.org) is obeyed."""
        plain = bool((environ or {}).get("NO_COLOR")) or (environ or {}).get("TERM") == "dumb"
        return cls(stream.isatty() and not plain, "utf" in (stream.encoding or "").lower())

    def bold(self, text: str) -> str:
        return self._sgr("1", text)

    def dim(self, text: str) -> str:
        return self._sgr("2", text)

    def good(self, text: str) -> str:
        return self._sgr("32", text)

    def bad(self, text: str) -> str:
        return self._sgr("31", text)

    def warn(self, text: str) -> str:
        return self._sgr("33", text)

    def sign(self, name: str) -> str:
        """`yes`, `no`, `idle`, `on`, `off`, `to`."""
        return _SIGNS[name][0 if self.signs else 1]

    def _sgr(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colours and text else text


_SIGNS = {
    "yes": ("✔", "*"),
    "no": ("✘", "x"),
    "idle": ("·", "-"),
    "on": ("●", "o"),
    "off": ("○", "-"),
    "to": ("→", "->"),
}
