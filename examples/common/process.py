"""The life of a process: says where it listens, waits for SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
import socket

BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; the address that it got is printed for people and for whoever started the process."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol spelled out, asyncio switches Nagle's algorithm off for what is accepted; with 0 it does not,
    # and small answers wait 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SystemExit(f"cannot listen on {host}:{port}: {reason}; choose another with --port") from None
    sock.listen(BACKLOG)
    sock.setblocking(False)
    address, got_port = sock.getsockname()[:2]
    shown = f"[{address}]" if family == socket.AF_INET6 else address
    print(f"listening {shown}:{got_port}", flush=True)
    return sock


async def until_stopped() -> None:
    """Returns at SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopped.set)
    await stopped.wait()
