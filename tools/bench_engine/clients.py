"""The load clients, each as one function: so many seconds against a server, from one core."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatebench.machine.processes import cpu_s
from loadtests.engine.fleet import Fleet
from loadtests.engine.protocol import Target, Transport
from loadtests.engine.tally import SliceResult
from tools.bench_engine.outputs import BenchmarkError, Counted, parse_ab, parse_h2load, parse_own, parse_wrk
from tools.bench_engine.servers import BODY, HOST, Responder
from tools.bench_engine.tools import run_client

CONNECTIONS = 64
MESSAGE_BYTES = 64
WARMUP_S = 0.2
LOCUST_FILE = Path(__file__).with_name("locust_client.py")
"""Not imported: importing Locust would patch this process."""

MOST_PER_S = 500_000
"""ab needs a number of requests to stop at and memory for each: more than it could send."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one client.

    Attributes:
        rate_per_s: as the client says.
        cpu_us_per_request: the client's own CPU time.
        server_busy: CPU share of the busiest of the server's cores while the client was driving it.
        client_cores: how many cores the client had.
    """

    client: str
    rate_per_s: float
    requests: int
    cpu_us_per_request: float
    server_busy: float
    client_cores: int = 1

    @property
    def client_busy(self) -> float:
        """CPU share of the client's cores, from its rate and its CPU time per request."""
        return self.rate_per_s * self.cpu_us_per_request / 1e6 / self.client_cores


Client = Callable[[Responder, float], Run]


def target(port: int, transport: Transport, path: str = "/plaintext") -> Target:
    """What the engine is told to send and to expect."""
    if transport == "websocket":
        return Target(HOST, port, transport, message_bytes=MESSAGE_BYTES)
    headers = {"content-type": "text/plain"}
    return Target(HOST, port, transport, path=path, headers=headers, answer=BODY)


@dataclass(frozen=True, slots=True)
class Driven:
    """One slice of the engine's: its result, the engines' CPU seconds, and those of each server process."""

    result: SliceResult
    cpu_s: float
    server_cpu_s: tuple[float, ...]


def drive_engine(fleet: Fleet, target: Target, server: Responder, seconds: float) -> Driven:
    """Warms 64 connections up and drives them for one slice.

    Raises:
        BenchmarkError: there was a failure, or no answer.
    """
    fleet.add_group("bench", target)
    for number in range(CONNECTIONS):
        fleet.open("bench", str(number))
    for window_s in (WARMUP_S, seconds):
        fleet.prepare("bench")
        before, engine_before_s = server.cpu_s(), cpu_s(fleet.pids)
        result = fleet.run_slice("bench", window_s)
        driven = Driven(result, cpu_s(fleet.pids) - engine_before_s, server.cpu_since(before))
        if any(result.failures.values()) or not result.completed:
            raise BenchmarkError(f"engine: {dict(result.failures)}: {dict(result.examples)}")
    return driven


def engine(
    transport: Transport, cores: Sequence[int], *, name: str = "engine", path: str = "/plaintext"
) -> Client:
    """This project's engine, every byte of every answer checked; one process on each core."""

    def run(server: Responder, seconds: float) -> Run:
        with Fleet(cpus=tuple(cores)) as fleet:
            driven = drive_engine(fleet, target(server.port, transport, path), server, seconds)
        result = driven.result
        counted = Counted(result.completed + result.drained, result.counted / result.counted_s)
        cpu_us = driven.cpu_s / counted.requests * 1e6
        return _run(name, counted, cpu_us, driven.server_cpu_s, client_cores=len(cores))

    return run


def wrk(transport: Transport, core: int) -> Client:
    """Drives wrk with one thread, for whole seconds."""
    header = ["-H", "Connection: close"] if transport == "close" else []

    def command(server: Responder, seconds: float) -> list[str]:
        return ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{math.ceil(seconds)}s", *header, _url(server)]

    return _tool("wrk", command, parse_wrk, core)


def h2load(core: int) -> Client:
    """Drives h2load with one thread, over HTTP/1.1."""

    def command(server: Responder, seconds: float) -> list[str]:
        return ["h2load", *h2load_options(seconds), _url(server)]

    return _tool("h2load", command, parse_h2load, core)


def h2load_options(seconds: float) -> list[str]:
    """HTTP/1.1, one thread, 64 connections, one request in flight on each, for that time."""
    return ["--h1", "-t1", f"-c{CONNECTIONS}", "-m1", "-D", f"{round(seconds * 1000)}ms"]


def ab(transport: Transport, core: int) -> Client:
    """Drives ApacheBench, which has one thread, for whole seconds.

    Its CPU time includes sorting all latencies at the end.
    """
    keep_alive = transport == "keep-alive"

    def command(server: Responder, seconds: float) -> list[str]:
        whole_s = math.ceil(seconds)
        limits = ["-t", str(whole_s), "-n", str(whole_s * MOST_PER_S), "-c", str(CONNECTIONS)]
        return ["ab", "-q", *(["-k"] if keep_alive else []), *limits, _url(server)]

    return _tool("ab", command, lambda output: parse_ab(output, keep_alive=keep_alive), core)


def fast_http_user(core: int) -> Client:
    """Locust's `FastHttpUser`, headless, the same number of users; its CPU time is without its start."""

    def run(server: Responder, seconds: float) -> Run:
        command = [sys.executable, "-m", "locust", "-f", str(LOCUST_FILE), "--headless"]
        command += ["--users", str(CONNECTIONS), "--spawn-rate", str(CONNECTIONS)]
        command += ["--host", f"http://{HOST}:{server.port}", "--only-summary", "--loglevel", "ERROR"]
        return _own("FastHttpUser", command, server, seconds=seconds, core=core)

    return run


def picows(core: int) -> Client:
    """A WebSocket echo client with picows on uvloop; its CPU time is without its start."""

    def run(server: Responder, seconds: float) -> Run:
        command = [sys.executable, "-m", "tools.bench_engine.picows_client"]
        command += ["--url", f"ws://{HOST}:{server.port}/", "--connections", str(CONNECTIONS)]
        command += ["--message-bytes", str(MESSAGE_BYTES), "--seconds", f"{seconds:g}"]
        return _own("picows", command, server, seconds=seconds, core=core)

    return run


def _tool(
    name: str, command: Callable[[Responder, float], list[str]], parse: Callable[[str], Counted], core: int
) -> Client:
    def run(server: Responder, seconds: float) -> Run:
        before = server.cpu_s()
        ended = run_client(name, command(server, seconds), core=core, seconds=seconds)
        counted = parse(ended.output)
        return _run(name, counted, ended.cpu_s / counted.requests * 1e6, server.cpu_since(before))

    return run


def _own(name: str, command: Sequence[str], server: Responder, *, seconds: float, core: int) -> Run:
    before = server.cpu_s()
    ended = run_client(
        name, command, core=core, seconds=seconds, environment={"BENCH_SECONDS": f"{seconds:g}"}
    )
    counted, cpu_us = parse_own(name, ended.output)
    return _run(name, counted, cpu_us, server.cpu_since(before))


def _run(
    name: str, counted: Counted, cpu_us: float, server_cpu_s: Sequence[float], *, client_cores: int = 1
) -> Run:
    """The server's CPU time per request times the rate: a client's start, without load, does not count."""
    busy = max(server_cpu_s) / counted.requests * counted.rate_per_s
    return Run(name, counted.rate_per_s, counted.requests, cpu_us, busy, client_cores)


def _url(server: Responder) -> str:
    return f"http://{HOST}:{server.port}/plaintext"
