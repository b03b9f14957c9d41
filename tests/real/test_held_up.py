"""An engine that is stopped again and again measures what servers log themselves of their answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Self

import pytest

from gatebench.contract.file import load_contract
from gatebench.contract.site import wait_until_accepting
from gatebench.load.targets import http_target
from gatebench.machine.cores import available_cores
from gatebench.machine.kernel import fresh_port
from gatebench.words.paths import HOST, ROOT
from loadtests.engine.fleet import Fleet
from loadtests.engine.protocol import Arrivals
from loadtests.engine.tally import SliceResult, percentile_us
from tests.support.lab import PATIENCE_S, found_undisturbed

pytestmark = pytest.mark.alone
"""A slice in which others hold the engine up for most of the time leaves too few latencies to tell."""

RATE_PER_S = 1000.0
CONNECTIONS = 64
WINDOW_S = 10.0
HELD_UP_S = 0.005
TIMES = 100
DELAY_MS = 5.0
FREEZE = ("--freeze-s", str(HELD_UP_S), "--freeze-every-s", str(WINDOW_S / TIMES))
ENGINE_CORE, SERVER_CORE = available_cores()[0], available_cores()[-1]


@dataclass(frozen=True)
class Slice:
    """What an engine measured of a server in a slice, and what the server said of it, in microseconds."""

    result: SliceResult
    served_us: list[int]
    stops: int

    @property
    def measured_p99_us(self) -> int:
        return percentile_us(self.result.histogram, 0.99)

    @property
    def true_p99_us(self) -> int:
        return percentile_us(Counter(self.served_us), 0.99)

    @property
    def is_right(self) -> bool:
        """Within 10 % or half a millisecond of the truth.

        The stops leave out a fifth. Where it is over three, the machine itself held up the engine nearly all
        of the time, and too few latencies are left to tell.
        """
        if self.result.left_out > 0.6 * self.result.offered:
            return True
        off_us = abs(self.measured_p99_us - self.true_p99_us)
        return off_us <= max(0.1 * self.true_p99_us, 500)


@contextmanager
def server(folder: Path, *behaviour: str) -> Iterator[int]:
    """A server in a process of its own, which at its end has written to `served` in the folder."""
    port = fresh_port(HOST, set())
    command = [sys.executable, "-m", "tests.support.small_server.bare", "--port", str(port), "--tell"]
    with (folder / "served").open("w") as log:
        process = subprocess.Popen(
            [*command, "--app", "apps.plain.asgi:app", *behaviour], stdout=log, cwd=ROOT
        )
        try:
            os.sched_setaffinity(process.pid, {SERVER_CORE})
            wait_until_accepting(HOST, port, deadline_s=PATIENCE_S, alive=lambda: process.poll() is None)
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


class Stopping:
    """Stops a process `TIMES` times in a slice, for `HELD_UP_S` each, at random moments."""

    def __init__(self, pid: int) -> None:
        self.times = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        random, mean_s = Random(1), WINDOW_S / TIMES - HELD_UP_S  # noqa: S311 - no secret
        while not self._over.wait(random.uniform(0.5 * mean_s, 1.5 * mean_s)):
            os.kill(self._pid, signal.SIGSTOP)
            try:
                self._over.wait(HELD_UP_S)
            finally:
                os.kill(self._pid, signal.SIGCONT)
            self.times += 1


def measured(folder: Path, *behaviour: str) -> Slice:
    """One slice of such a server, by an engine that is stopped."""
    goal = load_contract(), HOST
    with server(folder, *behaviour) as port, Fleet((ENGINE_CORE,)) as fleet:
        fleet.add_group("cell", http_target(*goal, port, "keep-alive", "GET", "/plaintext"))
        for number in range(CONNECTIONS):
            fleet.open("cell", str(number))
        fleet.prepare("cell")
        with Stopping(*fleet.pids) as stopping:
            result = fleet.run_slice("cell", WINDOW_S, Arrivals(RATE_PER_S, "poisson", seed=1))
    began_us = result.started_unix_ns // 1000
    served = [line.split() for line in (folder / "served").read_text().splitlines()]
    served_us = [int(words[2]) for words in served if words[0] == "served" and int(words[1]) >= began_us]
    return Slice(result, served_us, stopping.times)


def assert_whole(found: Slice) -> None:
    """Every request was answered and counted, and each stop left some of them out of the latencies."""
    result = found.result
    assert sum(result.failures.values()) == 0
    assert result.completed + result.drained == result.offered == len(found.served_us)
    assert sum(result.histogram.values()) + result.left_out == result.offered
    assert found.stops > TIMES / 2
    assert result.left_out > found.stops * HELD_UP_S * RATE_PER_S


@pytest.mark.parametrize("freeze", [(), FREEZE], ids=["steady", "freezing"])
def test_a_stopped_engine_measures_the_p99_that_the_server_itself_logged(
    tmp_path: Path, freeze: tuple[str, ...]
) -> None:
    def once() -> Slice:
        found = measured(tmp_path, "--delay-ms", str(DELAY_MS), *freeze)
        assert_whole(found)
        # A server that stands still as often as the engine is stopped has this in its tail, and keeps it.
        assert found.true_p99_us > 1000 * DELAY_MS + (700_000 * HELD_UP_S if freeze else 0)
        return found

    assert found_undisturbed(once, lambda found: found.is_right)
