"""The open-loop client against a server that stalls: the stall must show, in every request that was due in it."""

from __future__ import annotations

import socket
import threading
import time

from bench.openloop import Client

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers on one connection, one request at a time; the first one `stall_s` late."""

    def __init__(self, stall_s: float = 0.0, answer: bytes = ANSWER) -> None:
        self._stall_s = stall_s
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            while connection.recv(65536):
                time.sleep(self._stall_s)
                self._stall_s = 0
                connection.sendall(self._answer)

    def close(self) -> None:
        self._thread.join(10)
        self._listener.close()


def measure(server: Server, rate: float, seconds: float) -> tuple[int, int, float, float]:
    client = Client(server.port, "/", 1)
    result = client.run(rate, seconds)
    client.close()
    server.close()
    return result.count, result.lost, result.p50_s, result.p99_s


def test_requests_come_at_the_rate_that_was_asked_for() -> None:
    count, lost, p50, _ = measure(Server(), 400, 0.5)

    assert lost == 0
    assert 100 < count < 250  # 170 are due after the warm-up
    assert p50 < 0.1


def test_requests_that_were_due_in_a_stall_count_their_wait() -> None:
    count, lost, p50, p99 = measure(Server(stall_s=0.4), 400, 0.5)

    assert lost == 0
    assert count > 100
    # Due evenly from 0.075 s to 0.5 s, answered after 0.4 s: half of them waited for more than 0.1 s.
    assert p50 > 0.05
    assert p99 > 0.25


def test_answers_other_than_200_are_lost() -> None:
    _, lost, _, _ = measure(Server(answer=ANSWER.replace(b"200 OK", b"503 No")), 100, 0.2)

    assert lost > 5


def test_answers_in_pieces_are_waited_for() -> None:
    body = b"x" * 300_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    count, lost, _, _ = measure(Server(answer=answer), 100, 0.2)

    assert (count > 5, lost) == (True, 0)
