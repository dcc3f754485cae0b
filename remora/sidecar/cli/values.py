"""Values of flags, as people write them. Each parser raises ValueError with one sentence that says what is wrong."""

from __future__ import annotations

import ipaddress
import re

from remora.cli.flags import parse_address
from remora.model.address import Address
from remora.sidecar.listener.forwarding import Network
from remora.sidecar.workers.cores import usable_cores

LOOPBACK = "127.0.0.1"
MAX_WORKERS = 256


def parse_weight(text: str) -> int:
    if not _is_number(text) or not 1 <= int(text) <= 10_000:
        raise ValueError(f"{text!r} is not a weight: give a number from 1 to 10000")
    return int(text)


def parse_workers(text: str) -> int:
    if text == "auto":
        return usable_cores()
    if not _is_number(text) or not 1 <= int(text) <= MAX_WORKERS:
        raise ValueError(f"{text!r} is not a number of workers: give one from 1 to {MAX_WORKERS}, or auto")
    return int(text)


def parse_networks(text: str) -> tuple[Network, ...]:
    if text == "none":
        return ()
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"{error}: give networks such as 10.0.0.0/8,2001:db8::/32, or none") from None


def parse_origin(text: str) -> str:
    """An origin as browsers send it, or `*`."""
    scheme, separator, host = text.partition("://")
    if text != "*" and (not separator or not scheme or not host or not text.isascii() or set(host) & set("/?#@ *")):
        raise ValueError(f"{text!r} is not an origin: give SCHEME://HOST[:PORT], such as https://shop.example, or *")
    return text.lower()


def parse_via(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+\-.^_`|~:\[\]]+", text):
        raise ValueError(f"{text!r} is not a name for Via: use letters, digits and dashes")
    return text


def parse_binding(text: str) -> tuple[str, Address]:
    name, equals, address = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not NAME=ADDR:PORT, such as orders=:9101")
    return name, parse_address(address)


def parse_advertise(text: str) -> Address:
    """An address with or without a port; a bare IPv6 address needs no brackets, as Kubernetes gives a pod's."""
    try:
        return Address(str(ipaddress.ip_address(text)), 0)
    except ValueError:
        return parse_address(text if ":" in text else f"{text}:0")


def _is_number(text: str) -> bool:
    return re.fullmatch("[0-9]{1,9}", text) is not None
