"""A PostgreSQL of the run's own: what it holds, how it fails, and that nothing of it outlives its lab."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gatebench.contract import tables
from gatebench.contract.file import load_contract
from gatebench.contract.probe import HttpProbe, WireError
from gatebench.contract.site import LocalSite
from gatebench.machine.kernel import fresh_port
from gatebench.machine.processes import Owner, tree
from gatebench.registry.registry import open_registry
from gatebench.runners.process import postgres
from gatebench.runners.process.instance import ProcessInstance
from gatebench.runners.process.postgres import Postgres, find_programs, start_postgres
from gatebench.runners.process.runner import ProcessRunner
from gatebench.runners.readiness import failed, hold_to_contract
from gatebench.words.errors import ServerFailure
from gatebench.words.model import Subject
from gatebench.words.options import Budget
from gatebench.words.paths import CACHE, HOST, ROOT
from tests.support.lab import wait_until

PROGRAMS = find_programs()
needs_postgres = pytest.mark.skipif(PROGRAMS is None, reason=postgres.REMEDY)
CORE, OTHER = max(os.sched_getaffinity(0)), min(os.sched_getaffinity(0))
APPLICATIONS = ("psycopg", "asyncpg", "django_orm", "flask_sql", "starlette_sql")
SUBJECTS: dict[str, Subject] = {each.id: each for each in open_registry().subjects(APPLICATIONS)}
SUBJECT = SUBJECTS["waitress+psycopg"]
SERVERS = ("waitress", "gunicorn-gthread", "uvicorn", "granian-asgi")
MEASURED = [each for each in SUBJECTS if each.partition("+")[0] in SERVERS]


def started(folder: Path, connections: int = 100) -> Postgres:
    return start_postgres(
        folder / "postgres",
        owner=Owner.this(),
        cores=(OTHER,),
        connections=connections,
        report=lambda _: None,
        taken=set(),
    )


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """A folder that every user may enter: another session of pytest may close the ones that it makes."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_for_all() as found:
        yield found


def asked(database: Postgres, query: str) -> str:
    assert PROGRAMS is not None
    command = (PROGRAMS["psql"], "--no-psqlrc", "-At", "-c", query, database.url)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with folder_for_all() as place:
        found = started(place)
        yield found
        found.stop()


def a_runner(folder: Path) -> ProcessRunner:
    return ProcessRunner(
        budget=Budget((CORE,)),
        owner=Owner.this(),
        scratch=folder,
        cache=CACHE,
        report=lambda _: None,
        aside=(OTHER,),
    )


@pytest.fixture(scope="module")
def runner() -> Iterator[ProcessRunner]:
    with folder_for_all() as place:
        found = a_runner(place)
        found.prepare([SUBJECTS[name] for name in MEASURED])
        yield found
        if found._database is not None:
            found._database.stop()


@needs_postgres
def test_the_tables_hold_what_the_contract_answers(database: Postgres) -> None:
    rows = asked(database, "SELECT id, value FROM entry ORDER BY id").splitlines()
    assert rows == [f"{key}|{tables.value_of(key)}" for key in range(1, tables.ROWS + 1)]
    assert asked(database, "SELECT message FROM fortune ORDER BY id").splitlines() == list(tables.FORTUNES)
    assert asked(database, "SELECT count(*), max(value) FROM counter") == f"{tables.COUNTERS}|0"


@needs_postgres
def test_it_asks_for_its_password_and_listens_on_loopback_alone(database: Postgres) -> None:
    assert asked(database, "SHOW listen_addresses") == HOST
    assert PROGRAMS is not None
    wrong = database.url.replace(database.url.split(":")[2].split("@")[0], "guess")
    refused = subprocess.run(
        (PROGRAMS["psql"], "-c", "SELECT 1", wrong), capture_output=True, text=True, check=False
    )
    assert "password authentication failed" in refused.stderr


