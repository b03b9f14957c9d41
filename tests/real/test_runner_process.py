"""The process runner: arguments, a clean environment, cores, ports, and servers that do not get ready."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gatebench.contract.file import load_contract
from gatebench.contract.site import LocalSite
from gatebench.machine.processes import OWNER_VARIABLE, Owner
from gatebench.runners import readiness
from gatebench.runners.base import Launch
from gatebench.runners.process import instance as processes
from gatebench.runners.process.instance import ProcessInstance
from gatebench.runners.process.runner import ProcessRunner
from gatebench.runners.readiness import hold_all_to_contract, hold_to_contract
from gatebench.words.errors import ServerFailure
from gatebench.words.model import Subject
from gatebench.words.options import Budget
from gatebench.words.paths import CACHE, HOST, ROOT
from tests.support.lab import wait_until
from tests.support.subjects import SUBJECTS, running

CORE = max(os.sched_getaffinity(0))


@pytest.fixture
def runner(tmp_path: Path) -> ProcessRunner:
    return ProcessRunner(
        budget=Budget((CORE,)), owner=Owner.this(), scratch=tmp_path, cache=CACHE, report=lambda _: None
    )


@contextmanager
def started(runner: ProcessRunner, subject: Subject, log: Path) -> Iterator[ProcessInstance]:
    assert runner.prepare([subject])[subject.id].reason == ""
    instance = runner.launch(subject, log=log, hash_seed=7)
    try:
        yield instance
    finally:
        instance.begin_stop()
        instance.finish_stop()


def test_a_port_in_use_fails_the_start_and_names_the_option(runner: ProcessRunner, tmp_path: Path) -> None:
    subject = SUBJECTS["honest-wsgi"]
    runner.prepare([subject])
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ServerFailure, match=rf"start: port {port} is in use.*--port"):
            runner.launch(subject, log=tmp_path / "log", hash_seed=0, port=port)


def test_a_command_that_is_not_there_fails_the_start(runner: ProcessRunner, tmp_path: Path) -> None:
    subject = running("no-such-server", "{port}")
    runner.prepare([subject])
    with pytest.raises(
        ServerFailure, match="start: no command 'no-such-server' in the environment of honest"
    ):
        runner.launch(subject, log=tmp_path / "log", hash_seed=0)


def test_a_server_sees_a_clean_environment(
    runner: ProcessRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--workers 9")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setenv("WEB_CONCURRENCY", "9")
    sleeper = running("python", "-c", "import time; time.sleep(600)")
    with started(runner, sleeper, tmp_path / "log") as instance:
        wait_until("its own program to run", lambda: "time.sleep" in " ".join(process(instance).cmdline()))
        seen = process(instance).environ()
        working_folder = Path(process(instance).cwd())
    assert not {"GUNICORN_CMD_ARGS", "PYTHONOPTIMIZE", "WEB_CONCURRENCY", "VIRTUAL_ENV"} & set(seen)
    assert seen["PYTHONHASHSEED"] == "7"
    assert seen["PYTHONPATH"] == str(ROOT)
    assert seen["OWN"] == "1"
    assert seen[OWNER_VARIABLE] == str(Owner.this())
    assert seen["PATH"].startswith(str(CACHE))
    assert working_folder.parent == tmp_path


def test_a_server_finds_the_files_of_its_variant_in_its_working_folder(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    printing = running("python", "-c", "print(open('demo.conf', encoding='utf-8').read())")
    variant = replace(printing.variant, files={"demo.conf": "listen {host}:{port}; # größer { }"})
    with started(runner, replace(printing, variant=variant), tmp_path / "log") as instance:
        wait_until("its end", lambda: instance.fault() != "")
        assert instance.log_tail() == f"listen {HOST}:{instance.port}; # größer {{ }}"
        assert instance.fault() == "the server exited with status 0"


def process(instance: ProcessInstance) -> psutil.Process:
    return psutil.Process(instance._process.pid)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores to tell them apart")
def test_a_server_runs_on_the_servers_cores_and_the_lab_on_its_own(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    before = os.sched_getaffinity(0)
    with started(runner, SUBJECTS["honest-wsgi"], tmp_path / "log") as instance:
        hold_to_contract(instance, LocalSite(load_contract()), thorough=False)
        threads = [thread.id for thread in process(instance).threads()]
        assert len(threads) > 1
        assert {frozenset(os.sched_getaffinity(thread)) for thread in threads} == {frozenset({CORE})}
        assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores to tell them apart")
def test_servers_start_on_all_cores_and_meet_their_load_on_the_servers_own(tmp_path: Path) -> None:
    other = min(os.sched_getaffinity(0))
    runner = ProcessRunner(
        budget=Budget((CORE,)),
        owner=Owner.this(),
        scratch=tmp_path,
        cache=CACHE,
        report=lambda _: None,
        places=((CORE,), (other,)),
    )
    subject = SUBJECTS["honest-wsgi"]
    runner.prepare([subject])
    instances = runner.start([Launch(subject, tmp_path / f"{number}.log", 7) for number in range(3)])
    up = [each for each in instances if isinstance(each, ProcessInstance)]
    try:
        assert len(up) == len(instances)
        assert [cores(each) for each in up] == [{CORE}, {other}, {CORE}]
        assert hold_all_to_contract(up, LocalSite(load_contract()), thorough=False) == []
        assert runner.place(up) == []
        assert [cores(each) for each in up] == [{CORE}] * 3
    finally:
        runner.stop(up)
    assert all(each.fault() for each in up)


def cores(instance: ProcessInstance) -> set[int]:
    """Every core that one of the server's threads may run on."""
    threads = process(instance).threads()
    return set().union(*(os.sched_getaffinity(thread.id) for thread in threads))


