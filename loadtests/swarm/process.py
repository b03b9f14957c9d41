"""The load process of a lab run: Locust as a library, told by the lab which cell gets the next slice.

Locust starts, holds and stops the users (one a connection), in this process or as a master on its workers;
the lab sends commands over an inherited socket, in the format of `loadtests.engine.protocol`. The process
ends when the lab closes it.
"""

from __future__ import annotations

# Locust patches the standard library for gevent; that has to happen before anything else is imported.
import locust  # isort: skip

import argparse
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from locust.env import Environment
from locust.exception import RPCError

from gatebench.machine.cores import cores_of_users
from gatebench.machine.kernel import open_file_limit
from loadtests.engine.fleet import EngineError
from loadtests.engine.protocol import Arrivals, Message, receive_message, send_message
from loadtests.engine.tally import SliceResult
from loadtests.scenarios.reading import ScenarioError
from loadtests.swarm.cells import Cells
from loadtests.swarm.master import Workers, WorkersError, least
from loadtests.swarm.users import LoadSession

LOCUSTFILE = Path(__file__).parents[1] / "locustfile.py"
GRACE_S = 3.0
EVERYWHERE = {"*", "0.0.0.0"}  # noqa: S104 - compared with, not bound to


class Load(Protocol):
    """What drives the connections: this process, or workers."""

    def hello(self) -> Message:
        """Waits until it is ready; returns `locust`, `workers` and `open_files`."""

    def spawn(self, cells: Sequence[Message]) -> None:
        """Starts every user of these cells."""

    def prepare(self, cell: str) -> None:
        """Untimed: reconnects what the server closed."""

    def run_slice(self, cell: str, window_s: float, arrivals: Arrivals | None) -> SliceResult:
        """Drives one cell for a window and drains it."""

    def stop(self) -> None:
        """Stops every user."""

    def close(self) -> None:
        """Ends the engines, and the workers."""


class LocalLoad:
    """Users and engines of this process."""

    def __init__(self, cpus: Sequence[int | None]) -> None:
        self._cpus = cpus
        self._allowed = os.sched_getaffinity(0)
        self._environment = Environment(user_classes=[], reset_stats=False)
        self._runner = self._environment.create_local_runner()
        self._session = LoadSession(self._environment, cpus=cpus, lasting=True)
        self._cells = Cells(self._environment, self._session)

    def hello(self) -> Message:
        """Locust's version, and how many files the engines may have open."""
        limits = [open_file_limit(pid) for pid in self._session.fleet.pids]
        return {"locust": locust.__version__, "workers": 0, "open_files": least(limits)}

    def spawn(self, cells: Sequence[Message]) -> None:
        """Has Locust start every user of these cells, and waits until all hold their connection."""
        self._cells.declare(cells)
        users = sum(cell["connections"] for cell in cells if cell["target"] is not None)
        load = any(cell["target"] is None for cell in cells)
        os.sched_setaffinity(0, cores_of_users(self._allowed, self._cpus, load=load))
        if users:
            self._runner.start(users, spawn_rate=users)
            self._cells.wait_for_connections(users)

    def prepare(self, cell: str) -> None:
        """Untimed: reconnects what the server closed."""
        self._cells.prepare(cell)

    def run_slice(self, cell: str, window_s: float, arrivals: Arrivals | None) -> SliceResult:
        """Drives one cell for a window and drains it."""
        return self._cells.run_slice(cell, window_s, arrivals)

    def stop(self) -> None:
        """Stops every user."""
        self._runner.stop()
        self._cells.withdraw()

    def close(self) -> None:
        """Ends the engines."""
        self._runner.quit()
        LoadSession.end(self._environment)


