"""The file of the last known good configuration: which of a machine's sidecars it belongs to."""

from __future__ import annotations

import hashlib
from pathlib import Path

from remora.sidecar.options import Options


def state_file(options: Options, state_dir: Path) -> Path:
    """The file in `state_dir`: the same after a restart with the same flags, another one for another sidecar.

    A sidecar with a service is known by it. One without is known by the first port that it was told to take, which no
    other on the machine can have; if it was told none, by the services that it was told to call.
    """
    return state_dir / f"{_owner(options)}.snapshot.json"


def _owner(options: Options) -> str:
    if options.service:
        return f"{options.service}.{options.namespace}"
    addresses = (options.outbound, *(binding.address for binding in options.bindings), options.admin, options.metrics)
    for address in addresses:
        if address.port:
            # An IPv6 address has colons, which not all file systems take.
            return f"client.{options.namespace}.{(address.host or 'any').replace(':', '_')}-{address.port}"
    services = ",".join(sorted(binding.service for binding in options.bindings))
    return f"client.{options.namespace}.{hashlib.sha256(services.encode()).hexdigest()[:12]}"
