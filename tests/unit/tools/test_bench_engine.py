"""The fidelity benchmark: what it reads out of the tools' output, and how a client is run."""

from __future__ import annotations

import os
import sys

import pytest

from tools.bench_engine.clients import Run
from tools.bench_engine.compare import held_up, ratios, table
from tools.bench_engine.echo_server import echo, upgrade
from tools.bench_engine.outputs import (
    BenchmarkError,
    Counted,
    parse_ab,
    parse_h2load,
    parse_h2load_log,
    parse_own,
    parse_wrk,
)
from tools.bench_engine.servers import parse_service_log
from tools.bench_engine.tools import run_client

CORE = min(os.sched_getaffinity(0))

# What the tools printed on Debian 12; where lines are left out, nothing reads them.
WRK = """Running 1s test @ http://127.0.0.1:18765/plaintext
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    42.82us   74.72us   2.41ms   98.62%
    Req/Sec   166.74k    18.50k  181.36k    81.82%
  181581 requests in 1.10s, 27.88MB read
Requests/sec: 165106.66
Transfer/sec:     25.35MB
"""
WRK_NOT_FOUND = """  149477 requests in 1.10s, 43.91MB read
  Non-2xx or 3xx responses: 149477
Requests/sec: 135887.44
Transfer/sec:     39.91MB
"""
WRK_SERVER_KILLED = """  84737 requests in 1.10s, 13.01MB read
  Socket errors: connect 0, read 16, write 444, timeout 0
Requests/sec:  77031.26
Transfer/sec:     11.83MB
"""
H2LOAD = """Application protocol: http/1.1
Main benchmark duration is over for thread #0. Stopping all clients.
Stopped all clients for thread #0

finished in 700.25ms, 161336.00 req/s, 24.77MB/s
requests: 80668 total, 80668 started, 80668 done, 80668 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 80668 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 12.39MB (12987548) total, 11.57MB (12136932) headers (space savings 0.00%), 1.38MB (1447524) data
                     min         max         mean         sd        +/- sd
time for request:       28us       284us        49us        15us    89.16%
time for connect:        0us         0us         0us         0us     0.00%
time to 1st byte:        0us         0us         0us         0us     0.00%
req/s           :   20119.05    20211.73    20162.55       30.98    62.50%
"""
H2LOAD_NOT_FOUND = """finished in 1.00s, 134551.00 req/s, 39.52MB/s
requests: 134551 total, 134559 started, 134551 done, 0 succeeded, 134551 failed, 0 errored, 0 timeout
status codes: 0 2xx, 0 3xx, 134551 4xx, 0 5xx
"""
H2LOAD_REFUSED = """finished in 1.00s, 0.00 req/s, 0B/s
requests: 0 total, 0 started, 0 done, 0 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 0 2xx, 0 3xx, 0 4xx, 0 5xx
"""
AB = """Benchmarking 127.0.0.1 (be patient).....done


Server Software:        nginx/1.22.1
Document Path:          /plaintext
Document Length:        13 bytes

Concurrency Level:      8
Time taken for tests:   1.000 seconds
Complete requests:      169053
Failed requests:        0
Keep-Alive requests:    169053
Total transferred:      27217533 bytes
HTML transferred:       2197689 bytes
Requests per second:    169053.00 [#/sec] (mean)
Time per request:       0.047 [ms] (mean)
"""
AB_CLOSE = """Complete requests:      28020
Failed requests:        0
Total transferred:      4371432 bytes
HTML transferred:       364286 bytes
Requests per second:    28017.59 [#/sec] (mean)
"""
AB_NOT_FOUND = """Complete requests:      122418
Failed requests:        0
Non-2xx responses:      122418
Keep-Alive requests:    122418
Requests per second:    122414.21 [#/sec] (mean)
"""
AB_LOST_KEEP_ALIVE = """Complete requests:      113468
Failed requests:        0
Keep-Alive requests:    102124
"""
OWN = """{"counted": 4571, "counted_s": 0.5, "cpu_s": 0.4571, "requests": 4635, "failures": []}
Type     Name          # reqs      # fails |    Avg     Min     Max    Med |   req/s  failures/s
"""


def test_every_tools_rate_is_read() -> None:
    assert parse_wrk(WRK) == Counted(181581, 165106.66)
    assert parse_h2load(H2LOAD) == Counted(80668, 161336.0)
    assert parse_ab(AB, keep_alive=True) == Counted(169053, 169053.0)
    assert parse_ab(AB_CLOSE, keep_alive=False) == Counted(28020, 28017.59)


def test_an_own_clients_rate_and_cpu_time_are_of_the_time_in_which_it_counted() -> None:
    counted, cpu_us = parse_own("FastHttpUser", OWN)
    assert counted == Counted(4635, 9142.0)
    assert cpu_us == pytest.approx(100.0)


@pytest.mark.parametrize("output", [WRK_NOT_FOUND, WRK_SERVER_KILLED, "unable to connect", ""])
def test_a_wrk_run_with_errors_is_no_rate(output: str) -> None:
    with pytest.raises(BenchmarkError, match=r"^wrk: "):
        parse_wrk(output)


@pytest.mark.parametrize("output", [H2LOAD_NOT_FOUND, H2LOAD_REFUSED, ""])
def test_an_h2load_run_with_errors_is_no_rate(output: str) -> None:
    with pytest.raises(BenchmarkError, match=r"^h2load: "):
        parse_h2load(output)


