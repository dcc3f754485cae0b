"""What etcd and grpclib say, and what it means."""

from __future__ import annotations

import ssl

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from remora.control.store.errors import RelistNeeded, StoreDenied, StoreError, StoreRefused, StoreUnavailable
from remora.control.store.etcd.faults import (
    AuthDisabled,
    NotFound,
    TokenInvalid,
    Unsent,
    Untrusted,
    from_cancelled_watch,
    from_exception,
)

ADDRESS = "http://a:2379"

CASES: list[tuple[Exception, type[StoreError]]] = [
    (GRPCError(Status.UNAVAILABLE, "etcdserver: no leader"), StoreUnavailable),
    (GRPCError(Status.UNAVAILABLE, "etcdserver: request timed out"), StoreUnavailable),
    (GRPCError(Status.CANCELLED, "context canceled"), StoreUnavailable),
    (GRPCError(Status.UNKNOWN, "who knows"), StoreUnavailable),
    (GRPCError(Status.RESOURCE_EXHAUSTED, "etcdserver: too many requests"), StoreUnavailable),
    (GRPCError(Status.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"), StoreRefused),
    (GRPCError(Status.INVALID_ARGUMENT, "etcdserver: request is too large"), StoreRefused),
    (GRPCError(Status.UNIMPLEMENTED, None), StoreRefused),
    (GRPCError(Status.PERMISSION_DENIED, "etcdserver: permission denied"), StoreDenied),
    (GRPCError(Status.INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password"), StoreDenied),
    (GRPCError(Status.UNAUTHENTICATED, "etcdserver: invalid auth token"), TokenInvalid),
    (GRPCError(Status.INVALID_ARGUMENT, "etcdserver: user name is empty"), TokenInvalid),
    (GRPCError(Status.INVALID_ARGUMENT, "etcdserver: revision of auth store is old"), TokenInvalid),
    (GRPCError(Status.FAILED_PRECONDITION, "etcdserver: authentication is not enabled"), AuthDisabled),
    (GRPCError(Status.NOT_FOUND, "etcdserver: requested lease not found"), NotFound),
    (GRPCError(Status.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"), RelistNeeded),
    (TimeoutError(), StoreUnavailable),
    (ConnectionRefusedError(111, "Connection refused"), Unsent),
    (ssl.SSLError(1, "bad certificate"), Untrusted),
    (StreamTerminatedError("Connection lost"), StoreUnavailable),
    (AttributeError("a surprise"), StoreUnavailable),
]


@pytest.mark.parametrize(("error", "meaning"), CASES)
def test_each_error_says_what_to_do_and_where(error: Exception, meaning: type[StoreError]) -> None:
    fault = from_exception(error, ADDRESS, 5.0)
    assert type(fault) is meaning
    assert ADDRESS in str(fault)
    assert "\n" not in str(fault)


def test_what_is_translated_stays() -> None:
    error = RelistNeeded("compacted")
    assert from_exception(error, ADDRESS, 5.0) is error


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        ("", TokenInvalid),
        ("rpc error: code = PermissionDenied desc = etcdserver: permission denied", TokenInvalid),
        ("etcdserver: no leader", StoreUnavailable),
        ("something new", StoreUnavailable),
    ],
)
def test_a_cancelled_watch_says_why(reason: str, meaning: type[StoreError]) -> None:
    assert type(from_cancelled_watch(reason, ADDRESS)) is meaning
