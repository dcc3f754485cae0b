"""Differences that are meant, each with its reason. What is in no class here is mended, or the test fails."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.differential.compare import ANSWERED, CLOSED, REFUSED, Finding

_STRICTER = (REFUSED, ANSWERED, CLOSED)


def _refused_early(finding: Finding) -> bool:
    """One has refused, the other still waits; what came before is alike."""
    us, them = finding.us, finding.them
    early, late = (us, them) if us.refused else (them, us)
    return finding.kind == ANSWERED and early.refused and not late.refused and early.final[:-1] == late.final


def _refused_with(pattern: bytes) -> Callable[[Finding], object]:
    search = re.compile(pattern).search
    return lambda finding: finding.kind in _STRICTER and finding.us.refused and search(finding.data)


EXPLAINED: dict[str, Callable[[Finding], object]] = {
    # RFC 9112 §2.2 allows a recipient to take a single LF as the end of a line. Proxies that do before servers that do
    # not, or the other way round, read two different messages: llhttp is strict, and so are we.
    "a line ends with LF alone": _refused_with(rb"(?<!\r)\n"),
    # RFC 9112 §5.2: a server refuses it, or replaces it by spaces. Envoy replaces, we refuse.
    "a field is folded": _refused_with(rb"\r\n[ \t]"),
    # RFC 9110 §2.5 would have HTTP/1.2 read as 1.1. There is no such version, and HTTP/2.0 has another shape.
    "a version that is none": _refused_with(rb"HTTP/(?!1\.[01])"),
    # RFC 9112 §7.1.1: a name, a token or a quoted string. Nobody sends others than to confuse.
    "a chunk's extension that is none": _refused_with(rb"\n[0-9A-Fa-f]+[ \t]*;[^\r\n]*"),
    # RFC 9110 §4.2.4: userinfo in a reference that came from elsewhere is an error. Envoy and h11 read it in two ways.
    "userinfo in the authority": _refused_with(rb"@"),
    # Nobody can have meant https by speaking in clear text; Envoy forwards it as http.
    "https in clear text": _refused_with(rb"(?i) https://"),
    # What cannot become a request any more is refused when that is seen, which of the two sees it sooner depends on how
    # its parser works.
    "refused before the head has ended": _refused_early,
}


def explanation(finding: Finding) -> str | None:
    """The class of EXPLAINED that `finding` belongs to; None: there is none."""
    return next((name for name, holds in EXPLAINED.items() if holds(finding)), None)
