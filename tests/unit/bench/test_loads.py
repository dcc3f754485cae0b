"""What the load generators print, as they printed it."""

from __future__ import annotations

import pytest

from bench.loads import ParseError, Throughput, parse_h2load, parse_wrk

WRK = """\
Running 2s test @ http://127.0.0.1:46791/r50/large
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     7.09ms    2.44ms  22.86ms   75.18%
    Req/Sec     1.93k   186.42     2.40k    75.00%
  3924 requests in 2.05s, 3.83GB read
Requests/sec:   1916.34
Transfer/sec:      1.87GB
"""

WRK_WITH_ERRORS = """\
Running 1s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  10 requests in 1.00s, 1.20KB read
  Socket errors: connect 1, read 2, write 0, timeout 3
  Non-2xx or 3xx responses: 4
Requests/sec:     10.00
Transfer/sec:      1.20KB
"""

H2LOAD = """\
finished in 2.00s, 235160.00 req/s, 37.46MB/s
requests: 470320 total, 470448 started, 470320 done, 470320 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 470320 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 74.93MB (78569295) total, 2.69MB (2822808) headers (space savings 96.15%), 59.65MB (62552560) data
"""

H2LOAD_WITH_ERRORS = """\
finished in 812.05ms, 120.00 req/s, 3.46KB/s
requests: 100 total, 100 started, 100 done, 93 succeeded, 7 failed, 2 errored, 0 timeout
status codes: 93 2xx, 0 3xx, 1 4xx, 4 5xx
"""


def test_wrk() -> None:
    assert parse_wrk(WRK) == Throughput(1916.34, 1.87 * 2**30, 0)


def test_wrk_counts_answers_other_than_success_and_socket_errors() -> None:
    assert parse_wrk(WRK_WITH_ERRORS) == Throughput(10, 1.2 * 2**10, 10)


def test_h2load() -> None:
    assert parse_h2load(H2LOAD) == Throughput(235160, 37.46 * 2**20, 0)


def test_h2load_counts_failures_once() -> None:
    assert parse_h2load(H2LOAD_WITH_ERRORS) == Throughput(120, 3.46 * 2**10, 7)


@pytest.mark.parametrize("parse", [parse_wrk, parse_h2load])
def test_anything_else_is_an_error_that_shows_it(parse: object) -> None:
    assert callable(parse)
    with pytest.raises(ParseError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1 Connection refused")
