"""Regular expressions of RE2: linear in the length of what they are matched against, whatever people write.

The library is loaded when the first one is compiled: most meshes have none.
"""

from __future__ import annotations

from typing import Protocol

MAX_MEMORY = 1 << 20
"""Bytes that one expression may take (Envoy bounds the program size for the same reason)."""


class RegexError(ValueError):
    """The text is no expression of RE2, or too large a one; its text says why."""


class Regex(Protocol):
    """A compiled expression."""

    def fullmatch(self, text: bytes) -> object | None:
        """None: it does not match the text as a whole."""


def compile_regex(text: str) -> Regex:
    """The expression. Raises RegexError."""
    import re2

    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.log_errors = False
    # Nobody asks what groups have matched, and finding out takes RE2's slow machine: 1 ms, not 60 µs, for 50 KB.
    options.never_capture = True
    try:
        found: Regex = re2.compile(text.encode(), options)
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise RegexError(reason) from None
    return found
