"""What a request says about its way: X-Forwarded-* by a trust rule, and Via (RFC 9110 §7.6.3).

    inbound, a trusted caller    what it says of callers before it is kept, its own address comes behind
    inbound, any other caller    what it says is dropped, and said anew
    outbound                     nothing is added, nothing is dropped: the app's word is its own

What is added depends on caller and authority only, so it is made once for each.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.stream import RequestHandler, RequestHandlerFactory, RequestStream, ResetReason

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PRIVATE_NETWORKS: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("127.0.0.0/8", "::1/128"),
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # RFC 1918
        "fc00::/7",  # RFC 4193
        *("169.254.0.0/16", "fe80::/10"),  # link-local: RFC 3927, RFC 4291
    )
)
"""Who is trusted unless told otherwise: loopback and private ranges."""

MAX_CALLERS = 1024
"""Addresses that are remembered with what is added for them."""

_PREFIX = b"x-forwarded-"


class Forwarding:
    """The rule of one listener, with its two factories: one for each version of HTTP."""

    def __init__(self, trusted: Sequence[Network] | None, via: str | None = None) -> None:
        """`trusted`: whose word is taken; None: nothing is said of callers. `via`: what we are called in Via."""
        self._trusted = trusted
        self._via = via.encode() if via else None
        self._callers: dict[tuple[str, str], RequestHandlerFactory] = {}

    def factory(
        self, factory: RequestHandlerFactory, transport: asyncio.Transport, version: str
    ) -> RequestHandlerFactory:
        """`factory`, given only requests by this rule; they come over `transport`, by HTTP/`version`."""
        if self._trusted is None and self._via is None:
            return factory
        peer = transport.get_extra_info("peername")
        host = str(peer[0]) if isinstance(peer, tuple) else ""
        caller = self._callers.get((version, host))
        if caller is None:
            if len(self._callers) >= MAX_CALLERS:
                self._callers.clear()
            caller = self._callers[version, host] = self._make(factory, host, version)
        return caller

    def _make(self, factory: RequestHandlerFactory, host: str, version: str) -> RequestHandlerFactory:
        via = None if self._via is None else (b"Via", version.encode() + b" " + self._via)
        if self._via is not None:
            factory = _AnsweredVia(factory, self._via)
        if self._trusted is None or not host:
            return _Caller(factory, b"", True, via) if via else factory
        address = ipaddress.ip_address(host.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return _Caller(factory, str(address).encode(), any(address in network for network in self._trusted), via)


class _Caller:
    """The requests of one address."""

    __slots__ = ("_added", "_address", "_authority", "_factory", "_trusted", "_via")

    def __init__(
        self, factory: RequestHandlerFactory, address: bytes, trusted: bool, via: tuple[bytes, bytes] | None
    ) -> None:
        self._factory = factory
        self._address = address
        """Empty: nothing is said of callers."""
        self._trusted = trusted
        self._via = via
        self._authority: bytes | None = None
        self._added: Fields = []
        """What is added to a request for `_authority` that says nothing of callers."""

    def __call__(self, stream: RequestStream, head: RequestHead, end: bool) -> RequestHandler:
        if self._address and (head.was_forwarded or not self._trusted):
            self._amend(head)
        elif head.authority == self._authority:
            head.hop_fields = self._added
        else:
            self._authority = head.authority
            self._added = head.hop_fields = self._hop_fields(self._address, set(), head.authority)
        return self._factory(stream, head, end)

    def _amend(self, head: RequestHead) -> None:
        kept: Fields = []
        said: set[bytes] = set()
        way: list[bytes] = []
        for field in head.fields:
            name = field[0].lower()
            if not name.startswith(_PREFIX):
                if name != b"forwarded" or self._trusted:
                    kept.append(field)
            elif self._trusted and name == b"x-forwarded-for":
                way.append(field[1])
            elif self._trusted:
                said.add(name)
                kept.append(field)
        head.fields = kept
        head.hop_fields = self._hop_fields(b", ".join([*filter(None, way), self._address]), said, head.authority)

    def _hop_fields(self, way: bytes, said: set[bytes], authority: bytes) -> Fields:
        added: Fields = []
        if way:
            added.append((b"X-Forwarded-For", way))
            if b"x-forwarded-proto" not in said:
                added.append((b"X-Forwarded-Proto", b"http"))
            if b"x-forwarded-host" not in said and authority:
                added.append((b"X-Forwarded-Host", authority))
        if self._via is not None:
            added.append(self._via)
        return added


class _AnsweredVia:
    """A factory whose answers have Via."""

    __slots__ = ("_factory", "_name")

    def __init__(self, factory: RequestHandlerFactory, name: bytes) -> None:
        self._factory = factory
        self._name = name

    def __call__(self, stream: RequestStream, head: RequestHead, end: bool) -> RequestHandler:
        return self._factory(_ViaStream(stream, self._name), head, end)


class _ViaStream:
    """A RequestStream that adds Via to heads."""

    __slots__ = ("_name", "_stream")

    def __init__(self, stream: RequestStream, name: bytes) -> None:
        self._stream = stream
        self._name = name

    def send_head(self, head: ResponseHead, end: bool) -> None:
        head.fields = [*head.fields, (b"Via", head.version + b" " + self._name)]
        self._stream.send_head(head, end)

    def send_data(self, data: bytes, end: bool) -> None:
        self._stream.send_data(data, end)

    def send_trailers(self, trailers: Fields) -> None:
        self._stream.send_trailers(trailers)

    def reset(self, reason: ResetReason) -> None:
        self._stream.reset(reason)

    def pause(self) -> None:
        self._stream.pause()

    def resume(self) -> None:
        self._stream.resume()
