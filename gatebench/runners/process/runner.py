"""Starts servers as local processes: pinned to cores, logged to files, ended with all their children."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from gatebench.machine.cores import Cores
from gatebench.machine.kernel import (
    core_time,
    fresh_port,
    is_free,
    listen_drops,
    open_file_limit,
    port_use,
    steal_s,
)
from gatebench.machine.processes import (
    OWNER_VARIABLE,
    Composition,
    Owner,
    anonymous_mib,
    composition,
    cpu_s,
    ended_children_s,
    kill,
    move,
    signal_number,
    sweep,
    tree,
)
from gatebench.runners.base import Around, Counters, Instance, Launch, Memory, Readiness
from gatebench.runners.process.environments import (
    Environment,
    Unavailable,
    Wanted,
    missing_needs,
    prepare,
    remedy_for,
)
from gatebench.runners.session import watched
from gatebench.words.commands import fill, fill_table
from gatebench.words.errors import ServerFailure
from gatebench.words.footing import SHARED_OBJECTS
from gatebench.words.model import Subject
from gatebench.words.options import Budget
from gatebench.words.paths import HOST

STOP_GRACE_S = 3.0
OWN = Environment(Path(sys.executable).parent, {})
"""The lab's own environment, in which its null responder runs."""
LOG_TAIL_LINES = 12
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


class ProcessInstance:
    """One server process with its children."""

    def __init__(
        self,
        subject: Subject,
        *,
        port: int,
        workers: int,
        argv: tuple[str, ...],
        log: Path,
        process: subprocess.Popen[bytes],
        cores: Sequence[int],
    ) -> None:
        self.subject = subject
        self.host = HOST
        self.port = port
        self.workers = workers
        self.argv = argv
        self.log = log
        self._process = process
        self._cores = cores
        self._pids: tuple[int, ...] = (process.pid,)

    def settle(self) -> None:
        """Notes which processes belong to the server now; from here on none of them may end."""
        self._pids = tree(self._process.pid) or self._pids

    def fault(self, *, closely: bool = False) -> str:  # noqa: ARG002 - a look at processes is always close
        """Empty while all of the server's processes run; else what ended."""
        status = self._process.poll()
        if status is not None:
            how = (
                f"was ended by {signal.Signals(-status).name}"
                if status < 0
                else f"exited with status {status}"
            )
            return f"the server {how}"
        try:
            cpu_s(self._pids)
        except ProcessLookupError as error:
            return f"a worker of the server ended: process {error.errno}"
        return ""

    def counters(self, around: Around) -> Counters:
        """The counters of the server's processes and of what is around them on this machine, now."""
        neighbours = {each.subject.id: _cpu_s(each.processes()) for each in around.neighbours}
        return Counters(
            _cpu_s(self._pids),
            None,
            listen_drops(),
            steal_s(around.measured),
            core_time(around.server),
            {subject: used_s for subject, used_s in neighbours.items() if used_s is not None},
            ended_children_s(self._pids),
        )

    def processes(self) -> tuple[int, ...]:
        """IDs of the server's processes."""
        return self._pids

    def composition(self) -> Composition:
        """The server's processes and threads now, also those that it has started since it settled."""
        return composition(tree(self._process.pid), SHARED_OBJECTS)

    def memory(self) -> Memory:
        """Anonymous memory of all of the server's processes."""
        return Memory(anonymous_mib(self._pids))

    def port_use(self) -> float | None:
        """Share of the local ports that connections to the server occupy."""
        return port_use(self.port)

    def open_files(self) -> int | None:
        """How many files the server may have open, None where that cannot be read."""
        limits = [limit for pid in self._pids if (limit := open_file_limit(pid)) is not None]
        return min(limits, default=None)

    def log_tail(self) -> str:
        """The last lines that the server wrote."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def facts(self) -> Mapping[str, str | int | float | bool | None]:
        """Nothing: what a process used is known while it runs."""
        return {}

    def place(self, cores: Sequence[int]) -> None:
        """Puts all of the server's threads on these cores, as many as it was started on.

        Raises:
            ServerFailure: that cannot be done.
        """
        if {*cores} == {*self._cores}:
            return
        try:
            move(self._process.pid, self._cores, cores)
        except OSError as error:
            why = error.strerror or str(error)
            raise ServerFailure("start", f"it cannot be put on the servers' cores: {why}") from error
        self._cores = cores

    def begin_stop(self) -> None:
        """Asks the server to end."""
        self._pids = tuple({*self._pids, *tree(self._process.pid)})
        if self._process.poll() is None:
            self._process.send_signal(signal_number(self.subject.variant.stop))

    def finish_stop(self, within_s: float | None = None) -> None:
        """Waits until the server has ended, or then ends it with everything in its process group."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_GRACE_S if within_s is None else within_s)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        kill(pid for pid in self._pids if pid != self._process.pid)


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
    ) -> None:
        self._budget = budget
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
        return readiness

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
        environment = OWN if subject.responder else self._environments[subject.environment]
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
        variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        variables |= {
            "PATH": os.pathsep.join((str(environment.bin), os.environ.get("PATH", ""), "/usr/sbin")),
            "PYTHONPATH": os.pathsep.join(map(str, subject.application.search_paths)),
            "PYTHONHASHSEED": str(hash_seed),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            OWNER_VARIABLE: str(self._owner),
            **subject.application.environment,
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


def _cpu_s(pids: Sequence[int]) -> float | None:
    """CPU seconds that these processes have used; None where one of them has ended."""
    try:
        return cpu_s(pids)
    except ProcessLookupError:
        return None


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
            ),
            scratch,
        )


def await_end(instances: Sequence[ProcessInstance], poll_s: float = 0.2) -> None:
    """Waits until one of the instances has ended."""
    while not any(instance.fault() for instance in instances):
        time.sleep(poll_s)
