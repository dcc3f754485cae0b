"""The life of a process: says where it listens, waits for SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
import socket


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; the address that it got is printed for people and for whoever started the process."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server((host, port), family=family, backlog=1024)
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
