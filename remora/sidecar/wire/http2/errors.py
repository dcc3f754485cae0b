"""Error codes (RFC 9113 §7), the two kinds of fault, and how codes and reset reasons map to each other."""

from __future__ import annotations

import enum

from remora.sidecar.wire.stream import ResetReason


class ErrorCode(enum.IntEnum):
    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Http2ConnectionError(Exception):
    """The peer broke the protocol beyond one stream (RFC 9113 §5.4.1): GOAWAY with `code`, then close."""

    def __init__(self, code: ErrorCode, why: str) -> None:
        super().__init__(why)
        self.code = code


class Http2StreamError(Exception):
    """The peer broke the protocol within one stream (RFC 9113 §5.4.2): RST_STREAM with `code`."""

    def __init__(self, code: ErrorCode, why: str) -> None:
        super().__init__(why)
        self.code = code


CODE_OF_REASON = {
    ResetReason.REFUSED: ErrorCode.REFUSED_STREAM,
    ResetReason.PEER_RESET: ErrorCode.CANCEL,
    ResetReason.PROTOCOL_ERROR: ErrorCode.PROTOCOL_ERROR,
    ResetReason.CANCELLED: ErrorCode.CANCEL,
    ResetReason.OVERLOADED: ErrorCode.ENHANCE_YOUR_CALM,
    ResetReason.INTERNAL: ErrorCode.INTERNAL_ERROR,
}

_REASON_OF_CODE = {
    ErrorCode.REFUSED_STREAM: ResetReason.REFUSED,
    ErrorCode.CANCEL: ResetReason.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: ResetReason.OVERLOADED,
}


def reason_of_code(code: int) -> ResetReason:
    """What a received RST_STREAM means. PROTOCOL_ERROR too is PEER_RESET: there it is the peer who blames us."""
    return _REASON_OF_CODE.get(ErrorCode(code), ResetReason.PEER_RESET) if code <= 0xD else ResetReason.PEER_RESET
