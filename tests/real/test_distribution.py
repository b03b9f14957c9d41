"""Plain Locust with a master and workers: the exact result of all of them, and who is missing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from gatebench.machine.kernel import fresh_port
from gatebench.words.paths import HOST, ROOT
from loadtests.engine.tally import SliceResult
from tests.support.contract_server import ContractServer, Faults
from tests.support.lab import PATIENCE_S, wait_until

USERS = 5


LOCUSTFILE = ROOT / "loadtests" / "locustfile.py"


class CountingServer(ContractServer):
    """An honest server that counts its connections and the requests for `/plaintext`."""

    def __init__(self) -> None:
        super().__init__(Faults(spoil={"GET /plaintext": self._count}))
        self.opened = 0
        self.answered = 0

    def await_load_of_everybody(self) -> None:
        """Waits until every user of every worker has its connection, and requests came after that."""
        wait_until("every connection", lambda: self.opened >= USERS)
        before = self.answered
        wait_until("load", lambda: self.answered > before + 100 * USERS)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        await super()._connection(reader, writer)

    def _count(self, answer: bytes) -> bytes:
        self.answered += 1
        return answer


class Cluster:
    """A headless Locust master and two workers, and what they say."""

    def __init__(self, folder: Path, server: CountingServer, *options: str, file: Path, user: str) -> None:
        self._folder = folder
        self._command = [sys.executable, "-m", "locust", "-f", str(file), user]
        self.file = folder / "exact.json"
        port = str(fresh_port(HOST, set()))
        host = f"http://{HOST}:{server.port}"
        self._stack = ExitStack()
        self.workers = [
            self._start("worker", "--worker", "--master-host", HOST, "--master-port", port) for _ in range(2)
        ]
        self.master = self._start(
            "master",
            *("--master", "--master-bind-host", HOST, "--master-bind-port", port, "--expect-workers", "2"),
            *("--headless", "-u", str(USERS), "-r", str(USERS), "--host", host),
            *("--exact-json", str(self.file), *options),
        )

    def _start(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([*self._command, *options], cwd=self._folder, stdout=log, stderr=log)
        self._stack.callback(process.kill)
        return process

    def said(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def end(self) -> tuple[int, dict[str, Any]]:
        """The master's exit status and its exact result."""
        status = self.master.wait(PATIENCE_S)
        return status, json.loads(self.file.read_text())

    def close(self) -> None:
        """Ends everything."""
        self._stack.close()
        for process in (*self.workers, self.master):
            process.wait(PATIENCE_S)


@contextmanager
def cluster(
    folder: Path,
    server: CountingServer,
    *options: str,
    file: Path = LOCUSTFILE,
    user: str = "KeepAliveUser",
) -> Iterator[Cluster]:
    """A cluster that is ended, whatever happens."""
    running = Cluster(folder, server, *options, file=file, user=user)
    try:
        yield running
    finally:
        running.close()


def engines(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children()


def test_the_master_writes_exactly_what_all_workers_counted(tmp_path: Path) -> None:
    with CountingServer() as server, cluster(tmp_path, server, "-t", "4s") as locust:
        wait_until("load", lambda: server.answered > 0)
        assert engines(locust.master) == []
        own = [engine for worker in locust.workers for engine in engines(worker)]
        status, exact = locust.end()
        assert [worker.wait(PATIENCE_S) for worker in locust.workers] == [0, 0]
        _, alive = psutil.wait_procs(own, timeout=PATIENCE_S)
        assert alive == []
    assert status == 0, locust.said("master")
    assert exact["complete"]
    assert exact["workers"] == {"expected": 2, "heard": 2, "lost": {}}
    ((name, group),) = exact["groups"].items()
    result = SliceResult.from_json(group["result"])
    assert name.startswith("KeepAliveUser http://")
    assert result.opened == USERS
    # What was in flight at the end only the server has seen.
    assert server.answered - USERS <= result.completed <= server.answered
    timed = sum(result.histogram.values())
    assert result.completed - USERS <= timed <= result.completed
    assert group["latency_us"]["max"] == max(result.histogram)
    assert f"{result.completed:,} answers, exactly: p50 " in locust.said("master")
    assert "Traceback" not in locust.said("master") + locust.said("worker")


@pytest.mark.parametrize("kill", [True, False])
def test_a_worker_that_ends_before_the_test_is_named_and_fails_it(tmp_path: Path, kill: bool) -> None:
    with CountingServer() as server, cluster(tmp_path, server) as locust:
        server.await_load_of_everybody()
        lost = locust.workers[0]
        lost.kill() if kill else lost.terminate()
        lost.wait(PATIENCE_S)
        locust.master.terminate()
        status, exact = locust.end()
    assert status == 1
    assert not exact["complete"]
    assert (exact["workers"]["expected"], exact["workers"]["heard"]) == (2, 1)
    ((name, why),) = exact["workers"]["lost"].items()
    assert f"{name} was lost: {why}" in locust.said("master")
    ((_, group),) = exact["groups"].items()
    assert group["result"]["workers_missing"] == 1
    assert group["result"]["completed"] > 0


def test_a_worker_whose_engine_dies_is_named_and_fails_the_test(tmp_path: Path) -> None:
    with CountingServer() as server, cluster(tmp_path, server) as locust:
        server.await_load_of_everybody()
        engines(locust.workers[1])[0].kill()
        wait_until("the worker to notice", lambda: "ended in the middle" in locust.said("worker"))
        locust.master.terminate()
        status, exact = locust.end()
    assert status == 1
    # The other one may be lost, too, where the machine leaves it no time to answer.
    assert any(why.startswith("the load engine ended") for why in exact["workers"]["lost"].values())


IDLE_USER = """
from loadtests.locustfile import *
from locust import User, task
import gevent

class Late(User):
    @task
    def wait_for_nothing(self):
        gevent.sleep(60)
"""


def test_an_engine_that_ends_before_it_holds_a_connection_is_named_too(tmp_path: Path) -> None:
    file = tmp_path / "late.py"
    file.write_text(IDLE_USER)
    with CountingServer() as server, cluster(tmp_path, server, file=file, user="Late") as locust:
        wait_until("every engine", lambda: all(engines(worker) for worker in locust.workers))
        engines(locust.workers[1])[0].kill()
        wait_until("the worker to notice", lambda: "ended in the middle" in locust.said("worker"))
        locust.master.terminate()
        status, exact = locust.end()
    assert status == 1
    # The other one may be lost, too, where the machine leaves it no time to answer.
    assert any(why.startswith("the load engine ended") for why in exact["workers"]["lost"].values())
