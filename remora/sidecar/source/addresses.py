"""Where control is: `host:port[,host:port]`, one for each replica."""

from __future__ import annotations

from remora.model.address import Address
from remora.model.names import split_authority

DEFAULT_CONTROL_PORT = 15010


def parse_addresses(text: str, default_port: int = DEFAULT_CONTROL_PORT) -> tuple[Address, ...]:
    """The addresses in a comma-separated list. Raises ValueError with one sentence that names the bad one."""
    parts = [part.strip() for part in text.split(",")]
    addresses = tuple(_parse(part, default_port) for part in parts if part)
    if not addresses:
        raise ValueError(f"{text!r} has no address; write HOST:PORT, or several with commas between")
    return tuple(dict.fromkeys(addresses))


def _parse(text: str, default_port: int) -> Address:
    try:
        host, port = split_authority(text)
    except ValueError:
        host, port = "", None
    if not host or port == 0 or "/" in host or " " in host:
        raise ValueError(f"{text!r} is not an address of control; write HOST:PORT, such as 127.0.0.1:15010")
    return Address(host, default_port if port is None else port)
