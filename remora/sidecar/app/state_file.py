"""The file of the last known good configuration: which of a machine's sidecars it belongs to."""

from __future__ import annotations

import hashlib
from pathlib import Path

from remora.model.address import Address
from remora.sidecar.options import Options


def state_file(options: Options, state_dir: Path) -> Path:
    """The file in `state_dir`: the same after a restart with the same flags, another one for another sidecar.

    A sidecar with a service is known by it and by where its app listens, which no other app on the machine can have:
    instances of one service do not share the file. One without a service is known by the first port that it was told
    to take; if it was told none, by the services that it was told to call.
    """
    return state_dir / f"{_owner(options)}.snapshot.json"


def _owner(options: Options) -> str:
    if options.service:
        assert options.upstream is not None, "a service has an app"
        return f"{options.service}.{options.namespace}.{_place(options.upstream)}"
    addresses = (options.outbound, *(binding.address for binding in options.bindings), options.admin, options.metrics)
    for address in addresses:
        if address.port:
            return f"no_service.{options.namespace}.{_place(address)}"
    services = ",".join(sorted(binding.service for binding in options.bindings))
    return f"no_service.{options.namespace}.{hashlib.sha256(services.encode()).hexdigest()[:12]}"


def _place(address: Address) -> str:
    # An IPv6 address has colons, which not all file systems take.
    return f"{(address.host or 'any').replace(':', '_')}-{address.port}"
