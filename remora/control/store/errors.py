"""What can go wrong with the store, one class per thing to do about it.

StoreError
├── StoreUnavailable  nobody answered, or no quorum: try again, or another member
├── StoreDenied       wrong user, password, certificate or role: a person must act
├── StoreRefused      the request itself is bad (too large, no space): the same again will fail again
├── StoreConflict     the key changed meanwhile: read it again
├── LeaseGone         the lease ended: grant another and put again
└── RelistNeeded      the watch cannot go on from there: list again
"""

from __future__ import annotations

# ruff: noqa: N818 - the names say what happened, as grpclib's and httpcore's do


class StoreError(Exception):
    """Base of all errors of a store; its text is one sentence for people."""


class StoreUnavailable(StoreError):
    """No member answered in time, or the members have no quorum. A write may or may not have happened. Retry."""


class StoreDenied(StoreError):
    """The store knows us and says no, or does not know us. Retrying alone does not help."""


class StoreRefused(StoreError):
    """The store understood the request and cannot take it. The same request will fail again."""


class StoreConflict(StoreError):
    """The key is not at the revision that the writer expected. Nothing was written. Read again, then decide."""

    def __init__(self, key: str, expected: int) -> None:
        self.key = key
        self.expected = expected
        wanted = "it exists already" if expected == 0 else f"it is no longer at revision {expected}"
        super().__init__(f"{key}: not written, {wanted}")


class LeaseGone(StoreError):
    """A put named a lease that has expired or was revoked. Nothing was written. Grant a new one and put again."""

    def __init__(self, lease: int) -> None:
        self.lease = lease
        super().__init__(f"lease {lease:x} does not exist any more")


class RelistNeeded(StoreError):
    """Events from the wanted revision on are gone: compacted away, or the store's history is another one now.

    List again and watch from there; what vanished meanwhile shows only by comparing.
    """
