"""One question to the app: does it take connections, answer an HTTP path, or say SERVING over gRPC."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import httptools

if TYPE_CHECKING:
    from grpclib.client import Channel

_READ_BYTES = 16 * 1024
_SWITCHING_PROTOCOLS = 101
"""The one status below 200 that is final."""


@dataclass(frozen=True, slots=True)
class Check:
    """How to ask: `target` is the path for http, the service for grpc (empty: the server as a whole)."""

    kind: Literal["tcp", "http", "grpc"]
    target: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.target}" if self.target else self.kind


def parse_check(text: str) -> Check:
    """Of `tcp`, `http:/path`, `grpc` or `grpc:package.Service`. Raises ValueError with one sentence."""
    kind, colon, target = text.partition(":")
    if text == "tcp":
        return Check("tcp")
    if kind == "http" and target.startswith("/") and target.isascii() and target.isprintable() and " " not in target:
        return Check("http", target)
    if kind == "grpc" and bool(colon) == bool(target):
        return Check("grpc", target)
    raise ValueError(f"{text!r} is not a health check; write tcp, http:/path, grpc or grpc:package.Service")


class Probe(Protocol):
    """Asks one app, again and again."""

    async def ask(self) -> str | None:
        """None when the app is well, else what is wrong, in a sentence. Cancelled when it takes too long."""

    def close(self) -> None: ...


def make_probe(check: Check, host: str, port: int) -> Probe:
    """The probe of this kind for the app at `host` and `port`."""
    match check.kind:
        case "tcp":
            return TcpProbe(host, port)
        case "http":
            return HttpProbe(host, port, check.target)
        case "grpc":
            return GrpcProbe(host, port, check.target)


class TcpProbe:
    """Well when a connection is taken."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    async def ask(self) -> str | None:
        try:
            _, writer = await asyncio.open_connection(self._host, self._port)
        except OSError as error:
            return _unreachable(self._host, self._port, error)
        writer.close()
        return None

    def close(self) -> None:
        """Nothing is kept between two questions."""


class HttpProbe:
    """Well when the path answers 200 to 399 (as Kubernetes' httpGet probe counts it)."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self._host = host
        self._port = port
        self._path = path

    async def ask(self) -> str | None:
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        except OSError as error:
            return _unreachable(self._host, self._port, error)
        try:
            status = await self._exchange(reader, writer)
        except (OSError, httptools.HttpParserError):
            status = None
        finally:
            writer.close()
        if status is None:
            return f"The app at {self._host}:{self._port} did not answer {self._path} with HTTP."
        return None if 200 <= status < 400 else f"The app answered {status} to {self._path}."

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int | None:
        host = f"[{self._host}]" if ":" in self._host else self._host
        lines = (
            f"GET {self._path} HTTP/1.1",
            f"host: {host}:{self._port}",
            "user-agent: remora-health",
            "connection: close",
        )
        writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        answer = _Answer()
        answer.parser = parser = httptools.HttpResponseParser(answer)
        while answer.status is None:
            data = await reader.read(_READ_BYTES)
            if not data:
                return None
            # An Upgrade that nobody asked for is an answer like others: its status is judged.
            with contextlib.suppress(httptools.HttpParserUpgrade):
                parser.feed_data(data)
        return answer.status

    def close(self) -> None:
        """Nothing is kept between two questions."""


class _Answer:
    """What httptools calls back: only the status of the final head matters."""

    def __init__(self) -> None:
        self.parser: httptools.HttpResponseParser | None = None
        self.status: int | None = None

    def on_headers_complete(self) -> None:
        assert self.parser is not None, "it calls"
        status: int = self.parser.get_status_code()
        if self.status is None and (status >= 200 or status == _SWITCHING_PROTOCOLS):
            self.status = status


class GrpcProbe:
    """Well when `grpc.health.v1.Health/Check` says SERVING. Its connection is kept."""

    def __init__(self, host: str, port: int, service: str) -> None:
        self._host = host
        self._port = port
        self._service = service
        self._channel: Channel | None = None

    async def ask(self) -> str | None:
        # Imported here: an app that is asked by TCP or HTTP never loads them.
        from grpclib.exceptions import GRPCError
        from grpclib.health.v1.health_grpc import HealthStub
        from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

        from remora.proto.channel import CALL_ERRORS, OpenChannel
        from remora.proto.isolated import isolated

        if self._channel is None:
            self._channel = OpenChannel(self._host, self._port)
        try:
            answer = await isolated(HealthStub(self._channel).Check(HealthCheckRequest(service=self._service)))
        except OSError as error:
            self.close()
            return _unreachable(self._host, self._port, error)
        except GRPCError as error:
            return f"The app's gRPC health service answered {error.status.name}: {error.message or 'no reason given'}."
        except CALL_ERRORS as error:
            self.close()
            return f"The app's gRPC health service did not answer: {error}."
        if answer.status == HealthCheckResponse.SERVING:
            return None
        status = HealthCheckResponse.ServingStatus.Name(answer.status)
        return f"The app's gRPC health service says {status} for {self._service or 'the server'}."

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _unreachable(host: str, port: int, error: OSError) -> str:
    return f"The app at {host}:{port} does not take connections: {error.strerror or error}."
