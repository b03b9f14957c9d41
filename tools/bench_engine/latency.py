"""Latency fidelity: what clients say of a server with a known delay, beside what its own log says."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatebench.words.text import counted
from loadtests.engine.fleet import Fleet
from loadtests.engine.tally import QUANTILES, percentile_us
from tools.bench_engine.clients import CONNECTIONS, drive_engine, h2load_options, target
from tools.bench_engine.compare import Spread
from tools.bench_engine.outputs import parse_h2load, parse_h2load_log
from tools.bench_engine.servers import HOST, DelayServer
from tools.bench_engine.tools import run_client

DELAY_MS = 10.0
SHARES = {name: QUANTILES[name] for name in ("p50", "p99")}


@dataclass(frozen=True, slots=True)
class LatencyRun:
    """Percentiles of one run in microseconds, the client's and those of the server's log; `p50` and `p99`.

    `server_busy` is the CPU share of the server's core. It contains the last millisecond before an answer is
    due, which the server polls through.
    """

    client: str
    requests: int
    client_us: Mapping[str, int]
    server_us: Mapping[str, int]
    server_busy: float


def latency_run(
    client: str, histogram: Mapping[int, int], logged_us: Sequence[int], *, server_busy: float
) -> LatencyRun:
    """The percentiles of one run."""
    logged = Counter(logged_us)
    return LatencyRun(
        client,
        sum(histogram.values()),
        {name: percentile_us(histogram, share) for name, share in SHARES.items()},
        {name: percentile_us(logged, share) for name, share in SHARES.items()},
        server_busy,
    )


def run_engine(client_core: int, server_core: int, seconds: float) -> LatencyRun:
    """The engine against a fresh server."""
    with DelayServer(server_core, DELAY_MS) as server, Fleet(cpus=(client_core,)) as fleet:
        port = server.responder.port
        driven = drive_engine(fleet, target(port, "keep-alive"), server.responder, seconds)
        log = server.log()
    result = driven.result
    logged_us = log.took_us(since_unix_us=result.started_unix_ns // 1000)
    busy = driven.server_cpu_s[0] / result.elapsed_s
    return latency_run("engine", result.histogram, logged_us, server_busy=busy)


def run_h2load(client_core: int, server_core: int, seconds: float) -> LatencyRun:
    """Runs h2load against a fresh server, with a log of every request."""
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as work:
        file = Path(work) / "requests.log"
        with DelayServer(server_core, DELAY_MS) as server:
            url = f"http://{HOST}:{server.responder.port}/"
            command = ["h2load", *h2load_options(seconds), f"--log-file={file}", url]
            before = server.responder.cpu_s()
            counted = parse_h2load(run_client("h2load", command, core=client_core, seconds=seconds).output)
            busy = server.responder.cpu_since(before)[0] / counted.requests * counted.rate_per_s
            log = server.log()
        took_us = parse_h2load_log(file.read_text(), connections=CONNECTIONS)
    return latency_run("h2load", Counter(took_us), log.took_us(), server_busy=busy)


def latency_table(runs: Sequence[LatencyRun]) -> str:
    """The figures as lines for a person; ratios are the client's over the server's own."""
    clients = list(dict.fromkeys(run.client for run in runs))
    turns = len(runs) // len(clients)
    server = f"a server that waits {DELAY_MS:g} ms"
    title = f"latency, {server}, {CONNECTIONS} connections, {counted(turns, 'alternating run')}:"
    columns = f"{'client µs':>10} {'server µs':>10} {'server core':>12}   client/server"
    head = f"  {'client':<14} {'figure':>6} {columns}"
    lines = [title, head]
    for client in clients:
        own = [run for run in runs if run.client == client]
        busy = Spread.of([run.server_busy for run in own]).median
        for name in SHARES:
            seen = Spread.of([run.client_us[name] for run in own])
            logged = Spread.of([run.server_us[name] for run in own])
            ratio = Spread.of([run.client_us[name] / run.server_us[name] for run in own])
            figures = f"{seen.median:>10,.0f} {logged.median:>10,.0f} {busy:>12.0%}   {ratio}"
            lines.append(f"  {client:<14} {name:>6} {figures}")
    return "\n".join(lines)
