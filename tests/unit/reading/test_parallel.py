"""Work in forked processes: in order, on data that is not sent, and its errors are its caller's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from analysis.reading import tables
from analysis.reading.tables import at_most, forked_map
from gatebench.words.paths import ROOT
from tests.support.lab import PATIENCE_S, wait_until


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})


def test_results_come_in_the_order_of_the_items() -> None:
    assert forked_map(lambda number: number**2, range(40)) == [number**2 for number in range(40)]


def test_the_work_is_done_in_other_processes() -> None:
    assert os.getpid() not in forked_map(lambda _: os.getpid(), range(20))


def test_a_few_items_are_not_worth_a_process() -> None:
    assert forked_map(lambda _: os.getpid(), range(3)) == [os.getpid()] * 3


def test_one_core_does_it_all_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})

    assert set(forked_map(lambda _: os.getpid(), range(20))) == {os.getpid()}


def test_an_error_reaches_the_caller_and_leaves_nothing_behind() -> None:
    def fail(number: int) -> int:
        return 1 // number

    with pytest.raises(ZeroDivisionError):
        forked_map(fail, range(12))
    assert tables._work == []
    assert forked_map(lambda number: -number, range(12)) == [-number for number in range(12)]


def test_work_within_work_stays_in_its_process() -> None:
    def outer(number: int) -> set[int]:
        return {number, *forked_map(lambda _: os.getpid(), range(20))}

    assert all(len(found) == 2 for found in forked_map(outer, range(12)))


def test_who_has_little_memory_keeps_to_fewer_processes() -> None:
    with at_most(2):
        assert len(set(forked_map(lambda _: os.getpid(), range(40)))) <= 2
        with at_most(1):
            assert set(forked_map(lambda _: os.getpid(), range(40))) == {os.getpid()}
    with at_most(0):
        assert os.getpid() not in forked_map(lambda _: os.getpid(), range(40))


def test_the_processes_end_with_the_one_that_asked_even_after_kill_9(tmp_path: Path) -> None:
    told = tmp_path / "pids"
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from analysis.reading.tables import forked_map\n"
        "def wait(_):\n"
        "    with Path(sys.argv[1]).open('a') as file:\n"
        "        file.write(f'{os.getpid()}\\n')\n"
        "    time.sleep(600)\n"
        "from analysis.reading.tables import at_most\n"
        "with at_most(2):\n    forked_map(wait, range(12))\n"
    )
    asking = subprocess.Popen([sys.executable, "-c", script, str(told)], cwd=ROOT)
    try:
        wait_until("a process each", lambda: told.exists() and len(told.read_text().split()) == 2)
        forks = [psutil.Process(int(pid)) for pid in told.read_text().split()]
    finally:
        asking.kill()
        asking.wait()
    _, alive = psutil.wait_procs(forks, timeout=PATIENCE_S)
    for each in alive:
        each.kill()
    assert alive == []
