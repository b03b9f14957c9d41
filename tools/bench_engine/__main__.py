"""`make bench-engine`: the load engine beside the tools that are known for it, alternating, core for core.

Every client gets the same one core and the same 64 connections; servers have other cores, and how busy the
busiest of these was is printed, so that it shows who was the limit. It prints ratios; absolute figures are
this machine's. A tool that is missing is left out, a failure ends everything.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gatebench.machine.cores import available_cores, divide, hyper_threads
from gatebench.machine.processes import interrupt_once
from gatebench.words.errors import GatebenchError
from gatebench.words.text import counted
from loadtests.engine.fleet import EngineError
from tools.bench_engine import clients, latency, servers
from tools.bench_engine.clients import CONNECTIONS, Client, Run
from tools.bench_engine.compare import alternate, table
from tools.bench_engine.latency import LatencyRun, latency_table
from tools.bench_engine.tools import PACKAGES, find, missing, processor, version

CORES_FOR_TWO = 4


@dataclass(frozen=True, slots=True)
class Bench:
    """How long and how often to run, and where.

    Attributes:
        clients: the client's core and, where there are enough, a second engine's.
        servers: two cores where there are enough, so that servers are not the limit; else one.
    """

    seconds: float
    runs: int
    clients: tuple[int, ...]
    servers: tuple[int, ...]


Runs = tuple[Run, ...] | tuple[LatencyRun, ...]


def places(available: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The clients' cores and the servers'.

    Raises:
        ConfigurationError: there are fewer than two cores.
    """
    enough = len(available) >= CORES_FOR_TWO
    cores = divide(available, server_cores=2 if enough else 1, siblings=hyper_threads(available))
    return (cores.engine[0], cores.lab[-1]) if enough else cores.engine, cores.server


def keep_alive(bench: Bench) -> Runs:
    """HTTP/1.1, connections kept."""
    core = bench.clients[0]
    others = {
        "wrk": clients.wrk("keep-alive", core),
        "h2load": clients.h2load(core),
        "ab": clients.ab("keep-alive", core),
    }
    contenders = {"engine": clients.engine("keep-alive", (core,)), **_installed(others)}
    return _against_nginx("keep-alive", bench, {**contenders, "FastHttpUser": clients.fast_http_user(core)})


def close(bench: Bench) -> Runs:
    """HTTP/1.1, a new connection for each request."""
    core = bench.clients[0]
    others = {"wrk": clients.wrk("close", core), "ab": clients.ab("close", core)}
    return _against_nginx("close", bench, {"engine": clients.engine("close", (core,)), **_installed(others)})


def heads(bench: Bench) -> Runs:
    """Answers with an identifier of their own against answers with always the same one."""
    core = bench.clients[:1]
    contenders = {
        "request ID": clients.engine("keep-alive", core, name="request ID", path="/request-id"),
        "fixed ID": clients.engine("keep-alive", core, name="fixed ID", path="/fixed-id"),
    }
    return _against_nginx("heads, keep-alive", bench, contenders)


def websocket(bench: Bench) -> Runs:
    """WebSocket echo, 64 bytes, one message in flight on each connection."""
    core = bench.clients[0]
    contenders = {
        "engine": clients.engine("websocket", (core,)),
        **_installed({"picows": clients.picows(core)}),
    }
    with servers.echo_server(bench.servers) as server:
        return _compare("WebSocket echo", bench, contenders, server)


def engines(bench: Bench) -> Runs:
    """Two engines on two cores against one."""
    if len(bench.clients) < 2:
        print(f"engines is left out: two engines and their server need {CORES_FOR_TWO} cores")
        return ()
    two = clients.engine("keep-alive", bench.clients, name="two engines")
    one = clients.engine("keep-alive", bench.clients[:1], name="one engine")
    return _against_nginx("engines, keep-alive", bench, {"two engines": two, "one engine": one})


def delay(bench: Bench) -> Runs:
    """Latencies of a server with a known delay, against that server's own log."""
    tools = [latency.run_engine]
    if find("h2load"):
        tools.append(latency.run_h2load)
    else:
        print(missing("h2load"))
    runs = tuple(
        tool(bench.clients[0], bench.servers[0], bench.seconds) for _ in range(bench.runs) for tool in tools
    )
    print(f"\n{latency_table(runs)}", flush=True)
    return runs


COMPARISONS: dict[str, Callable[[Bench], Runs]] = {
    "keep-alive": keep_alive,
    "close": close,
    "heads": heads,
    "websocket": websocket,
    "engines": engines,
    "latency": delay,
}


def _installed(others: dict[str, Client]) -> dict[str, Client]:
    """Those clients that can run here; a line about each of the others."""

    def can_run(name: str) -> bool:
        return bool(importlib.util.find_spec("picows") if name == "picows" else find(name))

    for name in others:
        if not can_run(name):
            print(missing(name))
    return {name: client for name, client in others.items() if can_run(name)}


def _against_nginx(title: str, bench: Bench, contenders: dict[str, Client]) -> Runs:
    if find("nginx") is None:
        print(f"{title}: {missing('nginx')}")
        return ()
    with servers.nginx(bench.servers) as server:
        return _compare(title, bench, contenders, server)


def _compare(title: str, bench: Bench, contenders: dict[str, Client], server: servers.Responder) -> Runs:
    runs = alternate(contenders, server, seconds=bench.seconds, runs=bench.runs)
    where = f"{server.name} on {counted(len(bench.servers), 'core')}"
    print(f"\n{table(f'{title}, {where}', runs)}", flush=True)
    return runs


def conditions(bench: Bench) -> dict[str, Any]:
    """What the raw data says of the machine, the tools and the request."""
    return {
        "schema": 1,
        "machine": {"kernel": platform.release(), "cpu": processor(), "python": platform.python_version()},
        "versions": {tool: version(tool) for tool in PACKAGES},
        "connections": CONNECTIONS,
        **asdict(bench),
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        prog="python -m tools.bench_engine",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="length of one run; wrk and ab round up to whole seconds"
    )
    parser.add_argument("--runs", type=int, default=5, help="alternating runs of each client")
    parser.add_argument(
        "--only",
        choices=COMPARISONS,
        action="append",
        help="this comparison; repeatable:\n"
        + "\n".join(f"  {k}: {v.__doc__}" for k, v in COMPARISONS.items()),
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write every single run to this file, as JSON"
    )
    given = parser.parse_args()
    if not given.seconds > 0 or given.runs < 1:
        parser.error("--seconds must be above 0 and --runs at least 1")
    return given


def main() -> None:
    """Runs the comparisons that this machine has the tools for."""
    given = arguments()
    interrupt_once()
    try:
        client_cores, server_cores = places(available_cores())
        bench = Bench(given.seconds, given.runs, client_cores, server_cores)
        os.sched_setaffinity(0, client_cores[-1:])  # away from the servers and, where possible, the clients
        found = {name: COMPARISONS[name](bench) for name in given.only or COMPARISONS}
    except (GatebenchError, EngineError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    if given.out is not None:
        raw = {name: [asdict(run) for run in runs] for name, runs in found.items()}
        given.out.write_text(json.dumps({**conditions(bench), "comparisons": raw}, indent=1) + "\n")
        print(f"\nevery run: {given.out}")


if __name__ == "__main__":
    main()
