"""Asks a running sidecar about itself, for `sidecar status`."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

TIMEOUT_S = 5.0


class AdminError(Exception):
    """The sidecar did not answer; the text says where it was asked and what to do."""


def fetch_status(host: str, port: int) -> dict[str, Any]:
    """The /status page of the sidecar whose admin port this is. Raises AdminError."""
    found = fetch(host, port, "/status")
    if not isinstance(found, dict) or "listeners" not in found:
        raise AdminError(f"what listens at {host}:{port} is not a sidecar's admin port: say where it is with --admin")
    return found


def fetch(host: str, port: int, page: str) -> Any:
    """A page of JSON of the sidecar whose admin port this is. Raises AdminError."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", page)
        answer = connection.getresponse()
        found = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise AdminError(f"no sidecar's admin port at {host}:{port} ({reason}): say where it is with --admin") from None
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK and isinstance(found, dict) and "error" in found:
        raise AdminError(str(found["error"]))
    if answer.status != http.HTTPStatus.OK:
        raise AdminError(f"what listens at {host}:{port} is not a sidecar's admin port: say where it is with --admin")
    return found


def render_status(status: dict[str, Any]) -> str:
    """`status` for people, a line for each thing."""
    rows = list(_rows(status))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {text}" for name, text in rows)


def _rows(status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "ready", "yes" if status["ready"] else "no"
    for reason in status["missing"]:
        yield "  missing", reason
    yield "version", f"{status['version']} ({status['build']})"
    if (app := status["app"]) is not None:
        yield "app", f"{app['state']} ({app['check']}): {app['reason']}"
    for name, address in status["listeners"].items():
        yield f"port {name}", f"{address}, {status['connections'].get(name, 0)} connections"
    for worker in status.get("workers", ()):
        yield f"worker {worker['worker']}", _worker(worker)
    snapshot = status["snapshot"]
    yield "configuration", f"from {snapshot['from']}, revision {snapshot['revision']}"
    yield "services", ", ".join(snapshot["services"]) or "none in use"
    if (control := status["control"]) is not None:
        link = "connected to" if control["connected"] else f"not connected ({control['last_error']}), last tried"
        yield "control", f"{link} {control['control']}"
    if (registration := status["registration"]) is not None:
        yield "registration", f"{registration['phase']} as {registration['instance']}"


def _worker(worker: dict[str, Any]) -> str:
    text = f"{worker['state']}, process {worker['pid']}, live requests: {worker['requests']}"
    return f"{text}, restarts: {worker['restarts']} ({worker['last_end']})" if worker["restarts"] else text
