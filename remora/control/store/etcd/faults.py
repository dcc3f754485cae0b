"""What grpclib raises and what etcd answers, as errors that say what to do (`remora.control.store.errors`).

Texts of etcd's errors: api/v3rpc/rpctypes/error.go. What is not known here counts as unavailable, so that no loop ends
over an error that nobody has met yet.
"""

from __future__ import annotations

import ssl

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from remora.control.store.errors import RelistNeeded, StoreDenied, StoreError, StoreRefused, StoreUnavailable


class Unsent(StoreUnavailable):
    """No connection: the request was never sent, so that any request may go to another member."""


class Untrusted(StoreDenied):
    """TLS failed at the certificates: a person must act, but another member may be better."""


class TokenInvalid(StoreDenied):
    """The auth token is missing, expired or unknown to this member: log in again."""


class AuthDisabled(StoreRefused):
    """A login at an etcd that asks for none."""


class NotFound(StoreRefused):
    """The lease of the request is dead."""


_TOKEN_TEXTS = ("invalid auth token", "user name is empty", "revision of auth store is old")
_DENIED_TEXTS = ("permission denied", "authentication failed", "user name not found")
_REFUSED = (Status.INVALID_ARGUMENT, Status.FAILED_PRECONDITION, Status.UNIMPLEMENTED)
_DENIED = (Status.PERMISSION_DENIED, Status.UNAUTHENTICATED)


def from_exception(error: Exception, address: str, timeout_s: float) -> StoreError:
    """What an exception out of a call to the member at `address` means."""
    match error:
        case StoreError():
            return error
        case GRPCError():
            return _from_status(error.status, error.message or error.status.name, address)
        case TimeoutError():
            return StoreUnavailable(f"etcd at {address} did not answer within {timeout_s:g} s")
        case ssl.SSLCertVerificationError():
            return Untrusted(f"etcd at {address}: its certificate is not trusted: {error.verify_message}")
        case ssl.SSLError():
            return Untrusted(f"etcd at {address}: TLS failed: {error.strerror or error}")
        case OSError():
            return Unsent(f"etcd at {address} cannot be reached: {error.strerror or error}")
        case _:
            return StoreUnavailable(f"etcd at {address} broke off: {error or type(error).__name__}")


def from_cancelled_watch(reason: str, address: str) -> StoreError:
    """What a cancelled watch means; etcd puts the error's text into `cancel_reason`."""
    if not reason:
        # etcd 3.4 and older cancel without a word when the token is not valid or the access denied.
        return TokenInvalid(f"etcd at {address} cancelled the watch: access denied")
    if any(text in reason for text in (*_TOKEN_TEXTS, *_DENIED_TEXTS)):
        return TokenInvalid(f"etcd at {address} cancelled the watch: {reason}")
    return StoreUnavailable(f"etcd at {address} cancelled the watch: {reason}")


def _from_status(status: Status, text: str, address: str) -> StoreError:
    what = f"etcd at {address}: {text}"
    if any(known in text for known in _TOKEN_TEXTS):
        return TokenInvalid(what)
    if status in _DENIED or any(known in text for known in _DENIED_TEXTS):
        return StoreDenied(what)
    if "authentication is not enabled" in text:
        return AuthDisabled(what)
    if "lease not found" in text:
        return NotFound(what)
    if status is Status.OUT_OF_RANGE:
        return RelistNeeded(what)
    if status in _REFUSED or _will_stay(status, text):
        return StoreRefused(what)
    return StoreUnavailable(what)


def _will_stay(status: Status, text: str) -> bool:
    """RESOURCE_EXHAUSTED is a full database or an oversized message, but `too many requests` passes."""
    return status is Status.RESOURCE_EXHAUSTED and "too many requests" not in text
