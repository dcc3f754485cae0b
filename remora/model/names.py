"""Service names: how an authority a client wrote becomes the one name that the mesh uses."""

from __future__ import annotations

import ipaddress
import re
from typing import NewType

ServiceName = NewType("ServiceName", str)
"""`name.namespace`, lower case: the key of a service everywhere in the mesh."""

DEFAULT_NAMESPACE = "default"

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A DNS label (RFC 1123), as Kubernetes names its services and namespaces."""

_CLUSTER_SUFFIXES = (".svc.cluster.local", ".svc")


def is_label(text: str) -> bool:
    """Whether `text` may name a service or a namespace."""
    return _LABEL.fullmatch(text) is not None


def service_name(name: str, namespace: str = DEFAULT_NAMESPACE) -> ServiceName:
    """The mesh's name of service `name` in `namespace`."""
    return ServiceName(f"{name}.{namespace}")


def split_service_name(service: ServiceName) -> tuple[str, str]:
    """(name, namespace) of a service."""
    name, _, namespace = service.partition(".")
    return name, namespace


def version_service(service: ServiceName, version: str) -> ServiceName | None:
    """The service that the instances of `version` also answer to: `reviews`, `v2` → `reviews-v2`.

    None when there is no version or it cannot be part of a name.
    """
    name, namespace = split_service_name(service)
    versioned = f"{name}-{version}"
    return service_name(versioned, namespace) if version and is_label(versioned) else None


def split_authority(authority: str) -> tuple[str, int | None]:
    """(host in lower case, port or None) of an authority (RFC 3986 §3.2, no userinfo); [v6] loses its brackets.

    Raises ValueError when the port is not a number from 0 to 65535 or a bracket is missing.
    """
    if authority.startswith("["):
        host, closed, rest = authority[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError(f"{authority!r} is not HOST or HOST:PORT")
        port = rest[1:]
    else:
        host, _, port = authority.partition(":")
    if not port:
        return host.lower(), None
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{authority!r} is not HOST or HOST:PORT")
    return host.lower(), int(port)


def service_of_host(host: str, own_namespace: str = DEFAULT_NAMESPACE) -> ServiceName | None:
    """The service that `host` (no port, lower case) would name, seen from `own_namespace`; None if it cannot name one.

    A service answers to `name`, `name.namespace`, `name.namespace.svc` and `name.namespace.svc.cluster.local`.
    Addresses and `localhost` never name a service.
    """
    host = host.rstrip(".")
    for suffix in _CLUSTER_SUFFIXES:
        if host.endswith(suffix):
            host = host[: -len(suffix)]
            break
    name, dot, namespace = host.partition(".")
    if not dot:
        namespace = own_namespace
    if name == "localhost" or not is_label(name) or not is_label(namespace):
        return None
    return None if _is_address(host) else service_name(name, namespace)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
