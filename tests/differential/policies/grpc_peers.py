"""Upstreams and clients of gRPC that fail on script, by h2 (python-hyper)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from h2.errors import ErrorCodes

from tests.differential.policies.asks import Ask
from tests.differential.policies.stage import ATTEMPT, CASE, Arrival, Playing
from tests.support.h2_peer import Call, h2_client, h2_server

_CONTENT = (b"content-type", b"application/grpc")
DEADLINE_S = 20
_MESSAGE = b"\0\0\0\0\2ok"


@asynccontextmanager
async def grpc_upstream(stage: Playing, backend: str) -> AsyncIterator[int]:
    """One upstream of `backend`; gives its port."""
    upstream = _Upstream(stage, backend)
    async with h2_server(upstream.serve) as server:
        upstream.port = server.port
        yield server.port


class _Upstream:
    def __init__(self, stage: Playing, backend: str) -> None:
        self._stage = stage
        self._backend = backend
        self.port = 0

    async def serve(self, call: Call) -> None:
        await call.finish()
        if call.reset_code is not None:
            return
        fields = dict(call.headers)
        plain = tuple((name, value) for name, value in call.headers if not name.startswith(b":"))
        plain += ((b"host", fields[b":authority"]),)
        arrival = Arrival(self._backend, self.port, fields[b":method"], fields[b":path"], plain, len(call.data))
        number, act = self._stage.on_arrival(fields.get(CASE, b""), arrival)
        told = [(ATTEMPT, b"%d" % number), _CONTENT]
        status = [(b"grpc-status", b"%d" % act.status)]
        if act.retry_after:
            status.append((b"grpc-retry-pushback-ms", act.retry_after.encode()))
        match act.deed:
            case "trailers only":
                call.send_headers([(b":status", b"200"), *told, *status], end=True)
            case "trailers":
                call.send_headers([(b":status", b"200"), *told])
                call.send_headers(status, end=True)
            case "answer" if act.status != 200:
                call.send_headers([(b":status", b"%d" % act.status), told[0]], end=True)
            case "answer":
                call.send_headers([(b":status", b"200"), *told])
                await call.send_data(_MESSAGE)
                call.send_headers([(b"grpc-status", b"0")], end=True)
            case "refuse":
                call.reset(ErrorCodes.REFUSED_STREAM)
            case "reset":
                call.reset(ErrorCodes.INTERNAL_ERROR)
            case _:
                pass


async def call(port: int, case: bytes, ask: Ask) -> tuple[int, bool, list[tuple[bytes, bytes]]]:
    """Make a call, or a request by HTTP/2; the answer's status, whether it is whole, its fields and trailers."""
    fields = [(name.lower().encode(), value.encode()) for name, value in ask.fields]
    head = [
        (b":method", ask.method.encode()),
        (b":scheme", b"http"),
        (b":path", ask.target.encode()),
        (b":authority", ask.authority.encode()),
        *((_CONTENT, (b"te", b"trailers")) if ask.grpc else ()),
        *fields,
        (CASE, case),
    ]
    async with h2_client(port) as peer, asyncio.timeout(DEADLINE_S):
        asked = peer.request(head, end=not ask.body)
        if ask.body:
            with contextlib.suppress(ConnectionError):
                await asked.send_data(ask.body, end=True)
        await asked.finish()
        fields = [field for field in (*asked.headers, *(asked.trailers or ())) if not field[0].startswith(b":")]
        return int(dict(asked.headers).get(b":status", b"0")), asked.ended and asked.reset_code is None, fields
