"""Starts servers as local processes: pinned to cores, logged to files, ended with all their children."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from gatebench.machine.cores import Cores, available_cores
from gatebench.machine.kernel import fresh_port, is_free
from gatebench.machine.processes import OWNER_VARIABLE, Owner, kept_to, sweep
from gatebench.runners.base import Instance, Launch, Readiness
from gatebench.runners.database import DatabaseFacts, max_connections
from gatebench.runners.process.environments import (
    Environment,
    Unavailable,
    Wanted,
    missing_needs,
    prepare,
    remedy_for,
)
from gatebench.runners.process.instance import LOG_TAIL_LINES, STOP_GRACE_S, ProcessInstance
from gatebench.runners.process.postgres import Postgres, start_postgres
from gatebench.runners.session import watched
from gatebench.words.commands import fill, fill_table
from gatebench.words.errors import ServerFailure
from gatebench.words.model import DATABASE_VARIABLE, Subject
from gatebench.words.options import Budget
from gatebench.words.paths import HOST

PREPARE_TIMEOUT_S = 300.0
OWN = Environment(Path(sys.executable).parent, {})
"""The lab's own environment, in which its null responder runs."""
PASSED_ON = ("HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LD_LIBRARY_PATH")
"""Variables of the lab that a server sees; no others, so that nobody's GUNICORN_CMD_ARGS changes a figure."""


def unreadable(subject: Subject, environment: Environment) -> str:
    """Why a server that gives up root could then not read what it needs; empty where it can."""
    if not subject.server.drops_root or os.geteuid() != 0:
        return ""
    needed = (environment.bin / "python", Path(sys.base_prefix), *subject.application.search_paths)
    closed = sorted(
        {
            str(folder)
            for path in needed
            for folder in (path.resolve(), *path.resolve().parents)
            if folder.is_dir() and not folder.stat().st_mode & stat.S_IXOTH
        }
    )
    if not closed:
        return ""
    return (
        f"{subject.server.name} does not serve as root, and other users may not enter {', '.join(closed)}, "
        "where Python or the application lies. Run as an ordinary user, or with a Python that all users "
        "can read: make clean && make bench PYTHON=/usr/bin/python3"
    )


