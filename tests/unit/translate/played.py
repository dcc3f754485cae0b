"""Both ends of a translated call, played: a downstream that holds to the rules of streams, and an exchange."""

from __future__ import annotations

from remora.sidecar.wire.heads import Fields, RequestHead, ResponseHead
from remora.sidecar.wire.stream import RequestHandler, RequestStream, ResetReason


class Downstream:
    """A codec's stream; it insists that an answer is well formed."""

    def __init__(self) -> None:
        self.heads: list[ResponseHead] = []
        self.data = b""
        self.ended = False
        self.resets: list[ResetReason] = []

    def send_head(self, head: ResponseHead, end: bool) -> None:
        assert not self.ended
        assert not self.final
        for name, value in head.fields:
            assert name
            assert not set(name + value) & set(b"\r\n\0"), "a field that breaks out of its line"
        self.heads.append(head)
        assert not end or head.status >= 200
        self.ended = end

    @property
    def final(self) -> list[ResponseHead]:
        return [head for head in self.heads if head.status >= 200]

    @property
    def status(self) -> int:
        (head,) = self.final
        return head.status

    def fields(self) -> dict[str, str]:
        (head,) = self.final
        return {name.decode(): value.decode("latin-1") for name, value in head.fields}

    def send_data(self, data: bytes, end: bool) -> None:
        assert self.final
        assert not self.ended
        self.data += data
        self.ended = end

    def send_trailers(self, trailers: Fields) -> None:
        raise AssertionError("neither browsers nor JSON's callers see trailers")

    def reset(self, reason: ResetReason) -> None:
        self.resets.append(reason)
        self.ended = True

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Upstream:
    """Stands for the exchange: a RequestHandlerFactory that writes down the call."""

    def __init__(self) -> None:
        self.head: RequestHead | None = None
        self.stream: RequestStream | None = None
        self.data = b""
        self.ended = False
        self.resets: list[ResetReason] = []
        self.writable: list[bool] = []

    def __call__(self, stream: RequestStream, head: RequestHead, end: bool) -> RequestHandler:
        assert self.head is None, "one call"
        self.head, self.stream, self.ended = head, stream, end
        return self

    def on_data(self, data: bytes, end: bool) -> None:
        assert not self.ended
        self.data += data
        self.ended = end

    def on_trailers(self, trailers: Fields) -> None:
        raise AssertionError("gRPC's requests have none")

    def on_reset(self, reason: ResetReason) -> None:
        self.resets.append(reason)

    def on_writable(self, writable: bool) -> None:
        self.writable.append(writable)


OK = ResponseHead(200, [(b"content-type", b"application/grpc")])
DONE: Fields = [(b"grpc-status", b"0")]
