"""The keys of a mesh in the store (contract).

    /mesh/{env}/config/{kind}/{namespace}/{name}    documents, written by people
    /mesh/{env}/instances/{service}/{instance}      instances, under a lease
    /mesh/{env}/status/{kind}/{namespace}/{name}    what control made of a document
    /mesh/{env}/quotas/{control}                    what the sidecars of a control need of shared limits, under a lease

`kind` is spelled as in the document (`HTTPRoute`). `service` is the mesh's name of it, `name.namespace`, unique over
namespaces; a bare `name`, written by hand, is read as `name.default`.
"""

from __future__ import annotations

from dataclasses import dataclass

from remora.model.names import DEFAULT_NAMESPACE, ServiceName, is_label, service_name

_ROOT = "mesh"


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """A document. Only the shape of the key is checked: names are checked with the document."""

    env: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return _join(self.env, "config", self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class InstanceKey:
    """An instance of a service."""

    env: str
    service: ServiceName
    instance: str

    def __str__(self) -> str:
        return _join(self.env, "instances", self.service, self.instance)


@dataclass(frozen=True, slots=True)
class StatusKey:
    """What control made of the document with the same kind, namespace and name."""

    env: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return _join(self.env, "status", self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class QuotaStoreKey:
    """What the sidecars of a control need."""

    env: str
    control: str

    def __str__(self) -> str:
        return _join(self.env, "quotas", self.control)


def config_key(env: str, kind: str, namespace: str, name: str) -> str:
    """Raises ValueError when a part is empty or has a slash (so do all functions that build a key)."""
    return str(ConfigKey(env, kind, namespace, name))


def instance_key(env: str, service: ServiceName, instance: str) -> str:
    return str(InstanceKey(env, service, instance))


def status_key(env: str, kind: str, namespace: str, name: str) -> str:
    return str(StatusKey(env, kind, namespace, name))


def env_prefix(env: str) -> str:
    """Of everything in an environment."""
    return _join(env) + "/"


def config_prefix(env: str, kind: str | None = None, namespace: str | None = None) -> str:
    """Of all documents, of those of a kind, or of those of a kind in a namespace."""
    return _prefix(env, "config", kind, namespace)


def instances_prefix(env: str, service: ServiceName | None = None) -> str:
    """Of all instances, or of those of a service."""
    return _prefix(env, "instances", service)


def status_prefix(env: str, kind: str | None = None, namespace: str | None = None) -> str:
    return _prefix(env, "status", kind, namespace)


def parse_key(key: str) -> ConfigKey | InstanceKey | StatusKey | QuotaStoreKey | None:
    """What a key stands for; None when it is none of ours."""
    match key.split("/"):
        case ["", "mesh", env, "config", kind, namespace, name] if env and kind and namespace and name:
            return ConfigKey(env, kind, namespace, name)
        case ["", "mesh", env, "status", kind, namespace, name] if env and kind and namespace and name:
            return StatusKey(env, kind, namespace, name)
        case ["", "mesh", env, "instances", service, instance] if env and instance:
            return _instance(env, service, instance)
        case ["", "mesh", env, "quotas", control] if env and control:
            return QuotaStoreKey(env, control)
        case _:
            return None


def _instance(env: str, service: str, instance: str) -> InstanceKey | None:
    name, dot, namespace = service.partition(".")
    if not dot:
        namespace = DEFAULT_NAMESPACE
    if not is_label(name) or not is_label(namespace):
        return None
    return InstanceKey(env, service_name(name, namespace), instance)


def _join(*parts: str) -> str:
    for part in parts:
        if not part or "/" in part:
            raise ValueError(f"{part!r} cannot be part of a key: it must not be empty or have a slash")
    return "/".join(("", _ROOT, *parts))


def _prefix(env: str, area: str, *parts: str | None) -> str:
    given = [part for part in parts if part is not None]
    return _join(env, area, *given) + "/"
