"""An open-loop HTTP/1.1 client: `python -m bench.openloop PORT PATH RATE SECONDS CONNECTIONS`, prints JSON.

Requests are due at Poisson-distributed times (fixed seed) whatever the answers do, and a latency counts from the moment
that its request was due: a slow proxy cannot slow down the questions, so nothing is hidden by coordinated omission
(Gil Tene, "How NOT to Measure Latency"). A request that finds all connections busy waits in line, and its wait counts.

Plain sockets and epoll, no event loop: it costs some 10 µs of its core per request, the same for all contestants.
select() does the waiting because its timeout has microseconds, where epoll's has milliseconds.
"""

from __future__ import annotations

import collections
import gc
import json
import random
import select
import socket
import sys
import time

import msgspec

from bench.processes import HOST
from bench.stats import percentile

WARM_UP_SHARE = 0.15
"""Of the time; latencies of requests due in it are not counted."""
GRACE_S = 1.0
"""How long after the end the last answers may come."""
_CHUNK = 65536


class Result(msgspec.Struct, frozen=True):
    """Latencies in seconds; `lost` are requests without an answer at the end, and answers other than 200."""

    count: int
    lost: int
    p50_s: float
    p99_s: float


class Client:
    """One run over `connections` keep-alive connections."""

    def __init__(self, port: int, path: str, connections: int) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".encode()
        self._sockets = [socket.create_connection((HOST, port)) for _ in range(connections)]
        self._by_fd = {sock.fileno(): sock for sock in self._sockets}
        self._idle = collections.deque(self._sockets)
        self._due_of: dict[int, float] = {}
        self._waiting: collections.deque[float] = collections.deque()
        self._epoll = select.epoll()
        self._latencies: list[tuple[float, float]] = []
        self._bad = 0
        for sock in self._sockets:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._epoll.register(sock, select.EPOLLIN)

    def run(self, rate: float, seconds: float) -> Result:
        """`rate` requests per second for `seconds`; what is due in the warm-up is sent but not counted."""
        draw = random.Random(1).expovariate
        start = time.perf_counter()
        end = start + seconds
        due = start + draw(rate)
        while True:
            now = time.perf_counter()
            while due <= now and due < end:
                self._waiting.append(due)
                due += draw(rate)
            while self._waiting and self._idle:
                self._send(self._waiting.popleft())
            if now >= end and (now >= end + GRACE_S or not (self._waiting or self._due_of)):
                break
            self._receive(max(0.0, (due if due < end else now + 0.01) - time.perf_counter()))
        return self._result(start + seconds * WARM_UP_SHARE)

    def close(self) -> None:
        self._epoll.close()
        for sock in self._sockets:
            sock.close()

    def _send(self, due: float) -> None:
        sock = self._idle.popleft()
        self._due_of[sock.fileno()] = due
        sock.send(self._request)

    def _receive(self, timeout_s: float) -> None:
        if not select.select([self._epoll], [], [], timeout_s)[0]:
            return
        for fd, _ in self._epoll.poll(0):
            sock = self._by_fd[fd]
            answer = sock.recv(_CHUNK)
            if not answer:
                raise SystemExit("the proxy closed a connection")
            head, blank, body = answer.partition(b"\r\n\r\n")
            while not blank or len(body) < _content_length(head):
                answer += sock.recv(_CHUNK)
                head, blank, body = answer.partition(b"\r\n\r\n")
            due = self._due_of.pop(fd)
            self._latencies.append((due, time.perf_counter() - due))
            self._bad += not head.startswith(b"HTTP/1.1 200")
            self._idle.append(sock)

    def _result(self, count_from: float) -> Result:
        counted = sorted(latency for due, latency in self._latencies if due >= count_from)
        lost = self._bad + len(self._waiting) + len(self._due_of)
        if not counted:
            raise SystemExit("no answer came")
        return Result(len(counted), lost, percentile(counted, 0.5), percentile(counted, 0.99))


def _content_length(head: bytes) -> int:
    """What a head without one promises is left out: answers here always have it, or are chunked and small."""
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


def main() -> None:
    port, path, rate, seconds, connections = sys.argv[1:]
    client = Client(int(port), path, int(connections))
    gc.disable()
    print(json.dumps(msgspec.to_builtins(client.run(float(rate), float(seconds)))))


if __name__ == "__main__":
    main()
