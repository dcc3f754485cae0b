"""The ports that all workers share, taken before there are any.

A socket that is bound but never listened on keeps a port for this sidecar. Workers that are started, and started again,
listen there with SO_REUSEPORT, and the kernel spreads new connections over them; it gives none to the one that does not
listen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import socket
from collections.abc import Iterator, Sequence

from remora.model.address import Address
from remora.sidecar.datapath import Place, places
from remora.sidecar.listener.listener import ListenError, listen_problem
from remora.sidecar.options import Options


@contextlib.contextmanager
def reserved_ports(options: Options) -> Iterator[Options]:
    """`options` with the ports that were picked where they said 0; they are this sidecar's until the end.

    Raises ListenError for one that is in use.
    """
    with contextlib.ExitStack() as stack:
        yield _with_ports(options, [_reserve(place, stack) for place in places(options)])


def _with_ports(options: Options, ports: Sequence[int]) -> Options:
    left = iter(ports)
    inbound = options.inbound if options.upstream is None else Address(options.inbound.host, next(left))
    outbound = Address(options.outbound.host, next(left))
    bindings = tuple(
        dataclasses.replace(binding, address=Address(binding.address.host, port))
        for binding, port in zip(options.bindings, left, strict=True)
    )
    return dataclasses.replace(options, inbound=inbound, outbound=outbound, bindings=bindings)


def _reserve(place: Place, stack: contextlib.ExitStack) -> int:
    host, port = place.address.host, place.address.port
    try:
        # As a server without a host does: on all addresses, of IPv4 and of IPv6.
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            port = _reserve_one(family, (address[0], port), stack) or port
    except OSError as error:
        raise ListenError(listen_problem(error, place.name, host, place.address.port, place.flag)) from None
    return port


def _reserve_one(family: int, address: tuple[str | int, int], stack: contextlib.ExitStack) -> int:
    """The port; 0 when this machine has no such family."""
    try:
        if address[1]:
            # Without SO_REUSEPORT, so that one which others share among themselves is in use too.
            _bound(family, address, shared=False).close()
        bound = stack.enter_context(_bound(family, address, shared=True))
    except OSError as error:
        if family == socket.AF_INET6 and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return 0
        raise
    port: int = bound.getsockname()[1]
    return port


def _bound(family: int, address: tuple[str | int, int], *, shared: bool) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened
