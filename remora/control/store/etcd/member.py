"""One member of etcd: its connection, and a call on it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Generic, TypeVar

from grpclib.client import Channel, Stream, StreamStreamMethod, UnaryUnaryMethod
from grpclib.config import Configuration

from remora.control.store.errors import StoreError
from remora.control.store.etcd.endpoints import Endpoint
from remora.control.store.etcd.faults import from_exception
from remora.control.store.etcd.proto import etcd_pb2 as pb
from remora.proto.isolated import isolated

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")

Metadata = dict[str, str]


@dataclass(frozen=True, slots=True)
class Method(Generic[RequestT, ReplyT]):
    """A method of etcd's API."""

    path: str
    request: type[RequestT]
    reply: type[ReplyT]


RANGE = Method("/etcdserverpb.KV/Range", pb.RangeRequest, pb.RangeResponse)
PUT = Method("/etcdserverpb.KV/Put", pb.PutRequest, pb.PutResponse)
DELETE = Method("/etcdserverpb.KV/DeleteRange", pb.DeleteRangeRequest, pb.DeleteRangeResponse)
TXN = Method("/etcdserverpb.KV/Txn", pb.TxnRequest, pb.TxnResponse)
LEASE_GRANT = Method("/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantRequest, pb.LeaseGrantResponse)
LEASE_REVOKE = Method("/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeRequest, pb.LeaseRevokeResponse)
# A stream in etcd's API; with one message each way it looks the same on the wire as a unary call.
LEASE_KEEP_ALIVE = Method("/etcdserverpb.Lease/LeaseKeepAlive", pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse)
STATUS = Method("/etcdserverpb.Maintenance/Status", pb.StatusRequest, pb.StatusResponse)
AUTHENTICATE = Method("/etcdserverpb.Auth/Authenticate", pb.AuthenticateRequest, pb.AuthenticateResponse)
WATCH = Method("/etcdserverpb.Watch/Watch", pb.WatchRequest, pb.WatchResponse)

# Only pings notice a frozen server behind a quiet watch: 6 + 3 s at most. etcd closes connections that ping more often
# than every 5 s (--grpc-keepalive-min-time). The names are private in grpclib, which is pinned for them.
_KEEPALIVE = Configuration(
    _keepalive_time=6,
    _keepalive_timeout=3,
    _keepalive_permit_without_calls=True,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=5,
)


class Member:
    """Connects when first called, and again after each loss."""

    __slots__ = ("_channel", "_endpoint", "_ssl", "_timeout_s")

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext | None, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._ssl = context
        self._timeout_s = timeout_s
        self._channel: Channel | None = None

    @property
    def address(self) -> str:
        return str(self._endpoint)

    @property
    def timeout_s(self) -> float:
        return self._timeout_s

    async def call(self, method: Method[RequestT, ReplyT], request: RequestT, metadata: Metadata) -> ReplyT:
        """One request, one reply, within the deadline. Raises StoreError."""
        unary = UnaryUnaryMethod(self._open(), method.path, method.request, method.reply)
        try:
            return await isolated(unary(request, timeout=self._timeout_s, metadata=metadata))
        except Exception as error:
            raise self.fault(error) from error

    def watch(self, metadata: Metadata) -> Stream[pb.WatchRequest, pb.WatchResponse]:
        """A watch stream without deadline. Run it in a task of its own, see `remora.proto.isolated`."""
        method = StreamStreamMethod(self._open(), WATCH.path, WATCH.request, WATCH.reply)
        return method.open(metadata=metadata)

    def fault(self, error: Exception) -> StoreError:
        """What an exception out of a call means."""
        return from_exception(error, self.address, self._timeout_s)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _open(self) -> Channel:
        if self._channel is None:
            self._channel = Channel(self._endpoint.host, self._endpoint.port, ssl=self._ssl, config=_KEEPALIVE)
        return self._channel
