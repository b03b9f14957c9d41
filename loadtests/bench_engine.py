"""`make bench-engine`: the load engine against wrk and against Locust's own client, alternating, on one core.

Every client gets the same core and the same 64 connections; the server is nginx on another core. It prints
ratios; absolute figures are this machine's.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gatebench.cores import available_cores, divide, hyper_threads
from gatebench.ports import fresh_port
from loadtests.engine.fleet import Fleet
from loadtests.engine.target import Target, Transport

HOST = "127.0.0.1"
CONNECTIONS = 64
BODY = b"Hello, World!"
NGINX = """
daemon off; worker_processes 1; pid {work}/pid; error_log {work}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
  server {{
    listen {host}:{port} backlog=4096;
    location /plaintext {{ default_type text/plain; return 200 "Hello, World!"; }}
  }}
}}
"""
LOCUST_CLIENT = """
from locust import FastHttpUser, task

class Visitor(FastHttpUser):
    @task
    def plaintext(self):
        with self.client.get("/plaintext", catch_response=True) as response:
            if response.content != b"Hello, World!":
                response.failure("wrong body")
"""

Client = Callable[[int, float], float]


@contextlib.contextmanager
def responder(core: int) -> Iterator[int]:
    """Runs nginx on one core, answering `/plaintext`; yields its port."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if nginx is None:
        sys.exit(
            "nginx is missing, which is what the clients are driven against: sudo apt-get install nginx-light"
        )
    port = fresh_port(HOST, set())
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as work:
        file = Path(work) / "nginx.conf"
        file.write_text(NGINX.format(work=work, host=HOST, port=port))
        command = ["taskset", "-c", str(core), nginx, "-e", f"{work}/error.log", "-c", str(file)]
        with subprocess.Popen(command) as process:
            try:
                _await_port(port)
                yield port
            finally:
                process.terminate()


def engine(core: int, transport: Transport) -> Client:
    """This project's engine, every byte of every answer checked."""

    def run(port: int, seconds: float) -> float:
        target = Target(
            HOST, port, transport, path="/plaintext", headers={"content-type": "text/plain"}, answer=BODY
        )
        with Fleet(cpu=core) as fleet:
            fleet.add_group("bench", target)
            for number in range(CONNECTIONS):
                fleet.open("bench", str(number))
            fleet.prepare("bench")
            fleet.run_slice("bench", 0.2)
            fleet.prepare("bench")
            result = fleet.run_slice("bench", seconds)
        if any(result.failures.values()):
            sys.exit(f"the engine met failures: {result.examples}")
        return result.counted / result.counted_s

    return run


def wrk(core: int, transport: Transport) -> Client:
    """Drives wrk with one thread; it checks no bodies."""

    def run(port: int, seconds: float) -> float:
        command = [
            "taskset",
            "-c",
            str(core),
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{max(1, round(seconds))}s",
        ]
        if transport == "close":
            command += ["-H", "Connection: close"]
        command.append(f"http://{HOST}:{port}/plaintext")
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        match = re.search(r"Requests/sec:\s*([\d.]+)", output)
        if match is None:
            sys.exit(f"wrk said nothing of requests/s:\n{output}")
        return float(match[1])

    return run


def fast_http_user(core: int) -> Client:
    """Locust's `FastHttpUser`, headless, the same number of users."""

    def run(port: int, seconds: float) -> float:
        with tempfile.TemporaryDirectory(prefix="bench-engine-") as work:
            file = Path(work) / "locustfile.py"
            file.write_text(LOCUST_CLIENT)
            command = [
                "taskset",
                "-c",
                str(core),
                sys.executable,
                "-m",
                "locust",
                "-f",
                str(file),
                "--headless",
            ]
            command += ["--users", str(CONNECTIONS), "--spawn-rate", str(CONNECTIONS), "--reset-stats"]
            command += ["--run-time", f"{max(3, round(seconds) + 2)}s", "--host", f"http://{HOST}:{port}"]
            command += ["--csv", f"{work}/out", "--only-summary", "--loglevel", "ERROR"]
            subprocess.run(command, capture_output=True, check=True)
            lines = (Path(work) / "out_stats.csv").read_text().splitlines()
        header, total = lines[0].split(","), lines[-1].split(",")
        return float(total[header.index("Requests/s")])

    return run


def compare(name: str, clients: dict[str, Client], port: int, *, seconds: float, runs: int) -> None:
    """Runs the clients in turn and prints each one's median and its ratio to the engine's, run by run."""
    rates: dict[str, list[float]] = {client: [] for client in clients}
    for _ in range(runs):
        for client, run in clients.items():
            rates[client].append(run(port, seconds))
    ours = rates["engine"]
    print(f"\n{name}, {CONNECTIONS} connections, {runs} alternating runs of {seconds:g} s, one core each:")
    for client, values in rates.items():
        line = f"  {client:<14} {statistics.median(values):>10,.0f} requests/s"
        if values is not ours:
            ratios = [mine / other for mine, other in zip(ours, values, strict=True)]
            spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
            line += f"   engine/{client} = {statistics.median(ratios):.2f} {spread}"
        print(line)


def _await_port(port: int, deadline_s: float = 5.0) -> None:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.05)
    sys.exit(f"nginx did not listen on port {port} in {deadline_s:g} s")


def main() -> None:
    """Runs the comparisons that this machine has the tools for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one run")
    parser.add_argument("--runs", type=int, default=5, help="alternating runs of each client")
    arguments = parser.parse_args()
    cores = available_cores()
    divided = divide(cores, siblings=hyper_threads(cores))
    client_core = divided.engine[0]
    with responder(divided.server[0]) as port:
        for transport in ("keep-alive", "close"):
            clients: dict[str, Client] = {"engine": engine(client_core, transport)}
            if shutil.which("wrk"):
                clients["wrk"] = wrk(client_core, transport)
            else:
                print("wrk is missing, so it is left out: sudo apt-get install wrk")
            if transport == "keep-alive":
                clients["FastHttpUser"] = fast_http_user(client_core)
            compare(transport, clients, port, seconds=arguments.seconds, runs=arguments.runs)


if __name__ == "__main__":
    main()
