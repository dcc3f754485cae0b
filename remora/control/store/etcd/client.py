"""The `Store` on an etcd cluster: calls with failover and login. Watches are in `watch`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from remora.control.store.errors import LeaseGone, StoreConflict, StoreDenied, StoreUnavailable
from remora.control.store.etcd.auth import EtcdCredentials, Login
from remora.control.store.etcd.endpoints import Endpoint, EtcdTls
from remora.control.store.etcd.faults import NotFound, TokenInvalid, Unsent, Untrusted
from remora.control.store.etcd.member import (
    DELETE,
    LEASE_GRANT,
    LEASE_KEEP_ALIVE,
    LEASE_REVOKE,
    PUT,
    RANGE,
    STATUS,
    TXN,
    Member,
    Metadata,
    Method,
    ReplyT,
    RequestT,
)
from remora.control.store.etcd.proto import etcd_pb2 as pb
from remora.control.store.etcd.ranges import decode_key, encode_key, range_end
from remora.control.store.etcd.watch import watch_member
from remora.control.store.interface import Entry, LeaseId, Listing, Revision, StoreStatus, WatchBatch

CALL_TIMEOUT_S = 5.0  # an election takes etcd 1 to 2 s by default


class EtcdStore:
    """Talks to one member and goes to the next when that one fails.

    Reads, leases and logins are repeated at the next member, each once. A write is repeated only if it was certainly
    not sent: else it might undo what someone wrote meanwhile.

    endpoints: the members' client URLs (`parse_endpoints`).
    tls: certificates for https endpoints; None trusts the system's CAs. Raises ValueError when a file is no good.
    credentials: user and password, for an etcd with auth.
    timeout_s: of one call to one member; a call ends after at most this times the number of members.

    Does nothing on the network until first used. Belongs to one event loop.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        tls: EtcdTls | None = None,
        credentials: EtcdCredentials | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        if not endpoints:
            raise ValueError("an etcd store needs at least one endpoint")
        context = (tls or EtcdTls()).context() if any(endpoint.tls for endpoint in endpoints) else None
        self._members = [Member(endpoint, context if endpoint.tls else None, timeout_s) for endpoint in endpoints]
        self._current = 0
        self._login = Login(credentials)
        self._closed = False

    async def list(self, prefix: str) -> Listing:
        request = pb.RangeRequest(key=encode_key(prefix) or b"\0", range_end=range_end(prefix))
        reply = await self._call(RANGE, request)
        return Listing(tuple(_entry(kv) for kv in reply.kvs), Revision(reply.header.revision))

    async def get(self, key: str) -> Entry | None:
        reply = await self._call(RANGE, pb.RangeRequest(key=encode_key(key)))
        return _entry(reply.kvs[0]) if reply.kvs else None

    async def put(
        self, key: str, value: bytes, *, lease: LeaseId | None = None, expected: Revision | None = None
    ) -> Revision:
        request = pb.PutRequest(key=encode_key(key), value=value, lease=lease or 0)
        try:
            if expected is None:
                reply = await self._call(PUT, request, repeatable=False)
                return Revision(reply.header.revision)
            done = await self._transact(key, expected, pb.RequestOp(request_put=request))
            return Revision(done.header.revision)
        except NotFound as error:
            raise LeaseGone(lease or 0) from error

    async def delete(self, key: str, *, expected: Revision | None = None) -> bool:
        request = pb.DeleteRangeRequest(key=encode_key(key))
        if expected is None:
            reply = await self._call(DELETE, request, repeatable=False)
            return reply.deleted > 0
        done = await self._transact(key, expected, pb.RequestOp(request_delete_range=request))
        return done.responses[0].response_delete_range.deleted > 0

    async def watch(self, prefix: str, from_revision: Revision) -> AsyncGenerator[WatchBatch, None]:
        self._check_open()
        member = self._members[self._current]
        try:
            async with aclosing(watch_member(member, self._login, prefix, from_revision)) as batches:
                async for batch in batches:
                    yield batch
        except (StoreUnavailable, Untrusted):
            self._leave(member)
            raise

    async def grant(self, ttl_s: int) -> LeaseId:
        # Repeatable: a lease granted twice ends unused.
        reply = await self._call(LEASE_GRANT, pb.LeaseGrantRequest(TTL=ttl_s))
        return LeaseId(reply.ID)

    async def keep_alive(self, lease: LeaseId) -> int:
        reply = await self._call(LEASE_KEEP_ALIVE, pb.LeaseKeepAliveRequest(ID=lease))
        return max(0, reply.TTL)

    async def revoke(self, lease: LeaseId) -> None:
        try:
            await self._call(LEASE_REVOKE, pb.LeaseRevokeRequest(ID=lease))
        except NotFound:
            return  # it has ended already

    async def status(self) -> StoreStatus:
        reply = await self._call(STATUS, pb.StatusRequest(), needs_leader=False)
        answered = self._members[self._current].address
        return StoreStatus(answered, reply.version, reply.leader != 0, Revision(reply.header.revision))

    async def close(self) -> None:
        self._closed = True
        for member in self._members:
            member.close()

    async def _transact(self, key: str, expected: Revision, operation: pb.RequestOp) -> pb.TxnResponse:
        """Do it if the key is at this revision."""
        unchanged = pb.Compare(
            result=pb.Compare.EQUAL, target=pb.Compare.MOD, key=encode_key(key), mod_revision=expected
        )
        reply = await self._call(TXN, pb.TxnRequest(compare=[unchanged], success=[operation]), repeatable=False)
        if not reply.succeeded:
            raise StoreConflict(key, expected)
        return reply

    async def _call(
        self,
        method: Method[RequestT, ReplyT],
        request: RequestT,
        *,
        repeatable: bool = True,
        needs_leader: bool = True,
    ) -> ReplyT:
        """The first answer, from the current member on. `needs_leader`: a member without quorum refuses at once."""
        self._check_open()
        tried: list[str] = []
        for _ in self._members:
            member = self._members[self._current]
            try:
                return await self._call_member(member, method, request, {"hasleader": "true"} if needs_leader else {})
            except (Unsent, Untrusted) as error:
                last: Exception = error
            except StoreUnavailable as error:
                if not repeatable:
                    self._leave(member)
                    raise
                last = error
            tried.append(str(last))
            self._leave(member)
        if len(tried) == 1 or isinstance(last, Untrusted):
            raise last
        raise StoreUnavailable("no member of etcd answers: " + "; ".join(tried)) from last

    async def _call_member(
        self, member: Member, method: Method[RequestT, ReplyT], request: RequestT, metadata: Metadata
    ) -> ReplyT:
        login = await self._login.metadata(member)
        try:
            return await member.call(method, request, metadata | login)
        except TokenInvalid as error:
            if not self._login.possible:
                raise StoreDenied(f"etcd at {member.address} asks for a user name and password") from error
            self._login.forget(login)
        return await member.call(method, request, metadata | await self._login.metadata(member))

    def _leave(self, member: Member) -> None:
        """Go on with the next member, unless another call has done so."""
        if self._members[self._current] is member:
            self._current = (self._current + 1) % len(self._members)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the connection to etcd is closed")


def _entry(kv: pb.KeyValue) -> Entry:
    lease = LeaseId(kv.lease) if kv.lease else None
    return Entry(decode_key(kv.key), kv.value, Revision(kv.mod_revision), lease, Revision(kv.create_revision))
