"""Finding and ending what a lab started, also when the lab is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from gatebench.machine import processes
from gatebench.machine.processes import (
    OWNER_VARIABLE,
    STOP_VARIABLE,
    Owner,
    anonymous_mib,
    cpu_s,
    kept_to,
    marked_processes,
    memory_mib,
    move,
    moved,
    sweep,
    tree,
)
from gatebench.runners.session import watched

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
PARENT_CODE = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print("ready", flush=True)
time.sleep(60)
"""
PARENT = [sys.executable, "-c", PARENT_CODE]


@contextmanager
def marked(owner: Owner, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, OWNER_VARIABLE: str(owner)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own, so that nobody else's is swept."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def gone_owner() -> Owner:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return Owner(process.pid, 1)


def test_an_owner_survives_its_way_through_text() -> None:
    owner = Owner.this()
    assert Owner.parse(str(owner)) == owner
    assert owner.alive


@pytest.mark.parametrize("text", ["", "12", "12-", "-3", "a-b", "1-2-3"])
def test_a_damaged_mark_is_nobodys(text: str) -> None:
    assert Owner.parse(text) is None


def test_a_later_process_with_the_same_id_is_not_the_owner() -> None:
    assert not Owner(os.getpid(), Owner.this().start_ticks + 1).alive


def test_what_a_dead_lab_left_behind_is_killed_with_its_children(temporary_folder: Path) -> None:
    owner = gone_owner()
    scratch = owner.scratch()
    with marked(owner, PARENT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        family = tree(process.pid)
        assert len(family) == 2
        assert set(family) <= set(sweep())
        assert process.pid not in psutil.pids()
    assert not scratch.exists()
    assert set(temporary_folder.iterdir()) == set()


ASKED_CODE = """
import pathlib, signal, subprocess, sys, time
def end(*_):
    pathlib.Path(sys.argv[1]).touch()
    sys.exit()
signal.signal(signal.SIGQUIT, end)
sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
child = subprocess.Popen(sleeper, env={}, start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_process_that_names_a_signal_gets_that_first_and_its_children_end_whatever_mark_they_show(
    temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STOP_VARIABLE, "QUIT")
    cleaned = temporary_folder / "cleaned"
    with marked(gone_owner(), [sys.executable, "-c", ASKED_CODE, str(cleaned)]) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert {process.pid, child} <= set(sweep())
        assert cleaned.exists()
        assert process.wait() == 0
        assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_what_a_living_lab_runs_is_left_alone(temporary_folder: Path) -> None:
    owner = Owner.this()
    scratch = owner.scratch()
    with marked(owner, SLEEPER) as process:
        assert process.pid in marked_processes()
        assert process.pid not in sweep()
        assert process.poll() is None
    assert scratch.parent == temporary_folder
    assert scratch.exists()


def test_processes_without_a_mark_are_left_alone() -> None:
    with subprocess.Popen(SLEEPER) as process:
        assert process.pid not in sweep()
        assert process.poll() is None
        process.kill()


def test_a_watched_block_leaves_nothing_behind(temporary_folder: Path) -> None:
    owner = Owner.this()
    scratch = owner.scratch()
    with marked(owner, SLEEPER) as process:
        with watched(owner):
            assert process.poll() is None
        assert process.pid not in psutil.pids()
    assert not scratch.exists()
    assert temporary_folder.exists()


def test_after_kill_9_of_the_lab_the_watch_process_ends_its_servers(tmp_path: Path) -> None:
    lab = (
        "import os, subprocess, sys, time\n"
        "from gatebench.machine.processes import OWNER_VARIABLE, Owner\n"
        "from gatebench.runners.session import watched\n"
        "owner = Owner.this()\n"
        "owner.scratch()\n"
        "with watched(owner):\n"
        "    mark = {**os.environ, OWNER_VARIABLE: str(owner)}\n"
        "    server = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], env=mark)\n"
        "    print(server.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", lab], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        server = psutil.Process(int(process.stdout.readline()))
        process.kill()
        assert server.wait(20) is None
    deadline = time.monotonic() + 20
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []


def test_cpu_time_of_another_process_is_read_to_less_than_a_millisecond() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        first = cpu_s([process.pid])
        time.sleep(0.05)
        second = cpu_s([process.pid])
        process.kill()
    assert second - first > 0
    assert second * 1000 != int(second * 1000)


def test_cpu_time_of_a_process_that_is_gone_is_an_error() -> None:
    with pytest.raises(ProcessLookupError):
        cpu_s([gone_owner().pid])


def test_memory_of_this_process_is_counted_in_mebibytes() -> None:
    assert memory_mib([os.getpid()]) == pytest.approx(psutil.Process().memory_info().rss / 2**20, rel=0.5)


def test_anonymous_memory_is_what_a_process_holds_and_no_file_that_it_maps(tmp_path: Path) -> None:
    file = tmp_path / "mapped"
    file.write_bytes(bytes(60 << 20))
    code = (
        "import mmap, sys\n"
        "held = bytearray(40 << 20)\n"
        "file = open(sys.argv[1], 'rb')\n"
        "mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)\n"
        "total = sum(mapped[::4096])\n"
        "print('up', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        own_mib = anonymous_mib([process.pid])
        assert own_mib is not None
        assert 40 < own_mib < 60
        assert memory_mib([process.pid]) > own_mib + 50
    assert anonymous_mib([process.pid]) is None


def test_memory_that_forks_share_is_counted_once() -> None:
    code = (
        "import os, sys\n"
        "held = bytearray(40 << 20)\n"
        "child = os.fork()\n"
        "if child:\n"
        "    print(child, flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        both = [process.pid, int(process.stdout.readline())]
        own_mib = anonymous_mib(both)
        assert own_mib is not None
        assert 40 < own_mib < 60


def test_the_module_needs_no_start_time_of_a_process_that_is_gone() -> None:
    assert processes._start_ticks(gone_owner().pid) is None


def test_peak_memory_is_a_process_s_own_and_not_that_of_who_started_it() -> None:
    ballast = bytearray(200 << 20)
    with subprocess.Popen(
        [*SLEEPER[:2], "print('up', flush=True); import time; time.sleep(60)"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert 0 < processes.peak_memory_mib(process.pid) < 100
        process.kill()
    assert len(ballast) > 0
    assert processes.peak_memory_mib(process.pid) == 0


CROWD_CODE = """
import os, subprocess, sys, threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("ready", flush=True)
time.sleep(60)
"""


def affinities(pid: int) -> set[frozenset[int]]:
    """Of every thread of a process and its descendants."""
    return {
        frozenset(os.sched_getaffinity(thread.id))
        for each in tree(pid)
        for thread in psutil.Process(each).threads()
    }


@contextmanager
def crowd(cores: set[int]) -> Iterator[int]:
    """A process with a second thread and a child, started on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        process = subprocess.Popen([sys.executable, "-c", CROWD_CODE], stdout=subprocess.PIPE)
    finally:
        os.sched_setaffinity(0, before)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            processes.kill(tree(process.pid))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores to tell them apart")
def test_a_process_is_moved_with_all_its_threads_and_children() -> None:
    first, *_, last = sorted(os.sched_getaffinity(0))
    with crowd({first}) as pid:
        assert len(tree(pid)) == 2
        assert affinities(pid) == {frozenset({first})}
        move(pid, [first], [last])
        assert affinities(pid) == {frozenset({last})}


@pytest.mark.parametrize(
    ("found", "then"), [({0, 1}, {2, 3}), ({0}, {2}), ({1}, {3}), ({1, 3}, {3}), ({4}, {2, 3})]
)
def test_a_thread_that_chose_among_its_cores_keeps_its_choice(found: set[int], then: set[int]) -> None:
    assert moved(found, [0, 1], [2, 3]) == then


def test_a_process_that_has_ended_needs_no_move() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        move(process.pid, [0], [0])


def test_a_killed_process_that_nobody_has_asked_after_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "KILL_TIMEOUT_S", 600.0)
    code = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen({SLEEPER!r})\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        processes.kill([child.pid])
        assert child.status() == psutil.STATUS_ZOMBIE
        parent.kill()


def test_every_thread_is_kept_to_some_cores_for_a_while_and_then_let_go() -> None:
    allowed = os.sched_getaffinity(0)
    least = min(allowed)
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        with kept_to([least]):
            kept = os.sched_getaffinity(0), os.sched_getaffinity(other.native_id or 0)
        let_go = os.sched_getaffinity(0), os.sched_getaffinity(other.native_id or 0)
        with kept_to([max(allowed) + 1]):
            without_any = os.sched_getaffinity(0)
    finally:
        done.set()
        other.join()
    assert kept == ({least}, {least})
    assert let_go == (allowed, allowed)
    assert without_any == allowed
