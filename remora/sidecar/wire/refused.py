"""Requests that a codec answers itself, as no handler is to see them; and what every protocol refuses alike."""

from __future__ import annotations

from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.problem import problem


class RefusedError(Exception):
    """A request that is answered with `status`; `code` and `detail` as those of a problem answer."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail

    def answer(self) -> tuple[ResponseHead, bytes]:
        """Head and body."""
        return problem(self.status, self.code, self.detail)


def head_too_large(limits: RequestLimits) -> RefusedError:
    """RFC 6585 §5."""
    return RefusedError(431, "head_too_large", f"the request head is over {limits.head_bytes} bytes")


def too_many_fields(limits: RequestLimits, kind: str = "header") -> RefusedError:
    """RFC 6585 §5; `kind` is `header` or `trailer`."""
    return RefusedError(431, "too_many_fields", f"there are more than {limits.fields} {kind} fields")


def target_too_long(limits: RequestLimits) -> RefusedError:
    """RFC 9110 §15.5.15."""
    return RefusedError(414, "target_too_long", f"the request target is over {limits.target_bytes} bytes")