@pytest.mark.parametrize("output", [AB_NOT_FOUND, AB_LOST_KEEP_ALIVE, AB_CLOSE, ""])
def test_an_ab_run_with_errors_or_lost_connections_is_no_rate(output: str) -> None:
    with pytest.raises(BenchmarkError, match=r"^ab: "):
        parse_ab(output, keep_alive=True)


def test_an_ab_run_that_kept_connections_is_no_run_of_closing_ones() -> None:
    with pytest.raises(BenchmarkError, match="not kept, or kept"):
        parse_ab(AB, keep_alive=False)


@pytest.mark.parametrize(
    "output",
    ["", "{", "{}", OWN.replace("[]", '["reset"]'), OWN.replace('"counted": 4571', '"counted": 0')],
)
def test_an_own_clients_run_with_errors_is_no_rate(output: str) -> None:
    with pytest.raises(BenchmarkError, match=r"^picows: "):
        parse_own("picows", output)


def test_an_error_quotes_what_the_client_said() -> None:
    with pytest.raises(BenchmarkError, match="Socket errors: connect 0, read 16, write 444"):
        parse_wrk(WRK_SERVER_KILLED)


def test_the_first_request_of_each_connection_is_left_out_of_h2loads_log() -> None:
    log = "1795343554898560\t200\t212\n1795343554898532\t200\t207\n1795343554899000\t200\t50\n"
    assert parse_h2load_log(log, connections=2) == [50]


def test_a_failed_request_in_h2loads_log_is_noticed() -> None:
    with pytest.raises(BenchmarkError, match="1 requests of its log did not end with 200"):
        parse_h2load_log("1795343554898560\t200\t212\n1795343554898532\t-1\t207\n", connections=1)


def test_a_service_log_gives_what_came_since_a_moment_without_first_requests() -> None:
    log = parse_service_log("100\t1\t10200\n150\t0\t10300\n200\t0\t10100\n200\t1\t10400\n")
    assert log.took_us() == [10300, 10100]
    assert log.took_us(since_unix_us=200) == [10100]


def run(client: str, rate_per_s: float, *, cpu_us: float = 10.0, server_busy: float = 0.5) -> Run:
    return Run(client, rate_per_s, 1000, cpu_us, server_busy)


def test_a_ratio_is_taken_turn_by_turn() -> None:
    runs = [run("engine", 100), run("wrk", 100), run("engine", 50), run("wrk", 100), run("engine", 90)]
    spread = ratios([*runs, run("wrk", 100)], "engine", "wrk")
    assert (spread.median, spread.least, spread.greatest) == (0.9, 0.5, 1.0)


def test_the_table_says_how_busy_both_sides_were() -> None:
    text = table("keep-alive", [run("engine", 100_000), run("wrk", 80_000, cpu_us=12.0)])
    assert "64 connections, 1 alternating run:" in text
    assert "100,000           10.00       100%          50%" in text
    assert text.endswith("80,000           12.00        96%          50%   1.250 (1.250 to 1.250)")


def test_a_client_that_may_not_have_been_the_limit_is_named() -> None:
    server = run("wrk", 50_000, server_busy=0.99)
    nobody = run("picows", 50_000)
    notes = held_up([run("engine", 100_000), server, nobody])
    assert [note.split(":")[0] for note in notes] == ["wrk", "picows"]
    assert "a core of the server's was full in 1 run:" in notes[0]
    assert "in 1 run neither it nor the server was busy" in notes[1]


def test_two_engines_are_busy_when_both_their_cores_are() -> None:
    assert Run("two engines", 100_000, 1000, 10.0, 0.5, client_cores=2).client_busy == 0.5


def masked(payload: bytes, *, first: int = 0x81) -> bytes:
    key = b"\x01\x02\xf3\x04"
    hidden = bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))
    return bytes((first, 0x80 | len(payload))) + key + hidden


@pytest.mark.parametrize("payload", [b"", b"x", b"five5", b"=" * 64, bytes(range(125))])
def test_the_echo_server_unmasks_a_message_of_any_length(payload: bytes) -> None:
    frame = masked(payload)
    assert echo(frame) == (bytes((0x81, len(payload))) + payload, len(frame))


def test_the_echo_server_waits_for_the_rest_of_a_message() -> None:
    whole, begun = masked(b"one"), masked(b"two")[:-1]
    assert echo(whole + begun) == (b"\x81\x03one", len(whole))


@pytest.mark.parametrize("frame", [masked(b"", first=0x88), masked(b"x", first=0x01), b"\x81\x01x"])
def test_the_echo_server_refuses_what_it_does_not_know(frame: bytes) -> None:
    with pytest.raises(ValueError, match="not a short masked message"):
        echo(frame)


def test_the_echo_servers_handshake_is_that_of_the_standard() -> None:
    # The example of RFC 6455, section 1.3.
    request = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in upgrade(request)


def test_a_client_that_fails_ends_the_benchmark_with_what_it_said() -> None:
    command = [sys.executable, "-c", "import sys; print('no route'); sys.exit(3)"]
    with pytest.raises(BenchmarkError, match=r"nc: it ended with status 3. It said:\n  \| no route"):
        run_client("nc", command, core=CORE, seconds=1)