class DistributedLoad:
    """Locust's master; the workers that it starts here, or that somebody starts elsewhere.

    Args:
        workers: how many.
        bind, port: where the master listens; port 0 takes a free one.
        cpus: the cores of workers on this machine, dealt out in turn; None where they are elsewhere.
        starts: whether the workers are started here.
    """

    def __init__(
        self, workers: int, bind: str, port: int, cpus: Sequence[int | None] | None, *, starts: bool
    ) -> None:
        environment = Environment(user_classes=[], reset_stats=False)
        runner = environment.create_master_runner(bind, port)
        # Locust binds anew, to what it was told, where its connection breaks.
        runner.master_bind_port = runner.server.port
        dealt = [_part(cpus, number, workers) for number in range(workers)] if cpus is not None else []
        self._workers = Workers(environment, runner, workers, () if starts else dealt)
        self._processes: list[subprocess.Popen[bytes]] = []
        host = "127.0.0.1" if bind in EVERYWHERE else bind
        for part in dealt if starts else ():
            self._processes.append(_start_worker(host, runner.server.port, part))

    def hello(self) -> Message:
        """As `Workers.hello`."""
        return self._workers.hello()

    def spawn(self, cells: Sequence[Message]) -> None:
        """As `Workers.spawn`."""
        self._workers.spawn(cells)

    def prepare(self, cell: str) -> None:
        """As `Workers.prepare`."""
        self._workers.prepare(cell)

    def run_slice(self, cell: str, window_s: float, arrivals: Arrivals | None) -> SliceResult:
        """As `Workers.run_slice`."""
        return self._workers.run_slice(cell, window_s, arrivals)

    def stop(self) -> None:
        """As `Workers.stop`."""
        self._workers.stop()

    def close(self) -> None:
        """Ends every worker, by force where one that was started here does not obey."""
        self._workers.close()
        for process in self._processes:
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _part(cpus: Sequence[int | None], number: int, workers: int) -> list[int]:
    """The cores of one of several workers; with fewer cores than workers they share."""
    dealt = cpus[number::workers] or [cpus[number % len(cpus)]]
    return [cpu for cpu in dealt if cpu is not None]


def _start_worker(host: str, port: int, cpus: Sequence[int]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--loglevel", "WARNING"]
    command += ["--worker", "--master-host", host, "--master-port", str(port)]
    if cpus:
        command += ["--engine-cpu", ",".join(map(str, cpus))]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)


def serve(control: socket.socket, load: Load) -> None:
    """Obeys the lab's commands, one after the other, until it closes the socket."""
    try:
        while (message := receive_message(control)) is not None:
            try:
                reply = _obey(load, message)
            except ScenarioError as error:
                reply = {"error": str(error), "cell": True}
            except (EngineError, TimeoutError, WorkersError) as error:
                reply = {"error": str(error)}
            send_message(control, reply)
    finally:
        load.close()


def _obey(load: Load, message: Message) -> Message:
    operation = message["op"]
    if operation == "hello":
        return load.hello()
    if operation == "spawn":
        load.spawn(message["cells"])
    elif operation == "prepare":
        load.prepare(message["cell"])
    elif operation == "slice":
        arrivals = Arrivals.from_json(message["arrivals"])
        return {"result": load.run_slice(message["cell"], message["window_s"], arrivals).to_json()}
    elif operation == "stop":
        load.stop()
    else:
        raise ValueError(f"unknown operation {operation!r}")
    return {}


def main() -> None:
    """Runs the load process on the socket that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="inherited socket for commands")
    parser.add_argument("--engine-cpu", type=int, action="append", help="core to pin a load engine to")
    parser.add_argument("--workers", type=int, default=0, help="Locust workers; 0 loads from this process")
    parser.add_argument("--external", action="store_true", help="wait for workers, start none")
    parser.add_argument("--deal-cores", action="store_true", help="external workers are on this machine")
    parser.add_argument("--bind", default="127.0.0.1", help="address that workers connect to")
    parser.add_argument("--port", type=int, default=0, help="port that workers connect to")
    arguments = parser.parse_args()
    # Ctrl-C is for the lab, which ends this process by closing its socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("locust").setLevel(logging.ERROR)
    cpus: Sequence[int | None] = arguments.engine_cpu or (None,)
    with socket.socket(fileno=arguments.fd) as control:
        if not arguments.workers:
            load: Load = LocalLoad(cpus)
        else:
            place = f"{arguments.bind}:{arguments.port}"
            try:
                load = DistributedLoad(
                    arguments.workers,
                    arguments.bind,
                    arguments.port,
                    cpus if arguments.deal_cores or not arguments.external else None,
                    starts=not arguments.external,
                )
            except RPCError as error:
                sys.exit(
                    f"Locust's master cannot listen on {place}: {error}; choose a free port of this machine"
                )
        serve(control, load)


if __name__ == "__main__":
    main()