class ProcessRunner:
    """Starts servers on this machine.

    Args:
        budget: what every server gets.
        owner: the lab whose mark the servers carry.
        scratch: folder for the servers' working folders; its owner removes it.
        cache: folder for the servers' environments.
        report: called with a line of progress.
        places: the cores, as many as a server gets, that several servers may start on side by side; none for
            the servers' own alone.
        aside: the cores of a database; none for those that the servers have not got, if there are any.
    """

    name = "process"

    def __init__(
        self,
        *,
        budget: Budget,
        owner: Owner,
        scratch: Path,
        cache: Path,
        report: Callable[[str], None],
        places: Sequence[tuple[int, ...]] = (),
        aside: Sequence[int] = (),
    ) -> None:
        self._budget = budget
        self._aside = aside or tuple({*available_cores()} - {*budget.cores}) or budget.cores
        self._database: Postgres | None = None
        self._places = places or (budget.cores,)
        self._owner = owner
        self._scratch = scratch
        self._cache = cache
        self._report = report
        self._environments: dict[str, Environment] = {}
        self._ports: set[int] = set()

    def prepare(self, subjects: Sequence[Subject]) -> dict[str, Readiness]:
        """Installs what the subjects need, each server in an environment of its own.

        A server and an application that brings requirements have one together.
        """
        wanted = {
            each.environment: Wanted(
                each.installed, each.application if each.application.requirements is not None else None
            )
            for each in subjects
        }
        made = prepare(tuple(wanted.values()), self._cache, report=self._report)
        readiness = {}
        for subject in subjects:
            environment = made[subject.environment]
            if isinstance(environment, Unavailable):
                readiness[subject.id] = Readiness(environment.reason, {})
                continue
            self._environments[subject.environment] = environment
            missing = missing_needs(subject.variant, environment)
            reason = remedy_for(subject.server, missing) if missing else unreadable(subject, environment)
            readiness[subject.id] = Readiness(reason, environment.packages)
        available = [each for each in subjects if not readiness[each.id].reason]
        reasons = self._open_database([each for each in available if each.application.requires])
        reasons |= self._prepare_applications([each for each in available if each.id not in reasons])
        return readiness | {
            subject: replace(readiness[subject], reason=reason) for subject, reason in reasons.items()
        }

    @property
    def database(self) -> DatabaseFacts | None:
        """The database that the subjects share; None where none of them requires it, or it is unavailable."""
        return None if self._database is None else self._database.facts

    def _open_database(self, subjects: Sequence[Subject]) -> dict[str, str]:
        """Sets up the database that these subjects require; subject ID → why it has none."""
        if not subjects or self._database is not None:
            return {}
        try:
            self._database = start_postgres(
                self._scratch / "postgres",
                owner=self._owner,
                cores=self._aside,
                # One more for the twin of a subject.
                connections=max_connections(len(subjects) + 1, self._budget.workers),
                report=self._report,
                taken=self._ports,
            )
        except ServerFailure as failure:
            return dict.fromkeys((each.id for each in subjects), failure.text)
        return {}

    def _prepare_applications(self, subjects: Sequence[Subject]) -> dict[str, str]:
        """Runs each application's own preparation once in each of its environments.

        Returns:
            Subject ID → the last lines of one that failed.
        """
        done: dict[tuple[str, str], str] = {}
        reasons = {}
        for subject in subjects:
            if not subject.application.prepare:
                continue
            key = (subject.environment, subject.application.name)
            if key not in done:
                self._report(f"{subject.environment}: preparing {subject.application.name}")
                done[key] = self._prepare_application(subject)
            if done[key]:
                reasons[subject.id] = done[key]
        return reasons

    def _prepare_application(self, subject: Subject) -> str:
        """Why a preparation failed; empty where it did not."""
        work = Path(tempfile.mkdtemp(prefix="prepare-", dir=self._scratch))
        variables = self._variables(subject)
        command = subject.application.prepare
        shown = " ".join(command)
        try:
            with kept_to(self._aside):
                done = subprocess.run(
                    (shutil.which(command[0], path=variables["PATH"]) or command[0], *command[1:]),
                    cwd=work,
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    check=False,
                    timeout=PREPARE_TIMEOUT_S,
                )
        except subprocess.TimeoutExpired:
            return f"its preparation (`{shown}`) did not end within {PREPARE_TIMEOUT_S:g} s"
        except OSError as error:
            return f"its preparation (`{shown}`) cannot be run: {error.strerror}"
        finally:
            shutil.rmtree(work, ignore_errors=True)
        if not done.returncode:
            return ""
        said = "\n".join(done.stdout.splitlines()[-LOG_TAIL_LINES:])
        return f"its preparation (`{shown}`) failed with status {done.returncode}:\n{said}"

    def _variables(self, subject: Subject) -> dict[str, str]:
        """What is in the environment of everything that is started for a subject."""
        environment = OWN if subject.responder else self._environments[subject.environment]
        variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        variables |= {
            "PATH": os.pathsep.join((str(environment.bin), os.environ.get("PATH", ""), "/usr/sbin")),
            "PYTHONPATH": os.pathsep.join(map(str, subject.application.search_paths)),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            OWNER_VARIABLE: str(self._owner),
            **subject.application.environment,
        }
        if self._database is not None and subject.application.requires:
            variables[DATABASE_VARIABLE] = self._database.url
        return variables

    def start(self, launches: Sequence[Launch]) -> list[Instance | ServerFailure]:
        """Starts servers, each on a fresh port, and returns at once: for each the server, or why not."""
        started: list[Instance | ServerFailure] = []
        places = itertools.cycle(self._places if len(launches) > 1 else [self._budget.cores])
        for launch, cores in zip(launches, places, strict=False):
            try:
                started.append(
                    self.launch(launch.subject, log=launch.log, hash_seed=launch.hash_seed, cores=cores)
                )
            except ServerFailure as failure:
                started.append(failure)
        return started

    def place(self, instances: Sequence[Instance]) -> list[tuple[Instance, ServerFailure]]:
        """Puts servers on the servers' cores, with all threads that they have and will have."""
        failures: list[tuple[Instance, ServerFailure]] = []
        for instance in instances:
            if isinstance(instance, ProcessInstance):
                try:
                    instance.place(self._budget.cores)
                except ServerFailure as failure:
                    failures.append((instance, failure))
        return failures

    def stop(self, instances: Sequence[Instance]) -> None:
        """Ends servers and waits until they have ended, by force where they do not obey."""
        ours = [each for each in instances if isinstance(each, ProcessInstance)]
        for instance in ours:
            instance.begin_stop()
        end_s = time.monotonic() + STOP_GRACE_S
        for instance in ours:
            instance.finish_stop(max(0.0, end_s - time.monotonic()))

    def launch(
        self,
        subject: Subject,
        *,
        log: Path,
        hash_seed: int,
        port: int | None = None,
        cores: Sequence[int] = (),
    ) -> ProcessInstance:
        """Starts a server and returns at once; `port` None takes a fresh one, no `cores` the servers' own.

        Raises:
            ServerFailure: the port is taken, or the command cannot be run.
        """
        if port is None:
            port = fresh_port(HOST, self._ports)
        elif not is_free(HOST, port):
            raise ServerFailure("start", f"port {port} is in use; choose another one (--port)")
        database = self._database if subject.application.requires else None
        if database is not None and (fault := database.fault()):
            raise ServerFailure("database", fault)
        work = self._scratch / f"{subject.id}-{port}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        values = {
            "app": subject.application.form(subject.variant.interface) or "",
            "app_file": str(subject.application.file(subject.variant.interface)),
            "host": HOST,
            "port": str(port),
            "workers": str(self._budget.workers),
            "threads": str(self._budget.threads),
            "work": str(work),
            "folder": str(subject.server.folder),
        }
        for name, text in fill_table(subject.variant.files, values).items():
            (work / name).write_text(text, encoding="utf-8")
        argv = fill(subject.variant.command, values)
        variables = {
            **self._variables(subject),
            "PYTHONHASHSEED": str(hash_seed),
            **fill_table(subject.variant.environment, values),
        }
        executable = shutil.which(argv[0], path=variables["PATH"])
        if executable is None:
            raise ServerFailure(
                "start", f"no command {argv[0]!r} in the environment of {subject.environment}"
            )
        argv = (executable, *argv[1:])
        return ProcessInstance(
            subject,
            port=port,
            workers=self._budget.workers,
            argv=argv,
            log=log,
            process=self._launch(argv, variables, work, log, cores or self._budget.cores),
            cores=cores or self._budget.cores,
            database=database,
        )

    @staticmethod
    def _launch(
        argv: tuple[str, ...], variables: dict[str, str], work: Path, log: Path, cores: Sequence[int]
    ) -> subprocess.Popen[bytes]:
        """Starts a process on these cores.

        A child inherits the affinity of the thread that starts it, so that thread borrows the cores for a
        moment; the server then never sees more of them.
        """
        before = os.sched_getaffinity(0)
        with log.open("ab") as output:
            os.sched_setaffinity(0, cores)
            try:
                return subprocess.Popen(
                    argv,
                    cwd=work,
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise ServerFailure("start", f"{argv[0]}: {error.strerror}") from error
            finally:
                os.sched_setaffinity(0, before)


@contextmanager
def process_runner(*, cores: Cores, cache: Path, console: Console) -> Iterator[tuple[ProcessRunner, Path]]:
    """A runner with its scratch folder, for a command that measures nothing; all it started ends with it."""
    sweep()
    owner = Owner.this()
    scratch = owner.scratch()
    with watched(owner):
        yield (
            ProcessRunner(
                budget=Budget(cores.server),
                owner=owner,
                scratch=scratch,
                cache=cache,
                report=lambda line: console.print(line, markup=False, soft_wrap=True),
                aside=cores.lab,
            ),
            scratch,
        )


def await_end(instances: Sequence[ProcessInstance], poll_s: float = 0.2) -> None:
    """Waits until one of the instances has ended."""
    while not any(instance.fault() for instance in instances):
        time.sleep(poll_s)
