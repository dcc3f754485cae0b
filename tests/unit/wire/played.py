"""A downstream of HTTP/1.1, played against the server side without sockets."""

from __future__ import annotations

from typing import Self

import h11

from remora.sidecar.wire.heads import ResponseHead
from remora.sidecar.wire.http1.server import Http1ServerConnection
from remora.sidecar.wire.limits import RequestLimits
from remora.sidecar.wire.watch import Watch
from tests.support.wire import FakeTransport, Heard, Requests


class Downstream:
    """One connection, its transport, and the requests heard on it."""

    def __init__(self, limits: RequestLimits | None = None, watch: Watch | None = None) -> None:
        self.requests = Requests()
        self.closed: list[object] = []
        self.refused: list[int] = []
        self.connection = Http1ServerConnection(
            self.requests, self.closed.append, limits or RequestLimits(), watch, self.refused.append
        )
        self.transport = FakeTransport()
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)

    def send(self, *pieces: bytes) -> Self:
        for piece in pieces:
            self.transport.receive(piece)
        return self

    @property
    def last(self) -> Heard:
        return self.requests.heard[-1]

    def answer(self, status: int = 200, body: bytes = b"ok") -> None:
        stream = self.last.stream
        stream.send_head(ResponseHead(status, [(b"x-a", b"1")], content_length=len(body)), not body)
        if body:
            stream.send_data(body, True)


def read_answers(data: bytes) -> list[tuple[int, bytes, list[tuple[bytes, bytes]]]]:
    """(status, body, trailers) of each response in `data`, as h11 reads them."""
    answers = []
    while data:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
        client.send(h11.EndOfMessage())
        client.receive_data(data)
        status, body, trailers = 0, b"", []
        while True:
            event = client.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                trailers = list(event.headers)
                break
            elif event is h11.NEED_DATA:
                client.receive_data(b"")
        answers.append((status, body, trailers))
        data = client.trailing_data[0]
    return answers