@needs_postgres
def test_it_runs_on_its_own_cores_and_its_time_is_counted_with_that_of_connections_that_have_ended(
    database: Postgres,
) -> None:
    family = tree(database._process.pid)
    assert len(family) > 1
    assert {frozenset(os.sched_getaffinity(pid)) for pid in family} == {frozenset({OTHER})}
    before = database.cpu_s()
    asked(database, "SELECT count(*) FROM generate_series(1, 3000000)")  # its backend ends with psql
    after = database.cpu_s()
    assert before is not None
    assert after is not None
    assert after > before + 0.05


@needs_postgres
def test_an_end_leaves_no_process_no_shared_memory_and_a_reason(folder: Path) -> None:
    found = started(folder)
    segment = (folder / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
    assert segment in shared_memory()
    family = tree(found._process.pid)
    assert found.fault() == ""
    found.stop()
    assert not any(psutil.pid_exists(pid) for pid in family)
    assert segment not in shared_memory()
    assert found.fault().startswith("the database exited with status")
    assert found.cpu_s() is None


@needs_postgres
def test_a_database_that_was_killed_leaves_no_shared_memory_once_that_was_noticed(folder: Path) -> None:
    found = started(folder)
    try:
        segment = (folder / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
        assert segment in shared_memory()
        family = tree(found._process.pid)
        os.kill(found._process.pid, signal.SIGKILL)
        wait_until("the end of all of it", lambda: not any(map(psutil.pid_exists, family[1:])))
        wait_until("its end to be noticed", lambda: found.fault() != "")
        assert found.fault().startswith("the database was ended by SIGKILL")
        assert segment not in shared_memory()
    finally:
        found.stop()


def shared_memory() -> set[str]:
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return {line.split()[1] for line in lines}


LAB = """
import os, pathlib, sys, time
from gatebench.machine.processes import Owner
from gatebench.runners.process.postgres import start_postgres
from gatebench.runners.session import watched
owner = Owner.this()
scratch = owner.scratch()
with watched(owner):
    found = start_postgres(scratch / "postgres", owner=owner, cores=sorted(os.sched_getaffinity(0)),
        connections=100, report=print, taken=set())
    print(found._process.pid, scratch, flush=True)
    time.sleep(600)
"""


@needs_postgres
def test_a_lab_that_is_killed_leaves_no_database_and_no_folder(folder: Path) -> None:
    variables = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(
        (sys.executable, "-c", LAB), cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True
    ) as lab:
        assert lab.stdout is not None
        pid, scratch = next(line for line in lab.stdout if line[0].isdigit()).split()
        family = tree(int(pid))
        assert len(family) > 1
        lab.send_signal(signal.SIGKILL)
    wait_until("the end of the database", lambda: not any(map(psutil.pid_exists, family)))
    wait_until("the end of its folder", lambda: not Path(scratch).exists())


@needs_postgres
def test_a_port_that_somebody_else_takes_first_is_given_up_for_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((HOST, 0)) as listener:
        first = listener.getsockname()[1]
        handed = iter([first])
        monkeypatch.setattr(
            postgres, "fresh_port", lambda host, taken: next(handed, None) or fresh_port(host, taken)
        )
        found = started(folder)
    try:
        assert f":{first}/" not in found.url
        assert asked(found, "SELECT 1") == "1"
    finally:
        found.stop()


@needs_postgres
def test_a_cluster_that_cannot_be_made_says_what_initdb_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = folder / "initdb"
    broken.write_text(
        "#!/bin/sh\necho 'initdb: error: could not write: No space left on device' >&2\nexit 1\n"
    )
    broken.chmod(0o755)
    monkeypatch.setattr(postgres, "find_programs", lambda: {**(PROGRAMS or {}), "initdb": str(broken)})
    with pytest.raises(ServerFailure) as caught:
        started(folder)
    assert "initdb failed: the disk of the folder for temporary files is full" in caught.value.text
    assert "No space left on device" in caught.value.text


def test_without_postgresql_the_subjects_that_need_it_name_the_command_that_installs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "find_programs", lambda: None)
    plain = next(each for each in open_registry().subjects() if each.id == "waitress")
    readiness = a_runner(folder).prepare([SUBJECT, plain])
    assert "apt-get install -y --no-install-recommends postgresql" in readiness[SUBJECT.id].reason
    assert readiness["waitress"].reason == ""


@needs_postgres
def test_a_preparation_runs_once_in_each_environment_and_one_that_fails_is_the_reason(folder: Path) -> None:
    ran = folder / "ran"
    count = f"import os; open({str(ran)!r}, 'a').write(os.environ['DATABASE_URL'][:10])"
    fails = "print('no such migration'); raise SystemExit(3)"
    good = replace(SUBJECT.application, prepare=("python", "-c", count))
    bad = replace(SUBJECT.application, name="bad", prepare=("python", "-c", fails))
    works = [
        replace(SUBJECTS[name], application=good) for name in ("waitress+psycopg", "gunicorn-gthread+psycopg")
    ]
    again = replace(works[1], variant=SUBJECTS["gunicorn-sync+psycopg"].variant)
    fault = replace(SUBJECT, application=bad)
    runner = a_runner(folder)
    try:
        readiness = runner.prepare([*works, again, fault])
        assert [readiness[each.id].reason for each in (*works, again)] == ["", "", ""]
        assert ran.read_text() == "postgresql" * 2
        assert readiness[fault.id].reason.endswith("failed with status 3:\nno such migration")
    finally:
        assert runner._database is not None
        runner._database.stop()


def ask(instance: ProcessInstance, method: str, path: str) -> bytes:
    with HttpProbe(instance.host, instance.port, 5.0) as probe:
        return probe.ask(method, path).body


@needs_postgres
@pytest.mark.parametrize("name", MEASURED)
def test_an_application_answers_from_the_database_and_stores_what_it_updates(
    runner: ProcessRunner, folder: Path, name: str
) -> None:
    subject = SUBJECTS[name]
    instance = runner.launch(subject, log=folder / "log", hash_seed=1)
    try:
        hold_to_contract(instance, LocalSite(load_contract()), thorough=True)
        assert runner._database is not None
        number = 4_000_000 + tables.COUNTERS * sorted(SUBJECTS).index(subject.id)
        assert json.loads(ask(instance, "POST", f"/db/update/{number}")) == {"id": 1, "value": number}
        assert asked(runner._database, "SELECT value FROM counter WHERE id = 1") == str(number)
    finally:
        runner.stop([instance])


@needs_postgres
def test_too_few_connections_are_named_where_a_server_fails_for_them(folder: Path) -> None:
    runner = a_runner(folder)
    few = folder / "few"
    few.mkdir()
    database = started(few, connections=4)
    runner._database = database
    assert runner.prepare([SUBJECT])[SUBJECT.id].reason == ""
    instance = runner.launch(SUBJECT, log=folder / "log", hash_seed=1)
    try:
        wait_until("its pool to be refused", lambda: is_refused(instance, database))
        failure = failed(instance, "contract", "some of it was wrong")
        assert "the database said: sorry, too many clients already" in failure.text
        assert "max_connections" in failure.text
    finally:
        runner.stop([instance])
        database.stop()


def is_refused(instance: ProcessInstance, database: Postgres) -> bool:
    with suppress(WireError):
        ask(instance, "GET", "/db/row/1")
    return "too many clients" in database._log.read_text()


@needs_postgres
def test_a_database_that_dies_is_the_failure_of_its_servers_and_no_server_is_started_without_it(
    folder: Path,
) -> None:
    runner = a_runner(folder)
    runner.prepare([SUBJECT])
    instance = runner.launch(SUBJECT, log=folder / "log", hash_seed=1)
    try:
        assert instance.database_fault() == ""
        assert runner._database is not None
        runner._database.stop()
        failure = failed(instance, "contract", "GET /db/row/1: status: expected 200, got 500")
        assert failure.code == "database"
        with pytest.raises(ServerFailure, match="database: the database exited"):
            runner.launch(SUBJECT, log=folder / "log", hash_seed=1)
    finally:
        runner.stop([instance])
