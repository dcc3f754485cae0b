"""One question to an app: does it take connections, answer an HTTP path, or say SERVING over gRPC."""

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


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom to ask, and what to call it."""

    host: str
    port: int
    name: str = "The app"

    def __str__(self) -> str:
        return f"{self.name} at {self.host}:{self.port}"

    def unreachable(self, error: OSError) -> str:
        return f"{self} does not take connections: {error.strerror or error}."


def make_probe(check: Check, subject: Subject, statuses: tuple[int, int] = (200, 399), *, keep: bool = False) -> Probe:
    """The probe of this kind. Of http: first and last status that is well, and whether the connection is kept between
    two questions."""
    match check.kind:
        case "tcp":
            return TcpProbe(subject)
        case "http":
            return HttpProbe(subject, check.target, statuses, keep=keep)
        case "grpc":
            return GrpcProbe(subject, check.target)


class TcpProbe:
    """Well when a connection is taken."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    async def ask(self) -> str | None:
        try:
            _, writer = await asyncio.open_connection(self._subject.host, self._subject.port)
        except OSError as error:
            return self._subject.unreachable(error)
        writer.close()
        return None

    def close(self) -> None:
        """Nothing is kept between two questions."""


class HttpProbe:
    """Well when the path answers a status in a range; 200 to 399 is how Kubernetes' httpGet probe counts."""

    def __init__(self, subject: Subject, path: str, statuses: tuple[int, int], *, keep: bool) -> None:
        self._subject = subject
        self._path = path
        self._first, self._last = statuses
        self._keep = keep
        self._kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> str | None:
        subject, status = self._subject, None
        if self._kept is not None:
            # It may have been closed since: that says nothing yet.
            status = await self._ask_on(*self._kept)
        if status is None:
            try:
                reader, writer = await asyncio.open_connection(subject.host, subject.port)
            except OSError as error:
                return subject.unreachable(error)
            status = await self._ask_on(reader, writer)
        if status is None:
            return f"{subject} did not answer {self._path} with HTTP."
        return None if self._first <= status <= self._last else f"{subject.name} answered {status} to {self._path}."

    async def _ask_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int | None:
        self._kept = None
        answer = _Answer()
        try:
            await self._exchange(reader, writer, answer)
        except (OSError, httptools.HttpParserError):
            answer.status = None
        finally:
            if self._keep and answer.is_whole and not reader.at_eof():
                self._kept = reader, writer
            else:
                writer.close()
        return answer.status

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: _Answer) -> None:
        subject = self._subject
        host = f"[{subject.host}]" if ":" in subject.host else subject.host
        lines = (
            f"GET {self._path} HTTP/1.1",
            f"host: {host}:{subject.port}",
            "user-agent: remora-health",
            "connection: " + ("keep-alive" if self._keep else "close"),
        )
        writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        answer.parser = parser = httptools.HttpResponseParser(answer)
        read = 0
        while answer.status is None or (self._keep and not answer.is_over and read < _READ_BYTES):
            data = await reader.read(_READ_BYTES)
            if not data:
                return
            read += len(data)
            # An Upgrade that nobody asked for is an answer like others: its status is judged.
            with contextlib.suppress(httptools.HttpParserUpgrade):
                parser.feed_data(data)

    def close(self) -> None:
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None


class _Answer:
    """What httptools calls back: the status of the final head matters, and whether its connection can be used again."""

    def __init__(self) -> None:
        self.parser: httptools.HttpResponseParser | None = None
        self.status: int | None = None
        self.is_over = False
        """Nothing more is to be read."""
        self.is_whole = False
        """It has come to its end, and another may follow."""

    def on_headers_complete(self) -> None:
        assert self.parser is not None, "it calls"
        status: int = self.parser.get_status_code()
        if self.status is None and (status >= 200 or status == _SWITCHING_PROTOCOLS):
            self.status = status
            self.is_over = status == _SWITCHING_PROTOCOLS

    def on_message_complete(self) -> None:
        assert self.parser is not None, "it calls"
        if self.status is not None:
            self.is_over = True
            self.is_whole = self.status != _SWITCHING_PROTOCOLS and self.parser.should_keep_alive()


class GrpcProbe:
    """Well when `grpc.health.v1.Health/Check` says SERVING. Its connection is kept."""

    def __init__(self, subject: Subject, service: str) -> None:
        self._subject = subject
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
            self._channel = OpenChannel(self._subject.host, self._subject.port)
        try:
            answer = await isolated(HealthStub(self._channel).Check(HealthCheckRequest(service=self._service)))
        except OSError as error:
            self.close()
            return self._subject.unreachable(error)
        except GRPCError as error:
            why = error.message or "no reason given"
            return f"{self._subject.name}'s gRPC health service answered {error.status.name}: {why}."
        except CALL_ERRORS as error:
            self.close()
            return f"{self._subject.name}'s gRPC health service did not answer: {error}."
        if answer.status == HealthCheckResponse.SERVING:
            return None
        status = HealthCheckResponse.ServingStatus.Name(answer.status)
        return f"{self._subject.name}'s gRPC health service says {status} for {self._service or 'the server'}."

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
