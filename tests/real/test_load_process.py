"""The load process: alone, with its own workers, or with somebody else's, it counts all of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from gatebench.contract.file import load_contract
from gatebench.load.process import CellError, LoadCell, LoadError, LoadProcess, MasterOptions, local_load
from gatebench.load.targets import http_target
from gatebench.machine.cores import Cores, available_cores
from gatebench.machine.kernel import fresh_port
from gatebench.machine.processes import Owner
from gatebench.words.paths import HOST, ROOT
from loadtests.engine.protocol import Arrivals, Target
from loadtests.engine.tally import SliceResult
from tests.support.contract_server import ContractServer, Faults
from tests.support.lab import PATIENCE_S, wait_until

CONNECTIONS = 7
WINDOW_S = 2.0
"""Long enough that no worker is late for it only because the machine has other work."""
CORES = Cores(server=(available_cores()[-1],), engine=available_cores()[:2], lab=available_cores()[:1])
SCENARIO = """
from locust import FastHttpUser, task

class Visitor(FastHttpUser):
    @task
    def visit(self):
        self.client.get("/plaintext")
"""


class CountingServer(ContractServer):
    """An honest server that counts the requests for `/plaintext`."""

    def __init__(self) -> None:
        super().__init__(Faults(spoil={"GET /plaintext": self._count}))
        self.answered_at_s: list[float] = []

    @property
    def answered(self) -> int:
        return len(self.answered_at_s)

    def _count(self, answer: bytes) -> bytes:
        self.answered_at_s.append(time.time())
        return answer

    def cell(self, name: str = "a", connections: int = CONNECTIONS) -> LoadCell:
        target = http_target(load_contract(), HOST, self.port, "keep-alive", "GET", "/plaintext")
        return LoadCell(name, connections, target)


@contextmanager
def load_process(folder: Path, workers: int, port: int | None = None) -> Iterator[LoadProcess]:
    """A load process; when it is closed, nothing of it may be left."""
    log = folder / "load.log"
    external = port is not None
    options = MasterOptions(workers, port=port or 0, external=external)
    with local_load(cores=CORES, owner=Owner.this(), log=log, options=options) as load:
        own = [psutil.Process(load.pid)]
        if not external:
            load.hello()
            own += own[0].children(recursive=True)
        yield load
    _, alive = psutil.wait_procs(own, timeout=PATIENCE_S)
    assert alive == []
    assert "Traceback" not in log.read_text()


def worker_processes(load: LoadProcess) -> list[psutil.Process]:
    return [child for child in psutil.Process(load.pid).children() if "--worker" in child.cmdline()]


@dataclass
class Meanwhile:
    """A slice that runs in a thread of its own."""

    load: LoadProcess
    cell: str
    results: list[SliceResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self.results.append(self.load.run_slice(self.cell, WINDOW_S))

    def result(self) -> SliceResult:
        self.thread.join(PATIENCE_S)
        (result,) = self.results
        return result


@pytest.mark.parametrize("workers", [0, 3])
def test_what_is_counted_is_what_the_server_answered(tmp_path: Path, workers: int) -> None:
    with CountingServer() as server, load_process(tmp_path, workers) as load:
        load.spawn([server.cell()])
        load.prepare("a")
        result = load.run_slice("a", WINDOW_S)
        load.stop()
        answers = result.completed + result.drained
        assert answers == server.answered > CONNECTIONS
        assert sum(result.histogram.values()) == answers - CONNECTIONS
        assert sum(result.failures.values()) == result.workers_missing == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_engines_and_workers_share_one_schedule(tmp_path: Path, workers: int) -> None:
    with CountingServer() as server, load_process(tmp_path, workers) as load:
        load.spawn([server.cell()])
        load.prepare("a")
        result = load.run_slice("a", WINDOW_S, Arrivals(101.0, "poisson", 5))
        load.stop()
        assert result.offered == server.answered == 202
        assert sum(result.histogram.values()) + result.left_out == 202
        assert result.workers_missing == 0


def test_every_cell_is_on_every_worker_and_a_broadcast_on_one(tmp_path: Path) -> None:
    with CountingServer() as server, load_process(tmp_path, 2) as load:
        target = Target(HOST, server.port, "websocket", path="/ws/broadcast", exchange="broadcast")
        load.spawn([server.cell("a", 4), server.cell("b", 4), LoadCell("all", 4, target)])
        held = {}
        for name in ("a", "b", "all"):
            before = connections_of_engines(load, server.port)
            load.prepare(name)
            after = connections_of_engines(load, server.port)
            held[name] = sorted(after[pid] - before[pid] for pid in after)
        result = load.run_slice("all", WINDOW_S)
        load.stop()
        assert held == {"a": [2, 2], "b": [2, 2], "all": [0, 4]}
        assert sum(result.failures.values()) == result.workers_missing == 0
        assert result.completed > 0


def connections_of_engines(load: LoadProcess, port: int) -> dict[int, int]:
    engines = [engine for worker in worker_processes(load) for engine in worker.children()]
    return {
        engine.pid: sum(1 for each in engine.net_connections("tcp") if each.raddr and each.raddr.port == port)
        for engine in engines
    }


def test_a_worker_killed_in_the_middle_is_seen_and_the_run_goes_on(tmp_path: Path) -> None:
    with CountingServer() as server, load_process(tmp_path, 3) as load:
        load.spawn([server.cell("a", 6)])
        load.prepare("a")
        running = Meanwhile(load, "a")
        wait_until("the slice to run", lambda: server.answered > 0)
        worker_processes(load)[0].kill()
        results = [running.result()]
        load.prepare("a")
        results.append(load.run_slice("a", WINDOW_S))
        load.stop()
        load.spawn([server.cell("b", 6)])
        load.prepare("b")
        held = connections_of_engines(load, server.port)
        results.append(load.run_slice("b", WINDOW_S))
        load.stop()
        assert [result.workers_missing for result in results] == [1, 1, 1]
        assert all(result.completed > 0 for result in results)
        assert sorted(held.values()) == [3, 3]
    assert "its load is missing from here on" in (tmp_path / "load.log").read_text()


def test_the_run_ends_with_a_clear_error_when_no_worker_is_left(tmp_path: Path) -> None:
    with CountingServer() as server, load_process(tmp_path, 1) as load:
        load.spawn([server.cell()])
        worker_processes(load)[0].kill()
        with pytest.raises(LoadError, match="every worker is lost"):
            load.prepare("a")


def test_a_late_worker_is_seen_and_is_welcome_again(tmp_path: Path) -> None:
    with CountingServer() as server, load_process(tmp_path, 3) as load:
        load.spawn([server.cell()])
        load.prepare("a")
        late = worker_processes(load)[1]
        late.suspend()
        running = Meanwhile(load, "a")
        wait_until("the slice to run", lambda: server.answered > 0)
        time.sleep(0.6)
        late.resume()
        assert running.result().workers_missing == 1
        load.prepare("a")
        assert load.run_slice("a", WINDOW_S).workers_missing == 0
        load.stop()


def test_a_worker_gives_signs_of_life_during_a_long_slice(tmp_path: Path) -> None:
    with CountingServer() as server, load_process(tmp_path, 1) as load:
        load.spawn([server.cell(connections=1)])
        # Locust misses a worker after 4 to 5 seconds, and the load process then waits for it no longer.
        result = load.run_slice("a", 8.0)
        load.stop()
        assert result.workers_missing == 0
        assert result.completed + result.drained == server.answered > 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_locust_file_is_a_cell_of_one_process(tmp_path: Path, workers: int) -> None:
    file = tmp_path / "visit.py"
    file.write_text(SCENARIO)
    with CountingServer() as server, load_process(tmp_path, workers) as load:
        host = f"http://{HOST}:{server.port}"
        load.spawn([LoadCell("visit", 2, None, file, host), server.cell()])
        load.prepare("visit")
        result = load.run_slice("visit", WINDOW_S)
        # Its users go on between slices, so that each may have an answer more by the end or since.
        ended_s = result.started_unix_ns / 1e9 + result.elapsed_s
        answered = sum(at_s <= ended_s for at_s in server.answered_at_s)
        assert 0 < result.completed + result.drained == pytest.approx(answered, abs=2)
        assert result.workers_missing == 0
        load.stop()


@pytest.mark.parametrize("workers", [0, 2])
def test_locust_itself_stays_off_the_servers_cores(tmp_path: Path, workers: int) -> None:
    # The users of a Locust file run in its own process, which is pinned to no core as an engine is.
    *free, server_core = sorted(os.sched_getaffinity(0))
    if not free:
        pytest.skip("needs two cores")
    cores = Cores(server=(server_core,), engine=(free[0],), lab=(free[-1],))
    options = MasterOptions(workers)
    log = tmp_path / "load.log"
    with local_load(cores=cores, owner=Owner.this(), log=log, options=options) as load:
        load.hello()
        own = psutil.Process(load.pid)
        for process in (own, *own.children(recursive=True)):
            assert server_core not in process.cpu_affinity()
        load.stop()
    assert os.sched_getaffinity(0) == {*free, server_core}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_locust_file_that_cannot_be_used_spoils_no_other_cell(tmp_path: Path, workers: int) -> None:
    with CountingServer() as server, load_process(tmp_path, workers) as load:
        missing = LoadCell("visit", 2, None, tmp_path / "missing.py", f"http://{HOST}:{server.port}")
        with pytest.raises(CellError, match="there is no such file"):
            load.spawn([server.cell("a"), missing])
        load.spawn([server.cell("a")])
        load.prepare("a")
        assert load.run_slice("a", WINDOW_S).workers_missing == 0
        load.stop()


def test_workers_that_somebody_starts_with_locusts_own_command_are_used(tmp_path: Path) -> None:
    port = fresh_port(HOST, set())
    with CountingServer() as server, ExitStack() as workers:
        with load_process(tmp_path, 2, port) as load:
            _, command = load.instructions.split(": ", 1)
            assert command.startswith(".venv/bin/locust -f loadtests/locustfile.py --worker ")
            processes = [workers.enter_context(started(tmp_path, command)) for _ in range(2)]
            hello = load.hello()
            assert hello["workers"] == 2
            load.spawn([server.cell()])
            load.prepare("a")
            result = load.run_slice("a", WINDOW_S)
            assert result.completed + result.drained == server.answered > 0
            assert result.workers_missing == 0
            load.stop()
        assert [process.wait(PATIENCE_S) for process in processes] == [0, 0]


@contextmanager
def started(folder: Path, command: str) -> Iterator[subprocess.Popen[bytes]]:
    arguments = [sys.executable, "-m", *command.removeprefix(".venv/bin/").split()]
    with (
        (folder / "worker.log").open("ab") as log,
        subprocess.Popen(arguments, cwd=ROOT, stdout=log, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def test_nothing_is_left_when_the_load_process_is_killed(tmp_path: Path) -> None:
    with load_process(tmp_path, 2) as load:
        psutil.Process(load.pid).send_signal(signal.SIGKILL)
        with pytest.raises(LoadError, match="the load process"):
            load.prepare("a")


@contextmanager
def interrupted_soon() -> Iterator[None]:
    """Interrupts the block by a signal, as Ctrl-C does; a shell's background jobs ignore that one."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_after_an_interrupted_command_nothing_more_is_asked(tmp_path: Path) -> None:
    with CountingServer() as server, load_process(tmp_path, 0) as load:
        load.spawn([server.cell()])
        with interrupted_soon():
            load.run_slice("a", PATIENCE_S)
        assert server.answered > CONNECTIONS
        load.stop()  # its answer would come when the slice is over, and would be that of the slice
        load.close()
        assert not psutil.pid_exists(load.pid)


def test_a_port_that_is_taken_gives_one_clear_error(tmp_path: Path) -> None:
    with (
        CountingServer() as server,
        load_process(tmp_path, 1, server.port) as load,
        pytest.raises(LoadError, match="master cannot listen on"),
    ):
        load.hello()
