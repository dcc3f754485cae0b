"""What a downstream may send before it is refused; the defaults are the mesh's contract."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds on a request's head. Over them: 431 for the head and its fields, 414 for the target."""

    head_bytes: int = 60 * 1024
    fields: int = 100
    target_bytes: int = 8 * 1024