def test_a_server_that_cannot_be_put_on_its_cores_gets_no_load(
    runner: ProcessRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(processes, "move", refused)
    sleeper = running("python", "-c", "import time; time.sleep(600)")
    with started(runner, sleeper, tmp_path / "log") as instance:
        assert runner.place([instance]) == []
        instance._cores = (CORE + 1,)
        ((found, failure),) = runner.place([instance])
    assert found is instance
    assert failure.code == "start"
    assert failure.text == "it cannot be put on the servers' cores: Operation not permitted"


def test_a_server_that_listens_and_never_answers_is_not_ready(
    runner: ProcessRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "READY_TIMEOUT_S", 1.0)
    log = tmp_path / "silent.log"
    with started(runner, SUBJECTS["faulty-silent"], log) as instance:
        wait_until("the server to listen", lambda: "listening" in log.read_text())
        with pytest.raises(ServerFailure) as caught:
            hold_to_contract(instance, LocalSite(load_contract()), thorough=False)
    assert caught.value.code == "start"
    assert "was not ready within 1 s" in caught.value.text
    assert caught.value.text.endswith("last lines of silent.log:\nlistening, and silent")


@pytest.mark.parametrize(
    ("stop", "fault"),
    [("TERM", "the server was ended by SIGTERM"), ("KILL", "the server was ended by SIGKILL")],
)
def test_a_server_that_a_signal_ended_says_which(
    runner: ProcessRunner, tmp_path: Path, stop: str, fault: str
) -> None:
    sleeper = running("python", "-c", "import time; time.sleep(600)", stop=stop)
    with started(runner, sleeper, tmp_path / "log") as instance:
        assert instance.fault() == ""
        os.kill(instance._process.pid, getattr(signal, f"SIG{stop}"))
        wait_until("its end", lambda: instance.fault() != "")
        assert instance.fault() == fault


def test_a_server_that_ignores_its_stop_signal_is_killed_with_its_children(
    runner: ProcessRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_GRACE_S", 0.2)
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print('deaf', flush=True)\n"
        "time.sleep(600)\n"
    )
    log = tmp_path / "log"
    with started(runner, running("python", "-c", code), log) as instance:
        wait_until("the child", lambda: "deaf" in log.read_text())
        family = [process(instance), *process(instance).children()]
        assert len(family) == 2
    assert [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []


def test_of_a_long_log_only_the_last_lines_are_shown(runner: ProcessRunner, tmp_path: Path) -> None:
    talker = running("python", "-c", "for number in range(100): print('line', number)")
    with started(runner, talker, tmp_path / "log") as instance:
        wait_until("its end", lambda: instance.fault() != "")
        assert instance.fault() == "the server exited with status 0"
        shown = instance.log_tail().splitlines()
    assert shown == [f"line {number}" for number in range(100 - processes.LOG_TAIL_LINES, 100)]
