"""Logging in to etcd, and again whenever it forgets us (tokens end with time and with a restart)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from remora.control.store.etcd.faults import AuthDisabled
from remora.control.store.etcd.member import AUTHENTICATE, Member, Metadata
from remora.control.store.etcd.proto import etcd_pb2 as pb


@dataclass(frozen=True, slots=True)
class EtcdCredentials:
    user: str
    password: str = field(repr=False)


class Login:
    """The token in use. Without credentials, or at an etcd without auth, there is none."""

    __slots__ = ("_credentials", "_lock", "_metadata")

    def __init__(self, credentials: EtcdCredentials | None) -> None:
        self._credentials = credentials
        self._metadata: Metadata | None = None if credentials else {}
        self._lock = asyncio.Lock()

    @property
    def possible(self) -> bool:
        """Whether logging in again may help."""
        return self._credentials is not None

    async def metadata(self, member: Member) -> Metadata:
        """What a call must carry; logs in at `member` if need be. Raises StoreError."""
        if self._metadata is None:
            async with self._lock:
                if self._metadata is None:
                    self._metadata = await self._authenticate(member)
        return self._metadata

    def forget(self, metadata: Metadata) -> None:
        """This did not work: log in before the next call, unless somebody has done so since."""
        if self._metadata is metadata and self._credentials is not None:
            self._metadata = None

    async def _authenticate(self, member: Member) -> Metadata:
        assert self._credentials is not None
        request = pb.AuthenticateRequest(name=self._credentials.user, password=self._credentials.password)
        try:
            reply = await member.call(AUTHENTICATE, request, {})
        except AuthDisabled:
            return {}
        return {"token": reply.token}
